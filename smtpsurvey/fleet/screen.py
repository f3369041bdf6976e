"""What ``scrapy fleet`` shows: the table of all jobs, and the line of a survey under way."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import attrs
from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from smtpsurvey.fleet.client import NodeError
from smtpsurvey.fleet.jobs import NodeReport, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from smtpsurvey.fleet.client import NodeClient
    from smtpsurvey.fleet.controller import Controller
    from smtpsurvey.fleet.jobs import JobReport
    from smtpsurvey.fleet.records import Run

THREADS = 64
LINE_EVERY = 0.5  # seconds, on a terminal
TELL_EVERY = 30.0  # seconds, elsewhere
SMOOTHING = 0.3  # weight of the last interval in the rate
COLUMNS = ("node", "job", "survey", "state", "done/total", "rate", "live", "errors", "heartbeat")


@attrs.frozen
class Answer:
    """What a node said, or why it did not."""

    client: NodeClient
    report: NodeReport | None
    trouble: str | None = None

    @property
    def name(self) -> str:
        """The node's."""
        return self.client.node.name


def ask_all(clients: Sequence[NodeClient], run: str | None = None) -> list[Answer]:
    """Ask all nodes how they are, side by side; in their order."""

    def ask(client: NodeClient) -> Answer:
        try:
            return Answer(client, client.report(run))
        except NodeError as error:
            return Answer(client, None, str(error).removeprefix(f"{client.node.name}: "))

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(ask, clients))


def rate_of(job: JobReport, now: datetime) -> float | None:
    """Give the targets a second since a job began, on average; ``None`` when that is not known."""
    if job.started is None or job.heartbeat is None:
        return None
    seconds = (now - datetime.fromisoformat(job.started)).total_seconds() - job.heartbeat
    return job.done / seconds if seconds > 0 else None


def table_of(answers: Sequence[Answer]) -> Table:
    """Make a line for each job of each node, and one for a node that has none or does not answer."""
    table = Table(*COLUMNS, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[4:]:
        column.justify = "right"
    now = datetime.now(UTC)
    for answer in answers:
        if answer.report is None:
            table.add_row(answer.name, Text(answer.trouble or "", style="red"))
            continue
        report = answer.report
        if not report.jobs:
            free = f"{report.busy} of {report.slots} slots busy, {decimal(report.free)} free"
            table.add_row(answer.name, Text(f"no jobs ({free})", style="dim"))
        for job in report.jobs:
            table.add_row(*_cells(answer.name, job, now), style="red" if job.state is State.FAILED else None)
    return table


def _cells(node: str, job: JobReport, now: datetime) -> list[Text]:
    rate = rate_of(job, now)
    total = "?" if job.targets is None else f"{job.targets:,}"
    cells = [
        node,
        job.name,
        job.survey,
        job.state,
        f"{job.done:,}/{total}",
        "" if rate is None else f"{rate:,.0f}/s",
        f"{job.live:,}",
        f"{job.errors:,}",
        "" if job.heartbeat is None else f"{job.heartbeat:.0f} s ago",
    ]
    return [Text(cell) for cell in cells]


def deploy_to_all(clients: Sequence[NodeClient], version: str, egg: bytes) -> list[str]:
    """Give all nodes a version of the project, side by side; what went wrong, a line each."""

    def deploy(client: NodeClient) -> str | None:
        try:
            client.deploy(version, egg)
        except NodeError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        return [trouble for trouble in pool.map(deploy, clients) if trouble is not None]


def versions_of(answers: Sequence[Answer]) -> Table:
    """Make a line for each node: which versions of the project it has, the one in use first."""
    table = Table("node", "in use", "earlier", box=None, header_style="bold", pad_edge=False)
    for answer in answers:
        latest, *earlier = reversed(answer.report.versions or ["none"]) if answer.report else [answer.trouble or ""]
        table.add_row(Text(answer.name), Text(latest), Text(", ".join(earlier)))
    return table


class Follower:
    """Shows how far a survey is: a live line on a terminal, elsewhere a line every 30 seconds."""

    def __init__(self, controller: Controller, run: Run, targets: int | None, tell: Callable[[str], object]) -> None:
        """``tell`` writes a line where there is no terminal."""
        self._controller = controller
        self._run = run
        self._targets = targets
        self._tell = tell
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._before = (time.monotonic(), controller.moment()[2])
        self._rate = 0.0
        self._every = LINE_EVERY if self._console.is_terminal else TELL_EVERY

    def __enter__(self) -> Self:
        """Begin."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the line away."""
        self._live.stop()

    def show(self) -> None:
        """Show this moment, if it is time for it."""
        now, (then, before) = time.monotonic(), self._before
        if now - then < self._every:
            return
        shards, running, done = self._controller.moment()
        last = (done - before) / (now - then)
        self._rate = SMOOTHING * last + (1 - SMOOTHING) * self._rate if self._rate else last
        self._before = now, done
        total = "" if self._targets is None else f"/{self._targets:,}"
        parts = f"{shards:,}/{self._run.shards:,} shards, {running:,} running, {done:,}{total} targets"
        line = f"{parts}, {max(0.0, self._rate):,.0f}/s"
        if self._console.is_terminal:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            self._tell(line)
