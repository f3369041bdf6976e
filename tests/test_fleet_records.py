"""What the store remembers of a fleet, and how what jobs left gets into it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from doubles.jobs import left
from surveys import item

from smtpsurvey.fleet import FleetError
from smtpsurvey.fleet.collect import BadJobError, Collector
from smtpsurvey.fleet.jobs import ITEMS, MANIFEST, STATS, Job
from smtpsurvey.fleet.records import Records, Run
from smtpsurvey.store import StoreError
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Tally, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LABEL = "2026-11"
ARGUMENTS = {"targets": "list.txt", "port": "25"}


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Shards]:
    """Two databases."""
    opened = Shards([f"sqlite:///{tmp_path}/{name}.sqlite3" for name in "ab"], 2)
    opened.create()
    yield opened
    opened.dispose()


@pytest.fixture
def records(shards: Shards) -> Records:
    return Records(shards)


@pytest.fixture
def run(records: Records, shards: Shards) -> Run:
    Writer(shards).begin_survey(LABEL, "2026-11-25T00:00:00.000Z", {})
    return records.begin(LABEL, 2, 8, ARGUMENTS)


def test_a_run_is_taken_up_as_it_was_begun(records: Records, run: Run) -> None:
    records.stop(LABEL)
    assert records.stopped(LABEL)
    records.count(LABEL, 1234)
    again = records.begin(LABEL, None, 8, ARGUMENTS)
    assert (again.run, again.shards, again.arguments, again.targets) == (run.run, 2, ARGUMENTS, 1234)
    assert not records.stopped(LABEL)
    assert [each.survey for each in records.runs()] == [LABEL]
    assert records.begin("other", None, 8, {}).shards == 8


@pytest.mark.parametrize(
    ("count", "arguments", "reason"),
    [
        (3, ARGUMENTS, "begun with 2 shards, not 3"),
        (2, ARGUMENTS | {"port": "26"}, "begun with port=25, not 26"),
        (2, {"port": "25"}, "begun with targets=list.txt, not None"),
        (2, ARGUMENTS | {"digest of the list": "ab"}, "begun with digest of the list=None, not ab"),
    ],
)
@pytest.mark.usefixtures("run")
def test_another_run_of_the_same_label_is_refused(
    records: Records, count: int, arguments: dict[str, str], reason: str
) -> None:
    with pytest.raises(FleetError, match=reason):
        records.begin(LABEL, count, 8, arguments)


@pytest.mark.usefixtures("run")
def test_jobs_are_remembered_and_one_is_handed_out_once(records: Records) -> None:
    records.start(LABEL, Job(2, 1), "b")
    records.start(LABEL, Job(1, 1), "a")
    records.fail(LABEL, Job(1, 1))
    records.start(LABEL, Job(1, 2), "b")
    with pytest.raises(StoreError):  # by another controller
        records.start(LABEL, Job(1, 2), "a")
    found = [(record.job, record.node, record.state) for record in records.jobs(LABEL)]
    assert found == [(Job(1, 1), "a", "failed"), (Job(1, 2), "b", "started"), (Job(2, 1), "b", "started")]


def test_what_jobs_left_is_imported_once_with_the_sum_of_their_tallies(
    shards: Shards, records: Records, run: Run, tmp_path: Path
) -> None:
    collector = Collector(shards, records, run)
    for number in (1, 2):
        records.start(LABEL, Job(number, 1), "a")
    records.start(LABEL, Job(1, 2), "b")
    first = left(tmp_path / "1", [item(1), item(2, outcome="silent")], {"refused/-/list": 3, "timeout/-/list": 2})
    assert collector.take(Job(1, 1), first) == 7
    assert collector.take(Job(1, 2), left(tmp_path / "2", [item(9)], {"refused/-/list": 6})) == 0  # the same shard
    assert (
        collector.take(Job(2, 1), left(tmp_path / "3", [item(3)], {"refused/-/list": 1, "excluded/opt-out/list": 4}))
        == 6
    )
    collector.finish()
    reader = Reader(shards)
    assert sorted(each.ip for each in reader.items(LABEL)) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert {(tally.outcome, tally.reason, tally.count) for tally in reader.tallies(LABEL)} == {
        ("refused", None, 4),
        ("timeout", None, 2),
        ("excluded", "opt-out", 4),
    }
    (survey,) = reader.surveys()
    assert survey.finished is not None
    assert [(record.state, record.targets) for record in records.jobs(LABEL)] == [
        ("imported", 7),
        ("started", None),
        ("imported", 6),
    ]


def change(name: str, make: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Damage a file of a job."""
    return lambda folder: (folder / name).write_bytes(make((folder / name).read_bytes()))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: left(folder, [item(1)], {}, counts={"ok": 2}), "{'ok': 1} came, its manifest says {'ok': 2}"),
        (lambda folder: left(folder, [item(1)], {"refused/-/l": 1}, counts={"ok": 1}), "its manifest says {'ok': 1}"),
        (lambda folder: left(folder, [item(1)], {}, counts={"ok": 1, "refused": 1}), "says {'ok': 1, 'refused': 1}"),
        (lambda folder: left(folder, [item(1)], {}, reason="shutdown"), "ended with 'shutdown'"),
        (lambda folder: left(folder, [item(1)], {}, reason=None), "ended with None"),
        (lambda folder: left(folder, [item(1)], {}, survey="other"), "survey 'other'"),
        (change(ITEMS, lambda data: data[:-12]), "truncated"),
        (change(ITEMS, lambda data: data[:-8] + bytes(8)), "corrupt"),
        (change(ITEMS, lambda _: b"garbage\n"), "items.jl.gz:1: "),
        (change(ITEMS, lambda data: data + gzip.compress(b"{}\n")), "items.jl.gz:3: "),
        (lambda folder: (folder / ITEMS).unlink(), "No such file"),
        (lambda folder: (folder / MANIFEST).unlink(), "its manifest cannot be read"),
        (change(MANIFEST, lambda data: data[:-1]), "its manifest cannot be read"),
        (change(STATS, lambda _: b"[]"), "its manifest cannot be read"),
        (change(STATS, lambda _: b'{"smtpsurvey/unrecorded/x": 1}'), "its manifest cannot be read"),
    ],
)
def test_a_job_is_bad_when_its_rows_are_not_what_its_manifest_says(
    shards: Shards, run: Run, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    records = Records(shards)
    records.start(LABEL, Job(1, 1), "a")
    folder = left(tmp_path / "job", [item(1), item(2)], {})
    damage(folder)
    with pytest.raises(BadJobError) as caught:
        Collector(shards, records, run).take(Job(1, 1), folder)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(Reader(shards).items(LABEL)) == []
    assert records.imported(LABEL) == set()


def test_tallies_of_two_jobs_are_added(records: Records, run: Run) -> None:
    for shard in (1, 2):
        records.start(run.survey, Job(shard, 1), "a")
        records.finish(run.survey, Job(shard, 1), 3, [Tally("list", "refused", None, 3)])
    assert records.tallies(LABEL) == [Tally("list", "refused", None, 6)]
