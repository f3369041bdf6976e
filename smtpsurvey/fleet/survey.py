"""A survey by the fleet, from its list to the end: what ``scrapy fleet run`` and ``collect`` do."""

from __future__ import annotations

import fcntl
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from smtpsurvey.defaults import SETTINGS
from smtpsurvey.extensions.checkpoint import fingerprint
from smtpsurvey.fleet import FleetError
from smtpsurvey.fleet.client import NodeError
from smtpsurvey.fleet.collect import FETCHED, BadJobError, Collector
from smtpsurvey.fleet.controller import Controller
from smtpsurvey.fleet.jobs import State, parse_job
from smtpsurvey.fleet.line import Line
from smtpsurvey.fleet.orders import DIGEST, Orders, is_url
from smtpsurvey.fleet.plan import Plan
from smtpsurvey.fleet.screen import ask_all
from smtpsurvey.fleet.split import split
from smtpsurvey.items import DEFAULT_PORT, iso_time
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from scrapy.settings import BaseSettings

    from smtpsurvey.fleet.client import NodeClient
    from smtpsurvey.fleet.records import Records, Run
    from smtpsurvey.fleet.screen import Answer
    from smtpsurvey.store.shards import Shards

SHARDS_A_SLOT = 8  # so that a node that dies, or is slow, holds up little
MAX_SHARDS = 100_000
TOLD = 100  # bad lines that are shown one by one


def arguments_of(given: Mapping[str, str]) -> dict[str, str]:
    """Make the arguments of a run from those of the spider: a list in a file is known by its content.

    Raises :class:`FleetError`.
    """
    arguments = dict(given)
    targets = arguments.get("targets", "")
    if "domains" in arguments or "shard" in arguments or not targets or targets == "-":
        raise FleetError("give the list as -a targets=FILE or URL, without domains and shard")
    port = arguments.get("port", str(DEFAULT_PORT))
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 1 << 16):
        raise FleetError(f"port={port!r} is no port (1 to 65535)")
    if is_url(targets):
        if "@" in targets.partition("://")[2].partition("/")[0]:
            raise FleetError("the URL of the list holds credentials; they belong into the netrc of the nodes")
    else:
        try:
            arguments[DIGEST] = fingerprint(targets)
        except OSError as error:
            raise FleetError(f"{targets}: {error.strerror}") from None
        arguments["targets"] = Path(targets).name
    return {"source": Path(targets).name} | arguments


@contextmanager
def working_folder(folder: Path, run: Run) -> Iterator[Path]:
    """Give the folder of a run to its only controller here; raises :class:`FleetError` if there is another."""
    mine = folder / f"fleet-{run.run}"
    mine.mkdir(parents=True, exist_ok=True)
    with (mine / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FleetError(f"survey {run.survey}: another controller runs in {mine}") from None
        yield mine
        if [path.name for path in mine.iterdir()] == ["lock"]:
            shutil.rmtree(mine)


class FleetSurvey:
    """One survey, registered in the store."""

    def __init__(self, shards: Shards, records: Records, run: Run, tell: Callable[[str], object]) -> None:
        """``tell`` gets a line for each thing worth saying."""
        self.run = run
        self._shards = shards
        self._records = records
        self._tell = tell

    def register(self, settings: BaseSettings) -> None:
        """Enter the survey into the store, as a crawl does; databases by name, since URLs hold passwords."""
        found = {setting.name: settings.get(setting.name) for setting in SETTINGS}
        made = found | {"SMTPSURVEY_SHARDS": [shard.name for shard in self._shards]}
        Writer(self._shards).begin_survey(self.run.survey, iso_time(time.time()), made)

    def split(self, targets: str, folder: Path) -> int | None:
        """Split the list, unless an earlier controller has done so here; the number of targets, where it is known."""
        if is_url(targets) or folder.exists():
            return self.run.targets
        port = int(self.run.arguments.get("port", DEFAULT_PORT))
        told = 0

        def on_bad(line: int, reason: str) -> None:
            nonlocal told
            told += 1
            if told <= TOLD:
                self._tell(f"{targets}:{line}: {reason}")

        total = split(targets, port, self.run.shards, folder, on_bad)
        self._records.count(self.run.survey, total)
        return total

    def controller(
        self, clients: Sequence[NodeClient], orders: Orders, folder: Path, grace: float, *, tested: bool
    ) -> Controller:
        """Make the controller, which goes on where the records say that an earlier one was."""
        now = time.monotonic()
        plan = Plan({client.node.name: client.node.weight for client in clients}, self.run.shards, grace, now)
        lines = [Line(client, self.run.run, orders, folder, tested=tested) for client in clients]
        controller = Controller(plan, lines, self._records, self.run, folder)
        for record in self._records.jobs(self.run.survey):
            plan.restore(record.job, record.node, record.state)
            if record.targets is not None:
                controller.targets[record.job.shard] = record.targets
        controller.tell = self._tell
        return controller

    def collector(self) -> Collector:
        """Make what imports."""
        return Collector(self._shards, self._records, self.run)

    def collect(self, clients: Sequence[NodeClient], folder: Path) -> int:
        """Import what is finished on the nodes now; gives how many shards came."""
        collector, came = self.collector(), 0
        for answer in ask_all(clients, self.run.run):
            if answer.report is None:
                self._tell(f"{answer.name}: {answer.trouble}")
                continue
            for each in answer.report.jobs:
                if each.state is State.FINISHED:
                    came += self._collect(answer, each.name, collector, folder)
        collector.write_tallies()
        if len(self._records.imported(self.run.survey)) == self.run.shards:
            collector.finish()
        return came

    def _collect(self, answer: Answer, name: str, collector: Collector, folder: Path) -> bool:
        job, mine = parse_job(name, self.run.run), folder / name
        if job is None:
            return False
        mine.mkdir(parents=True, exist_ok=True)
        try:
            for file in FETCHED:
                answer.client.get(name, file, mine / file)
            targets = collector.take(job, mine)
            answer.client.delete(name)
        except (NodeError, BadJobError) as error:
            self._tell(f"{answer.name}: shard {job.shard}: {error}")
            return False
        finally:
            shutil.rmtree(mine)
        self._tell(f"{answer.name}: shard {job.shard}: {targets:,} targets")
        return True


def cancel_all(answers: Sequence[Answer]) -> list[str]:
    """End all jobs that run or wait; what went wrong, a line each."""
    troubles = []
    for answer in answers:
        try:
            for job in answer.report.jobs if answer.report else []:
                if job.state in {State.PENDING, State.RUNNING}:
                    answer.client.cancel(job.name)
        except NodeError as error:
            troubles.append(str(error))
        if answer.trouble:
            troubles.append(f"{answer.name}: {answer.trouble}")
    return troubles


def shards_for(answers: Sequence[Answer]) -> tuple[int, int]:
    """Give the slots of all nodes, those that do not answer taken to be like the others, and shards for them."""
    known = [answer.report.slots for answer in answers if answer.report is not None]
    if not known:
        raise FleetError("no node can be reached")
    slots = -(-sum(known) * len(answers) // len(known))
    return slots, min(MAX_SHARDS, SHARDS_A_SLOT * slots)
