"""The lab as a process, and surveys of it that are begun, killed and taken up again, as a user does so."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from doubles.crawl import FREE, REPOSITORY, SCRAPY, run
from sqlalchemy import select

from smtpsurvey.extensions.checkpoint import FILE, read_checkpoint
from smtpsurvey.store.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LIVE = 0.2
NASTY = 0.01  # few, since many of them end by a time-out
SEED = 11
SURVEY = "2026-11"
TIMEOUTS = {"connect": 4, "greeting": 4, "reply": 4, "tls": 4, "total": 12}
CONCURRENCY = 200
RATE = 2000  # targets a second, about what two cores do
UNMARKED = 0.5  # seconds: a batch of the store is written after 0.2, a mark of the checkpoint after 0.25
CONTACTED_AGAIN = CONCURRENCY + round(RATE * LIVE * UNMARKED)  # servers at most, for each kill
POLL = 0.01
LONG = 600.0  # seconds until a crawl has failed
UNSTEADY = ("time", "duration")  # columns that differ from run to run
READY = re.compile(r"lab: (\d+) hosts, (\d+) live on port \d+, ready\n")
SESSIONS = re.compile(r"lab: (\d+) sessions, ")


class Lab:
    """A simulated Internet, a fifth of it mail servers."""

    def __init__(self, folder: Path, hosts: int) -> None:
        """Return when all listen."""
        self.targets = folder / "targets.txt"
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = int(free.getsockname()[1])
        numbers = (f"--hosts={hosts}", f"--live={LIVE}", f"--nasty={NASTY}", f"--seed={SEED}", f"--port={self.port}")
        command = [SCRAPY, "lab", *numbers, f"--targets={self.targets}"]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready = READY.fullmatch(self._process.stdout.readline())
        assert ready is not None
        self.hosts, self.live = int(ready[1]), int(ready[2])
        self.surveys = self.kills = 0  # that it has seen so far

    def stop(self) -> int:
        """Give the number of sessions it had."""
        self._process.send_signal(signal.SIGTERM)
        output, _ = self._process.communicate(timeout=60)
        sessions = SESSIONS.match(output)
        assert sessions is not None, output
        return int(sessions[1])


@contextmanager
def running_lab(folder: Path, hosts: int) -> Iterator[Lab]:
    """Make a lab, and see at the end that no host was contacted more often than kills explain."""
    lab = Lab(folder, hosts)
    try:
        yield lab
    finally:
        sessions = lab.stop()
    once = lab.live * lab.surveys
    assert once <= sessions <= once + lab.kills * CONTACTED_AGAIN, f"{sessions} sessions of {once}, {lab.kills} kills"


class Stored(NamedTuple):
    """What is in the databases of a survey, wherever it is."""

    rows: list[dict[str, Any]]
    certificates: dict[str, str]
    tallies: Counter[tuple[object, ...]]


class Survey:
    """A survey of the lab in a JOBDIR, by any number of crawls one after the other."""

    def __init__(self, lab: Lab, folder: Path, urls: Sequence[str], tables: int, *options: str) -> None:
        """Begin nothing yet; ``options`` are more of the command line."""
        self.lab = lab
        self.folder = folder
        self.urls, self.tables = urls, tables
        settings = {
            "SMTPSURVEY_ALLOW": "127.0.0.0/8",
            "SMTPSURVEY_SHARDS": ",".join(urls),
            "SMTPSURVEY_TABLES_PER_SHARD": tables,
            "SMTPSURVEY_RATE": RATE,
            "SMTPSURVEY_CONCURRENCY": CONCURRENCY,
            "SMTPSURVEY_TIMEOUTS": json.dumps(TIMEOUTS),
            "JOBDIR": folder,
        }
        arguments = ("-a", f"targets={lab.targets}", "-a", f"port={lab.port}", "-a", f"survey={SURVEY}")
        self._command = [SCRAPY, "crawl", "smtp", *arguments, *FREE]
        for name, value in settings.items():
            self._command += ["-s", f"{name}={value}"]
        self._command += options
        self._logs: list[Path] = []

    def start(self) -> None:
        """Start a crawl, the first or one more."""
        self._logs.append(self.folder.with_name(f"{self.folder.name}-{len(self._logs)}.log"))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def log(self) -> Path:
        """The log of the crawl that was started last."""
        return self._logs[-1]

    def logs(self) -> str:
        """Give what all crawls have said."""
        return "".join(log.read_text("utf-8", "backslashreplace") for log in self._logs)

    def done(self) -> int:
        """Count the targets that the checkpoint says are done."""
        if not (self.folder / FILE).exists():
            return 0
        mark = read_checkpoint(self.folder / FILE).mark
        return mark.high - len(mark.open)

    def run_until(self, done: int, seconds: float = 0.0) -> bool:
        """Wait until so many targets are done, and so many seconds more; ``False`` if the crawl ends before."""
        return self._run_while(lambda: self.done() < done) and not self._ends_within(seconds)

    def run_until_said(self, words: str, times: int) -> bool:
        """Wait until this crawl has said something so many times; ``False`` if it ends before."""
        return self._run_while(lambda: self.log.read_text("utf-8", "backslashreplace").count(words) < times)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the crawl."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the crawl now, if it has not ended by itself."""
        self._process.kill()
        if self._process.wait(LONG) == -signal.SIGKILL:
            self.lab.kills += 1

    def finish(self) -> None:
        """Wait for the crawl's own end, which must be a good one."""
        assert self._process.wait(LONG) == 0, self.logs()[-3000:]

    def run_to_the_end(self) -> None:
        """Take it up, and finish it."""
        self.start()
        self.finish()
        self.lab.surveys += 1

    def _run_while(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + LONG
        while condition():
            assert time.monotonic() < deadline, self.logs()[-3000:]
            if self._ends_within(POLL):
                return False
        return True

    def _ends_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def stored(self) -> Stored:
        """Read all tables, without what differs from run to run."""
        shards = Shards(self.urls, self.tables)
        rows: list[dict[str, Any]] = []
        certificates: dict[str, str] = {}
        tallies: Counter[tuple[object, ...]] = Counter()
        for shard in shards:
            with shard.begin() as connection:
                for table in shards.schema.observations:
                    columns = [column for column in table.columns if column.name not in UNSTEADY]
                    rows += map(dict, connection.execute(select(*columns)).mappings())
                for row in connection.execute(select(shards.schema.certificates)).mappings():
                    certificates[row["sha256"]] = str(dict(row))
                for row in connection.execute(select(shards.schema.tallies)).mappings():
                    key = row["survey"], row["source"], row["outcome"], row["reason"]
                    tallies[key] += row["count"]
                finished = connection.scalars(select(shards.schema.surveys.c.finished)).all()
                assert len(finished) == 1, finished
                assert finished[0] is not None
        shards.dispose()
        return Stored(sorted(rows, key=lambda row: (row["ip"], row["port"])), certificates, tallies)

    def verify(self) -> None:
        """Let `scrapy shards verify` look at it."""
        databases = (f"SMTPSURVEY_SHARDS={','.join(self.urls)}", f"SMTPSURVEY_TABLES_PER_SHARD={self.tables}")
        seen = run("shards", "verify", *(word for setting in databases for word in ("-s", setting)))
        assert (seen.status, seen.out.splitlines()[-1]) == (0, "nothing wrong"), seen


def moments(seed: int, targets: int, times: int) -> list[tuple[int, float]]:
    """Draw moments, one in each part of a survey: targets done, and seconds after that was written down."""
    rng = random.Random(seed)
    return [(int((part + rng.random()) * targets / times) + 1, rng.uniform(0, 0.5)) for part in range(times)]
