"""``scrapy fleet`` as a user types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from doubles.crawl import run
from doubles.jobs import left
from servers.scrapyd import Fleet
from surveys import item

from smtpsurvey.fleet.jobs import Job
from smtpsurvey.fleet.records import Records
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LABEL = "2026-11"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two nodes, of which one is down."""
    made = Fleet(tmp_path_factory.mktemp("fleet"), 2)
    made.nodes[0].start()
    yield made
    made.stop()


def test_status_shows_every_job_and_the_node_that_is_down(fleet: Fleet) -> None:
    left(fleet.nodes[0].folder / "items" / "0123456789ab-3-1", [item(1)], {"refused/-/list": 1999})
    said = fleet.run("status")
    assert said.status == 1
    head, job, *others = said.out.splitlines()
    assert head.split()[:2] == ["node", "job"]
    assert job.split()[:5] == ["n1", "0123456789ab-3-1", LABEL, "finished", "2,000/9"]
    assert any(line.split() == ["n2", "Connection", "refused"] for line in others)
    assert said.err == ""


def test_wrong_credentials_are_told_in_one_line(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login survey password wrong-d81c\n")
    monkeypatch.setitem(fleet.environment, "NETRC", str(tmp_path / "netrc"))
    (tmp_path / "list.txt").write_text("127.0.0.1\n")
    said = fleet.run("run", "smtp", "-a", f"targets={tmp_path}/list.txt", "--tags", "")
    assert said.status == 1
    lines = said.err.splitlines()
    assert lines[0] == "fleet: n1: wrong credentials (netrc, or SCRAPYD_USERNAME and SCRAPYD_PASSWORD)"
    assert lines[1:] == ["fleet: n2: Connection refused", "fleet: no node can be reached"]
    assert "wrong-d81c" not in said.out + said.err + fleet.logs()


def test_collect_imports_what_is_finished_and_stop_is_remembered(fleet: Fleet, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/survey.sqlite3"
    shards = Shards([url])
    shards.create()
    records = Records(shards)
    survey = records.begin(LABEL, 1, 8, {"targets": "list.txt"})
    Writer(shards).begin_survey(LABEL, "2026-11-25T00:00:00.000Z", {})
    records.start(LABEL, Job(1, 1), "n1")
    folder = left(fleet.nodes[0].folder / "items" / Job(1, 1).name(survey.run), [item(1), item(2)], {"refused/-/l": 5})
    said = fleet.run("stop", "-s", f"SMTPSURVEY_SHARDS={url}")
    assert (said.status, records.stopped(LABEL)) == (1, True)
    assert said.err.splitlines() == ["fleet: n2: Connection refused", f"fleet: survey {LABEL}: told to stop"]
    said = fleet.run("collect", "--dir", str(tmp_path / "run"), "-s", f"SMTPSURVEY_SHARDS={url}")
    assert said.status == 0, said
    assert said.err.splitlines()[-2:] == [
        "fleet: n2: Connection refused",
        f"fleet: survey {LABEL}: 1 came, 0 of 1 shards are missing",
    ]
    assert not folder.exists()
    reader = Reader(shards)
    assert [each.ip for each in reader.items(LABEL)] == ["192.0.2.1", "192.0.2.2"]
    assert [tally.count for tally in reader.tallies(LABEL)] == [5]
    assert reader.surveys()[0].finished is not None
    shards.dispose()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("status", "-s", "SMTPSURVEY_FLEET=no.toml"), "fleet: no.toml: No such file or directory"),
        (("run", "smtp", "-a", "targets=no.txt"), "fleet: no.txt: No such file or directory"),
        (("run", "mx"), "say one of deploy, run, status, collect, stop"),
        ((), "say one of deploy, run, status, collect, stop"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: tuple[str, ...], reason: str) -> None:
    said = run("fleet", *arguments)
    assert said.status != 0
    assert reason in said.out + said.err
    assert "Traceback" not in said.err
