"""The node's side: what deploy/scrapyd.conf adds to scrapyd's services.

``fleet/report.json`` tells how node and jobs are, ``fleet/selftest.json`` whether it is fit for work, and
``fleet/JOB/FILE`` takes and gives the few files of a job. All of it stands behind scrapyd's own authentication.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from scrapyd import Config
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.static import File

from smtpsurvey.fleet.jobs import FILES, MANIFEST, NAME, STALE, TARGETS, JobReport, NodeReport, SelfTest, State

if TYPE_CHECKING:
    from twisted.web.server import Request

MAX_MANIFEST = 4 * 1024 * 1024
OK = "ok"
LOCAL_ERROR = "local_error"
ENDS = {"finished": State.FINISHED, "shutdown": State.STOPPED}
"""Scrapy's finish reasons; any other is a failure."""
SELF_TEST = ("capabilities", "--json")


class _Counts(msgspec.Struct):
    outcomes: dict[str, int]


class _Manifest(msgspec.Struct):
    """What the report needs of a manifest, which another version of the project may have written."""

    survey: str
    started: str
    finished: str | None
    reason: str | None
    targets: int | None
    counts: _Counts


class Fleet(Resource):
    """The service ``fleet`` of scrapyd, made with its root."""

    def __init__(self, root: Any) -> None:
        """Read ``fleet_dir`` of scrapyd.conf; raises ``ValueError`` where anybody could come in."""
        super().__init__()
        config = Config()
        _guarded(config)
        self._folder = Path(config.get("fleet_dir", "items")).resolve()
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._jobs = _Jobs(root, self._folder)
        self.putChild(b"report.json", _Report(self._jobs))  # type: ignore[arg-type]  # zope's interface, a Resource has it
        self.putChild(b"selftest.json", _SelfTest(root))  # type: ignore[arg-type]  # the same

    def getChild(self, path: bytes, request: Request) -> Resource:  # noqa: N802 - Twisted's name
        """Give a job's folder."""
        name = path.decode("latin-1")
        if NAME.fullmatch(name):
            return _Folder(self._folder / name, self._jobs)
        return super().getChild(path, request)


class _Jobs:
    """Knows which jobs run, and reads the folders of all."""

    def __init__(self, root: Any, folder: Path) -> None:
        self._root = root
        self.folder = folder

    def report(self, project: str, run: str) -> NodeReport:
        launcher, queues = self._root.launcher, self._root.poller.queues
        running = {process.job for process in launcher.processes.values()}
        waiting = {message["_job"] for queue in queues.values() for message in queue.list()}
        found = [
            self._job(path, running, waiting) for path in sorted(self.folder.iterdir()) if NAME.fullmatch(path.name)
        ]
        orphans = sum(job.state is State.RUNNING and job.name not in running for job in found)
        return NodeReport(
            self._root.node_name,
            launcher.max_proc,
            len(running) + len(waiting) + orphans,
            str(self.folder),
            shutil.disk_usage(self.folder).free,
            self._root.eggstorage.list(project),
            [job for job in found if job.name.startswith(run)],
        )

    def runs(self, name: str) -> bool:
        """Say whether a job runs or waits, so that its files are needed."""
        return any(
            job.name == name and job.state in {State.PENDING, State.RUNNING} for job in self.report("", name).jobs
        )

    def _job(self, path: Path, running: set[str], waiting: set[str]) -> JobReport:
        name, manifest, age = path.name, *_manifest(path / MANIFEST)
        if name in waiting:
            return JobReport(name, State.PENDING)
        ended = manifest is not None and manifest.finished is not None
        # One that scrapyd does not know may outlive it: its manifest says so.
        if name in running or (age is not None and age < STALE and not ended):
            state = State.RUNNING
        else:
            state = ENDS.get(manifest.reason or "", State.FAILED) if manifest is not None else State.FAILED
        if manifest is None:
            return JobReport(name, state)
        counts = manifest.counts.outcomes
        return JobReport(
            name,
            state,
            manifest.survey,
            manifest.started,
            manifest.targets,
            sum(counts.values()),
            counts.get(OK, 0),
            counts.get(LOCAL_ERROR, 0),
            age,
        )


