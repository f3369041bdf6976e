"""One node, as the controller speaks to it: scrapyd's API, and what deploy/scrapyd.conf adds to it.

Credentials come from netrc, or else from SCRAPYD_USERNAME and SCRAPYD_PASSWORD, the names that scrapyd itself reads.
They are in no URL and no message.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_netrc_auth

from smtpsurvey.fleet import FleetError
from smtpsurvey.fleet.jobs import NodeReport, SelfTest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smtpsurvey.fleet.config import NodeConfig

T = TypeVar("T")
SPIDER = "smtp"  # whose items the store takes
TIMEOUT = (5.0, 30.0)  # seconds to connect, and between two parts of an answer
LONG_TIMEOUT = (5.0, 180.0)  # the self-test, and a first job, for which scrapyd lists the spiders
SERVICES = ("fleet/report.json", "fleet/selftest.json")  # that a scrapyd may lack
MAX_ANSWER = 16 * 1024 * 1024  # bytes of a report
REDIRECTS = 300  # from here on HTTP status codes are redirects and errors
BLOCK = 256 * 1024


class NodeError(FleetError):
    """A node did not do what it was asked: its name and why, in one line."""


class AuthError(NodeError):
    """A node does not know our credentials."""


class MissingError(NodeError):
    """A node does not have what it was asked for."""


class NodeClient:
    """Speaks to one node, in one thread at a time. Every method raises :class:`NodeError`."""

    def __init__(self, node: NodeConfig, project: str) -> None:
        """Speak about this project."""
        self.node = node
        self._project = project
        self._session = requests.Session()
        self._session.auth = _credentials(node.url)

    def report(self, run: str | None = None) -> NodeReport:
        """Ask how it is, and about the jobs of a run (or of all)."""
        params = {"project": self._project} | ({} if run is None else {"run": run})
        return self._decode(self._ask("GET", "fleet/report.json", params=params), NodeReport)

    def self_test(self, settings: Mapping[str, str]) -> SelfTest:
        """Let it test itself with these settings."""
        data = [("project", self._project), *(("setting", f"{name}={value}") for name, value in settings.items())]
        return self._decode(self._ask("POST", "fleet/selftest.json", data=data, timeout=LONG_TIMEOUT), SelfTest)

    def deploy(self, version: str, egg: bytes) -> int:
        """Give it a version of the project; the number of spiders in it."""
        data = {"project": self._project, "version": version}
        files = {"egg": ("project.egg", egg)}
        answer = self._api("addversion.json", data=data, files=files, timeout=LONG_TIMEOUT)
        return int(answer.get("spiders", 0))

    def begin(self, job: str) -> None:
        """Let it make a job's folder."""
        self._ask("PUT", f"fleet/{job}")

    def schedule(self, job: str, settings: Mapping[str, str], arguments: Mapping[str, str]) -> None:
        """Let it run a job of the smtp spider."""
        data = [("project", self._project), ("spider", SPIDER), ("jobid", job), *arguments.items()]
        data += [("setting", f"{name}={value}") for name, value in settings.items()]
        self._api("schedule.json", data=data, timeout=LONG_TIMEOUT)

    def cancel(self, job: str, *, kill: bool = False) -> None:
        """End a job, in good order or at once."""
        self._api("cancel.json", data={"project": self._project, "job": job, "signal": "KILL" if kill else "INT"})

    def put(self, job: str, name: str, path: Path) -> None:
        """Send a file into a job's folder."""
        with path.open("rb") as file:
            self._ask("PUT", f"fleet/{job}/{name}", data=file if path.stat().st_size else b"")

    def get(self, job: str, name: str, path: Path) -> None:
        """Fetch a file of a job."""
        answer = self._ask("GET", f"fleet/{job}/{name}", stream=True)
        try:
            with path.open("wb") as file:
                for block in answer.iter_content(BLOCK):
                    file.write(block)
        except requests.RequestException as error:
            raise NodeError(f"{self.node.name}: {name} broke off ({_reason(error)})") from None
        except OSError as error:
            raise FleetError(f"{path}: {error.strerror}") from None

    def delete(self, job: str) -> None:
        """Let it delete a job's folder; one that is not there, or is still needed, is fine."""
        self._ask("DELETE", f"fleet/{job}")

    def _api(self, service: str, **request: Any) -> dict[str, Any]:
        """Call a service of scrapyd's, which says in the answer whether it worked."""
        answer = self._decode(self._ask("POST", service, **request), dict[str, Any])
        if answer.get("status") != "ok":
            lines = str(answer.get("message", "no reason given")).strip().splitlines() or ["no reason given"]
            raise NodeError(f"{self.node.name}: {service}: {lines[-1][:300]}")
        return answer

    def _ask(self, method: str, path: str, *, timeout: tuple[float, float] = TIMEOUT, **more: Any) -> requests.Response:
        try:
            answer = self._session.request(
                method, f"{self.node.url}/{path}", timeout=timeout, allow_redirects=False, **more
            )
        except requests.RequestException as error:
            raise NodeError(f"{self.node.name}: {_reason(error)}") from None
        if answer.status_code == requests.codes.unauthorized:
            given = "wrong credentials" if self._session.auth else "no credentials"
            raise AuthError(f"{self.node.name}: {given} (netrc, or SCRAPYD_USERNAME and SCRAPYD_PASSWORD)")
        if answer.status_code == requests.codes.not_found and path in SERVICES:
            raise NodeError(f"{self.node.name}: {path} is not there: does scrapyd run with our deploy/scrapyd.conf?")
        if answer.status_code == requests.codes.not_found:
            raise MissingError(f"{self.node.name}: {path}: not there")
        if answer.status_code >= REDIRECTS and answer.status_code != requests.codes.conflict:
            raise NodeError(f"{self.node.name}: {path}: HTTP status {answer.status_code}")
        return answer

    def _decode(self, answer: requests.Response, kind: type[T]) -> T:
        if len(answer.content) > MAX_ANSWER:
            raise NodeError(f"{self.node.name}: an answer of {len(answer.content):,} bytes")
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise NodeError(f"{self.node.name}: an answer that we do not understand ({error})") from None


def _credentials(url: str) -> HTTPBasicAuth | None:
    found = get_netrc_auth(url)
    if found is None:
        found = os.environ.get("SCRAPYD_USERNAME", ""), os.environ.get("SCRAPYD_PASSWORD", "")
    user, password = found
    return HTTPBasicAuth(user.encode(), password.encode()) if user and password else None


def _reason(error: requests.RequestException) -> str:
    """Say in a few words why there was no answer; what the library says is long and holds the URL."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS does not work"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        args = [arg for arg in cause.args if isinstance(arg, BaseException)]
        cause = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__ or (args[0] if args else None)
    return f"no answer ({type(error).__name__})"
