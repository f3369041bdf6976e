"""The controller: tells the nodes what the plan says, and the plan what the nodes say, until all is imported.

The plan and the records live in the calling thread, each node has a thread during its turn, imports have one. It may
be killed at any moment: what it knows is in the store and on the nodes.
"""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from smtpsurvey.fleet import FleetError
from smtpsurvey.fleet.actions import Discard, Seen, Start, View
from smtpsurvey.fleet.collect import BadJobError
from smtpsurvey.fleet.jobs import parse_job

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence
    from pathlib import Path

    from smtpsurvey.fleet.actions import Action
    from smtpsurvey.fleet.collect import Collector
    from smtpsurvey.fleet.jobs import Job, NodeReport
    from smtpsurvey.fleet.line import Line, Turn
    from smtpsurvey.fleet.plan import Plan
    from smtpsurvey.fleet.records import Records, Run

POLL = 2.0  # seconds between two turns of a node
LOOK = 0.2  # seconds to wait at most for something to happen
THREADS = 64  # nodes that are spoken to at the same time


class StoppedError(FleetError):
    """Somebody has said ``scrapy fleet stop``."""


class Controller:
    """Follows one survey to its end."""

    def __init__(self, plan: Plan, lines: Sequence[Line], records: Records, run: Run, folder: Path) -> None:
        """``folder`` is where the lines leave what they fetch."""
        self.reports: dict[str, NodeReport] = {}
        self.targets: dict[int, int] = {}  # of imported shards
        self.tell: Callable[[str], object] = lambda _line: None
        self._plan = plan
        self._lines = {line.name: line for line in lines}
        self._records = records
        self._run = run
        self._folder = folder
        self._actions: defaultdict[str, list[Action]] = defaultdict(list)
        self._settled: defaultdict[str, set[Job]] = defaultdict(set)  # decided on since the node's turn began
        self._due = dict.fromkeys(self._lines, 0.0)
        self._turns: dict[Future[Turn], str] = {}
        self._imports: dict[Future[int], tuple[Job, str]] = {}
        self._trouble: dict[str, str | None] = {}

    @property
    def given_up(self) -> set[int]:
        """The shards that failed again and again."""
        return self._plan.given_up

    def moment(self) -> tuple[int, int, int]:
        """Give how many shards are imported, how many jobs run, and how many targets are done, as far as is known."""
        imported = self._plan.imported_shards
        running: dict[int, int] = {}
        for report in self.reports.values():
            for each in report.jobs:
                job = parse_job(each.name, self._run.run)
                if job is not None and job.shard not in imported:
                    running[job.shard] = max(each.done, running.get(job.shard, 0))
        return len(imported), self._plan.running, sum(self.targets.values()) + sum(running.values())

    def follow(self, collector: Collector, show: Callable[[], object]) -> None:
        """Return when every shard is imported or given up; ``show`` is called now and then.

        Raises :class:`StoppedError`, and ``StoreError`` when the store does not work.
        """
        with ThreadPoolExecutor(THREADS, "node") as nodes, ThreadPoolExecutor(1, "import") as imports:
            looked = 0.0
            while not self._plan.complete or self._turns or self._imports or any(self._actions.values()):
                now = time.monotonic()
                if now - looked >= POLL:
                    looked = now
                    if self._records.stopped(self._run.survey):
                        raise StoppedError("stopped; the same run goes on")
                self._begin_turns(nodes, now)
                under_way: list[Future[Any]] = [*self._turns, *self._imports]
                for future in wait(under_way, LOOK, FIRST_COMPLETED).done:
                    if future in self._turns:
                        self._end_turn(future, collector, imports)
                    else:
                        self._end_import(future)
                show()

    def _begin_turns(self, nodes: ThreadPoolExecutor, now: float) -> None:
        busy = set(self._turns.values())
        for name, line in self._lines.items():
            if name in busy or now < self._due[name] or (self._plan.complete and not self._actions[name]):
                continue
            self._turns[nodes.submit(line.turn, self._actions.pop(name, []))] = name

    def _end_turn(self, future: Future[Turn], collector: Collector, imports: ThreadPoolExecutor) -> None:
        name, turn, now = self._turns.pop(future), future.result(), time.monotonic()
        self._due[name] = now + POLL
        self._say(name, turn)
        for job, reason in turn.failed:
            self.tell(f"{reason}; shard {job.shard} is done again")
            self._clear(job)
            self._enqueue(self._plan.failed(job, name))
        for job in turn.unfetched:
            self._plan.uncollected(job)
        for job in turn.fetched:
            folder = self._folder / job.name(self._run.run)
            self._imports[imports.submit(collector.take, job, folder)] = job, name
        if turn.report is None:
            self._enqueue(self._plan.missed(name, now))
            return
        self.reports[name] = turn.report
        settled = self._settled.pop(name, set()) | {job for job, _ in turn.failed}
        view = view_of(turn.report, self._run.run, settled, fit=turn.unfit is None)
        self._enqueue(self._plan.saw(name, view, now))

    def _end_import(self, future: Future[int]) -> None:
        job, name = self._imports.pop(future)
        try:
            self.targets[job.shard] = future.result() or self.targets.get(job.shard, 0)
        except BadJobError as error:
            self.tell(f"{name}: shard {job.shard}: {error}; it is done again")
            self._enqueue(self._plan.failed(job, name))
        else:
            self._enqueue(self._plan.imported(job, time.monotonic()))
        finally:
            self._clear(job)

    def _clear(self, job: Job) -> None:
        shutil.rmtree(self._folder / job.name(self._run.run), ignore_errors=True)

    def _enqueue(self, actions: Iterable[Action]) -> None:
        """Keep actions for the next turn of their node; what the store must know is written before."""
        busy = set(self._turns.values())
        for action in actions:
            if action.node in busy:
                self._settled[action.node].add(action.job)
            if isinstance(action, Start):
                self._records.start(self._run.survey, action.job, action.node)
            elif isinstance(action, Discard) and action.failed:
                self._records.fail(self._run.survey, action.job)
            self._actions[action.node].append(action)
            self._due[action.node] = 0.0

    def _say(self, name: str, turn: Turn) -> None:
        """Tell what has changed about a node, once."""
        trouble = turn.error or turn.unfit or turn.refused
        if trouble != self._trouble.get(name):
            if trouble is None:
                self.tell(f"{name}: works again")
            else:
                self.tell(
                    f"{name}: {trouble}" + (f"; it holds {held} shards" if (held := self._plan.holds(name)) else "")
                )
        self._trouble[name] = trouble


def view_of(report: NodeReport, run: str, settled: Container[Job], *, fit: bool) -> View:
    """Make of a report what the plan wants to know; of ``settled`` jobs it is out of date."""
    jobs = {}
    for each in report.jobs:
        job = parse_job(each.name, run)
        if job is not None and job not in settled:
            jobs[job] = Seen(each.state, each.done, each.heartbeat)
    return View(report.slots, report.busy, jobs, fit)
