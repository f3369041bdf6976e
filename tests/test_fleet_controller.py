"""The controller among nodes of the test's own: it imports every shard, whatever nodes do."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import pytest
from doubles.jobs import left
from scrapy.settings import Settings
from surveys import item

from smtpsurvey.defaults import apply_defaults
from smtpsurvey.fleet import FleetError, controller, line
from smtpsurvey.fleet.client import MissingError, NodeError
from smtpsurvey.fleet.config import NodeConfig
from smtpsurvey.fleet.controller import StoppedError
from smtpsurvey.fleet.jobs import ITEMS, JobReport, NodeReport, SelfTest, State, parse_job
from smtpsurvey.fleet.orders import Orders
from smtpsurvey.fleet.records import Records
from smtpsurvey.fleet.survey import FleetSurvey, arguments_of, shards_for, working_folder
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LABEL = "2026-11"
SHARDS = 6


@attrs.define
class FakeNode:
    """In place of a ``NodeClient``: a job is finished as soon as it is scheduled, and has one server in its shard."""

    node: NodeConfig
    folder: Path
    versions: list[str] = attrs.field(factory=lambda: ["1"])
    test: SelfTest = attrs.field(factory=lambda: SelfTest(passed=True))
    refuses: str | None = None
    dead: bool = False
    damaged: int = 0
    without: str | None = None
    breaks: int = 0
    state: State = State.FINISHED
    jobs: dict[str, State] = attrs.field(factory=dict)
    scheduled: list[tuple[str, dict[str, str], dict[str, str]]] = attrs.field(factory=list)
    cancelled: list[str] = attrs.field(factory=list)

    def report(self, run: str | None = None) -> NodeReport:
        if self.dead:
            raise NodeError(f"{self.node.name}: Connection refused")
        found = [JobReport(name, state, done=1) for name, state in self.jobs.items() if name.startswith(run or "")]
        busy = sum(job.state is State.RUNNING for job in found)
        return NodeReport(self.node.name, 2, busy, "/jobs", 1, self.versions, found)

    def self_test(self, settings: dict[str, str]) -> SelfTest:
        assert settings["SMTPSURVEY_SHARDS"] == ""
        return self.test

    def begin(self, job: str) -> None:
        (self.folder / job).mkdir(parents=True)

    def put(self, job: str, name: str, path: Path) -> None:
        shutil.copy(path, self.folder / job / name)

    def schedule(self, job: str, settings: dict[str, str], arguments: dict[str, str]) -> None:
        if self.refuses is not None:
            raise NodeError(f"{self.node.name}: {self.refuses}")
        self.scheduled.append((job, settings, arguments))
        self.jobs[job] = self.state
        shard = int(job.split("-")[1])
        counts = {"ok": 9} if self.damaged else None
        self.damaged = max(0, self.damaged - 1)
        left(self.folder / job, [item(shard)], {"refused/-/list": 2}, counts=counts)

    def cancel(self, job: str, *, kill: bool = False) -> None:
        assert not kill
        self.cancelled.append(job)
        self.jobs[job] = State.STOPPED

    def get(self, job: str, name: str, path: Path) -> None:
        if self.without == name:
            self.without = None
            raise MissingError(f"{self.node.name}: {name}: not there")
        if self.breaks:
            self.breaks -= 1
            raise NodeError(f"{self.node.name}: {name} broke off")
        shutil.copy(self.folder / job / name, path)

    def delete(self, job: str) -> None:
        self.jobs.pop(job, None)
        shutil.rmtree(self.folder / job)


@attrs.define
class Bench:
    """A store, a list of six shards, and nodes a and b."""

    shards: Shards
    records: Records
    nodes: dict[str, FakeNode]
    folder: Path
    targets: str
    told: list[str] = attrs.field(factory=list)

    def run(self, show: Callable[[], object] = lambda: None, *, tested: bool = True, grace: float = 1000.0) -> set[int]:
        """Follow the survey to its end; the shards that were given up."""
        settings = Settings()
        apply_defaults(settings)
        run = self.records.begin(LABEL, SHARDS, 8, arguments_of({"targets": self.targets}))
        survey = FleetSurvey(self.shards, self.records, run, self.told.append)
        survey.register(settings)
        with working_folder(self.folder / "run", run) as work:
            survey.split(self.targets, work / "shards")
            orders = Orders(
                run, {"SMTPSURVEY_HELO": "x.example", "SMTPSURVEY_SHARDS": "secret"}, settings, work / "shards"
            )
            orders.slots = 4
            made = survey.controller(list(self.nodes.values()), orders, work, grace, tested=tested)  # type: ignore[arg-type]  # doubles
            made.follow(survey.collector(), show)
            if not made.given_up:
                survey.collector().finish()
            assert {path.name for path in work.iterdir()} <= {"lock", "shards"}  # nothing is left lying about
            return made.given_up

    def imported(self) -> list[str]:
        return sorted(each.ip for each in Reader(self.shards).items(LABEL))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(controller, "POLL", 0.01)
    monkeypatch.setattr(controller, "LOOK", 0.01)
    shards = Shards([f"sqlite:///{tmp_path}/survey.sqlite3"])
    shards.create()
    (tmp_path / "list.txt").write_text("".join(f"192.0.2.{number}\n" for number in range(1, 41)))
    nodes = {name: FakeNode(NodeConfig(name, "http://x"), tmp_path / name) for name in "ab"}
    yield Bench(shards, Records(shards), nodes, tmp_path, str(tmp_path / "list.txt"))
    shards.dispose()


EVERYTHING = [f"192.0.2.{shard}" for shard in range(1, SHARDS + 1)]


def test_every_shard_is_imported_and_deleted_on_its_node(bench: Bench) -> None:
    assert bench.run() == set()
    assert bench.imported() == EVERYTHING
    (survey,) = Reader(bench.shards).surveys()
    assert survey.finished is not None
    assert sum(tally.count for tally in Reader(bench.shards).tallies(LABEL)) == 2 * SHARDS
    for node in bench.nodes.values():
        assert node.scheduled
        assert not node.jobs
        assert not list(node.folder.iterdir())
    assert bench.told == []


def test_jobs_are_told_their_part_and_no_database(bench: Bench) -> None:
    bench.run()
    jobs = [job for node in bench.nodes.values() for job in node.scheduled]
    assert len({name for name, _, _ in jobs}) == len(jobs) == SHARDS
    for name, settings, arguments in jobs:
        assert settings["SMTPSURVEY_SHARDS"] == ""
        assert "secret" not in str(settings) + str(arguments)
        assert settings["SMTPSURVEY_HELO"] == "x.example"
        assert float(settings["SMTPSURVEY_RATE"]) == 500 / 4
        assert float(settings["SMTPSURVEY_PREFIX_RATE"]) == 2 / 4
        assert settings["SMTPSURVEY_MANIFEST"] == f"/jobs/{name}/manifest.json"
        assert arguments == {"targets": f"/jobs/{name}/targets.csv.gz", "source": "list.txt", "survey": LABEL}


def test_a_list_that_nodes_fetch_goes_by_shards(bench: Bench) -> None:
    bench.targets = "https://lists.example/list.txt"
    bench.run()
    told = [arguments for node in bench.nodes.values() for _, _, arguments in node.scheduled]
    assert {arguments["shard"] for arguments in told} == {f"{shard}/{SHARDS}" for shard in range(1, SHARDS + 1)}
    assert {arguments["targets"] for arguments in told} == {bench.targets}


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ({"test": SelfTest(passed=False, said="port 25 is closed")}, "a: failed its self-test: port 25 is closed"),
        ({"versions": []}, "a: the project is not deployed: run `scrapy fleet deploy`"),
        ({"dead": True}, "a: Connection refused"),
    ],
)
def test_a_node_that_is_unfit_or_away_gets_nothing(bench: Bench, trouble: dict[str, object], told: str) -> None:
    for name, value in trouble.items():
        setattr(bench.nodes["a"], name, value)
    assert bench.run() == set()
    assert bench.imported() == EVERYTHING
    assert bench.nodes["a"].scheduled == []
    assert bench.told == [told]


def test_a_node_is_not_tested_when_nobody_wants_that(bench: Bench) -> None:
    for node in bench.nodes.values():
        node.test = SelfTest(passed=False)
    assert bench.run(tested=False) == set()


def test_a_job_whose_rows_do_not_fit_is_done_again(bench: Bench) -> None:
    bench.nodes["a"].damaged = 1
    assert bench.run() == set()
    assert bench.imported() == EVERYTHING
    states = Counter(record.state for record in bench.records.jobs(LABEL))
    assert states == {"imported": SHARDS, "failed": 1}
    (line,) = bench.told
    assert "its manifest says {'ok': 9}; it is done again" in line


def test_a_job_without_its_feed_is_done_again(bench: Bench) -> None:
    bench.nodes["a"].without = ITEMS
    assert bench.run() == set()
    assert bench.imported() == EVERYTHING
    (line,) = bench.told
    assert line.startswith("a: items.jl.gz: not there; shard ")


def test_what_breaks_off_is_fetched_again_and_not_done_again(bench: Bench) -> None:
    bench.nodes["a"].breaks = 3
    assert bench.run() == set()
    assert bench.imported() == EVERYTHING
    assert sum(len(node.scheduled) for node in bench.nodes.values()) == SHARDS
    first, *_, last = bench.told
    assert (first.partition(";")[0], last) == ("a: manifest.json broke off", "a: works again")


def test_a_node_that_takes_no_job_loses_nothing(bench: Bench) -> None:
    bench.nodes["a"].refuses = "schedule.json: disk full"
    assert bench.run() == set()
    assert bench.imported() == EVERYTHING
    assert {told.partition(":")[0] for told in bench.told} == {"a"}


def test_a_shard_that_always_fails_is_given_up_and_tried_again_by_the_next_run(bench: Bench) -> None:
    for node in bench.nodes.values():
        node.state = State.FAILED
    assert bench.run() == set(range(1, SHARDS + 1))
    for node in bench.nodes.values():
        node.state = State.FINISHED
    assert bench.run() == set()
    assert bench.imported() == EVERYTHING


def test_a_controller_that_dies_is_followed_by_one_that_does_nothing_twice(bench: Bench) -> None:
    class DeathError(Exception):
        pass

    def die() -> None:
        if any(record.state == "imported" for record in bench.records.jobs(LABEL)):
            raise DeathError

    for node in bench.nodes.values():
        node.state = State.RUNNING

    def let_one_finish() -> None:
        for node in bench.nodes.values():
            node.jobs |= dict.fromkeys(list(node.jobs)[:1], State.FINISHED)
        die()

    with pytest.raises(DeathError):
        bench.run(let_one_finish)
    shutil.rmtree(bench.folder / "run")  # all that it had on its own disk
    for node in bench.nodes.values():
        node.state = State.FINISHED
        node.jobs = dict.fromkeys(node.jobs, State.FINISHED)
    assert bench.run() == set()
    assert bench.imported() == EVERYTHING
    names = [name for node in bench.nodes.values() for name, _, _ in node.scheduled]
    assert len(names) == SHARDS


def test_a_node_that_stays_away_loses_its_shards(bench: Bench) -> None:
    bench.nodes["a"].state = State.RUNNING

    def die() -> None:
        bench.nodes["a"].dead = bool(bench.nodes["a"].jobs)

    assert bench.run(die, grace=0.1) == set()
    assert bench.imported() == EVERYTHING
    assert bench.nodes["a"].jobs
    assert [told for told in bench.told if told.startswith("a: Connection refused; it holds ")]


def test_a_survey_that_is_stopped_ends_its_controller(bench: Bench) -> None:
    for node in bench.nodes.values():
        node.state = State.RUNNING

    def stop() -> None:
        if any(node.jobs for node in bench.nodes.values()):
            bench.records.stop(LABEL)

    with pytest.raises(StoppedError):
        bench.run(stop)


def test_two_controllers_of_a_survey_do_not_run_in_one_folder(bench: Bench) -> None:
    run = bench.records.begin(LABEL, SHARDS, 8, arguments_of({"targets": bench.targets}))
    with working_folder(bench.folder / "run", run), pytest.raises(FleetError, match="another controller runs"):
        bench.run()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "give the list as -a targets=FILE or URL"),
        ({"targets": "-"}, "give the list as"),
        ({"domains": "x", "targets": "y"}, "without domains and shard"),
        ({"shard": "1/2", "targets": "y"}, "without domains and shard"),
        ({"targets": "y"}, "y: No such file"),
        ({"targets": "y", "port": "0"}, "port='0' is no port"),
        ({"targets": "y", "port": "x"}, "port='x' is no port"),
        ({"targets": "https://user:hidden@lists.example/x"}, "holds credentials"),
    ],
)
def test_arguments_that_make_no_survey_are_refused(given: dict[str, str], reason: str) -> None:
    with pytest.raises(FleetError, match=reason) as caught:
        arguments_of(given)
    assert "hidden" not in str(caught.value)


def test_names_of_jobs_tell_their_run(bench: Bench) -> None:
    bench.run()
    (run,) = bench.records.runs()
    names = [name for node in bench.nodes.values() for name, _, _ in node.scheduled]
    assert {parse_job(name, run.run) is not None for name in names} == {True}


def test_a_fleet_of_which_nothing_is_known_is_told() -> None:
    with pytest.raises(FleetError, match="no node can be reached"):
        shards_for([])


def test_a_node_tests_itself_again_after_a_while() -> None:
    assert 60 <= line.TEST_EVERY <= 3600