class _Report(Resource):
    def __init__(self, jobs: _Jobs) -> None:
        super().__init__()
        self._jobs = jobs

    def render_GET(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        return _json(request, self._jobs.report(_argument(request, b"project"), _argument(request, b"run")))


class _SelfTest(Resource):
    def __init__(self, root: Any) -> None:
        super().__init__()
        self._root = root

    def render_POST(self, request: Request) -> int:  # noqa: N802 - Twisted's name
        """Run ``scrapy capabilities`` of the deployed project."""
        environment = os.environ | {"SCRAPY_PROJECT": _argument(request, b"project")}
        settings = [part for value in (request.args or {}).get(b"setting", []) for part in ("-s", value.decode())]
        command = ["-m", self._root.runner, *SELF_TEST, *settings]
        test = getProcessOutputAndValue(sys.executable, command, environment)
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def answer(result: tuple[bytes, bytes, int]) -> None:
            if not gone:
                out, err, status = result
                said = "" if status == 0 else _last_words(out, err) or f"exit status {status}"
                request.write(_json(request, SelfTest(status == 0, said)))
                request.finish()

        def failed(failure: Any) -> None:
            answer((b"", b"ended by a signal", failure.value[2] if isinstance(failure.value, tuple) else 1))

        test.addCallbacks(answer, failed)
        return NOT_DONE_YET


class _Folder(Resource):
    """The folder of a job."""

    def __init__(self, path: Path, jobs: _Jobs) -> None:
        super().__init__()
        self._path = path
        self._jobs = jobs

    def getChild(self, path: bytes, request: Request) -> Resource:  # noqa: N802 - Twisted's name
        name = path.decode("latin-1")
        return _JobFile(self._path / name) if name in FILES else super().getChild(path, request)

    def render_PUT(self, _request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """Make it."""
        self._path.mkdir(mode=0o750, exist_ok=True)
        return b""

    def render_DELETE(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """Delete it all, unless the job still needs it."""
        if self._path.is_dir():
            if self._jobs.runs(self._path.name):
                request.setResponseCode(http.CONFLICT)
                return b""
            shutil.rmtree(self._path)
        return b""


class _JobFile(Resource):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def render_GET(self, request: Request) -> bytes | int:  # noqa: N802 - Twisted's name
        """Send it, or the range that is asked for."""
        file = File(str(self._path), "application/octet-stream")
        file.contentEncodings = {}  # a gzip'd feed is what is asked for, not how it travels
        return file.render_GET(request)

    def render_PUT(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """Take the list of targets: whole, or not at all."""
        if self._path.name != TARGETS or request.content is None or not self._path.parent.is_dir():
            request.setResponseCode(http.FORBIDDEN)
            return b""
        partial = self._path.with_name(f"{TARGETS}.part")
        with partial.open("wb") as file:
            shutil.copyfileobj(request.content, file)
        partial.replace(self._path)
        return b""


def _guarded(config: Any) -> None:
    """Raise ``ValueError`` when scrapyd listens off loopback and asks nobody for credentials."""
    named = all(os.getenv(f"SCRAPYD_{what.upper()}") or config.get(what, "") for what in ("username", "password"))
    address = os.getenv("SCRAPYD_BIND_ADDRESS") or config.get("bind_address", "127.0.0.1")
    with contextlib.suppress(ValueError):
        named |= ipaddress.ip_address(address).is_loopback
    if not named:
        raise ValueError(f"scrapyd.conf: bind_address {address} needs username and password")


def _manifest(path: Path) -> tuple[_Manifest | None, float | None]:
    """Read a manifest, and its age in seconds; of one that is not there, or is none, nothing."""
    try:
        status = path.stat()
        if status.st_size > MAX_MANIFEST:
            return None, None
        return msgspec.json.decode(path.read_bytes(), type=_Manifest), max(0.0, time.time() - status.st_mtime)
    except (OSError, msgspec.DecodeError):
        return None, None


def _argument(request: Request, name: bytes) -> str:
    return str((request.args or {}).get(name, [b""])[0].decode("latin-1"))


def _json(request: Request, value: msgspec.Struct) -> bytes:
    request.setHeader(b"content-type", b"application/json")
    return msgspec.json.encode(value) + b"\n"


def _last_words(out: bytes, err: bytes) -> str:
    """Take the last line of what was said."""
    lines = [line for line in (err or out).decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""
