"""``scrapy import`` and ``scrapy export`` with items of other kinds than ``probe``."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from feeds import encoded, full
from lookups import domain, keyed, to
from scrapy.cmdline import execute
from scrapy.settings import Settings
from servers.mariadb import MariaDb, running
from surveys import TIME

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import Software
from smtpsurvey.kinds import DnsItem, DnsRecord, Exchange, ReceivedItem
from smtpsurvey.store import importer
from smtpsurvey.store.kind_items import READ
from smtpsurvey.store.others import store_items, store_zone_sizes
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.relations import ZoneSize, zone_sizes
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SURVEY = "2026-11"
KINDS = ("dns", "mx", "received")


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def urls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two databases that do not have their tables yet."""
    if request.param == "mariadb":
        server: MariaDb = request.getfixturevalue("mariadb")
        return [server.url(), server.url()]
    folder = tmp_path_factory.mktemp("sqlite")
    return [f"sqlite:///{folder / name}.sqlite3" for name in "ab"]


def scrapy(urls: object, *argv: object) -> int:
    """Run a command as ``scrapy`` does; return its exit status."""
    given = {"COMMANDS_MODULE": "smtpsurvey.commands", "SMTPSURVEY_SHARDS": urls, "SMTPSURVEY_TABLES_PER_SHARD": 2}
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", *map(str, argv)], Settings(given))
    return int(ended.value.code or 0)


def made() -> list[Any]:
    """12 domains, 6 look-ups and 5 passive observations."""
    own = Exchange(None, "self.example", ["192.0.2.9"])
    found: list[Any] = [
        domain(f"d{n}.example", to("mx.example", "192.0.2.1", "2001:db8::1"), survey=SURVEY) for n in range(10)
    ]
    found.append(domain("self.example", own, survey=SURVEY, implicit=True))
    found.append(domain("none.example", survey=SURVEY, outcome="nxdomain"))
    records = [DnsRecord("a.example", "TXT", 60, "=1+1"), DnsRecord("a.example", "TXT", 60, "b")]
    found += [DnsItem(SURVEY, TIME, f"a{n}.example", "TXT", "ok", "NOERROR", records, duration=0.5) for n in range(6)]
    software = Software("Exim", "Exim", "4.97", "received:exim", "received", "4.97")
    found += [ReceivedItem(SURVEY, TIME, f"192.0.2.{n}", None, software, 2, None, 4) for n in range(5)]
    return found


def stored(urls: list[str], kind: str) -> list[Any]:
    shards = Shards(urls, 2)
    try:
        return keyed(item for batch in Reader(shards).batches(SURVEY, kind) for item in batch)
    finally:
        shards.dispose()


def expected(kind: str) -> list[Any]:
    return keyed(item for item in made() if item.kind == kind)


def test_a_feed_of_several_kinds_is_stored_once_however_often_it_comes(
    tmp_path: Path, urls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "_BATCH", 3)
    feed = tmp_path / "feed"
    feed.write_bytes(b"".join(map(encoded, [*made()[:15], full(), *made()[15:]])) + b'{"kind":"heartbeat"}\n')
    for _ in range(2):
        assert scrapy(urls, "import", feed) == 0
        assert capsys.readouterr().out == (
            f"{feed}: 1 observations, 6 dns items, 12 mx items, 5 received items stored, "
            "1 lines that are no observation of SMTP left out (heartbeat 1)\n"
        )
        assert [stored(urls, kind) for kind in KINDS] == [expected(kind) for kind in KINDS]
    shards = Shards(urls, 2)
    assert all(survey and survey.finished == TIME for survey in Reader(shards).find(SURVEY))
    assert len(list(Reader(shards).items(SURVEY))) == 1
    shards.dispose()


def test_a_feed_without_observations_is_told_by_its_kinds(
    tmp_path: Path, urls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    feed = tmp_path / "mx.jsonl"
    feed.write_bytes(encoded(made()[0]))
    assert scrapy(urls, "import", "--survey", "other", feed) == 0
    assert capsys.readouterr().out == f"{feed}: 1 mx items stored\n"


@pytest.mark.parametrize(
    ("number", "changes", "reason"),
    [
        (0, {"time": "never"}, "time 'never' is no ISO 8601 time"),
        (0, {"outcome": "fine"}, "outcome cannot be 'fine'"),
        (0, {"duration": -1}, "duration cannot be '-1.0'"),
        (0, {"survey": ""}, "a survey's label has 1 to"),
        (0, {"exchanges": [{"preference": 65536, "name": "a"}]}, "exchanges.preference cannot be '65536'"),
        (0, {"exchanges": [{"preference": 1, "name": "a", "addresses": ["b"]}]}, "ip 'b' is no IPv4 or IPv6 address"),
        (0, {"exchanges": [{"preference": 1, "name": "a", "flags": ["odd"]}]}, "exchanges.flags cannot be 'odd'"),
        (0, {"exchanges": {}}, "Expected `array | null`"),
        (13, {"type": "T" * 17}, "type cannot be 'TTTTTTTTTTTTTTTTT'"),
        (13, {"records": [{"name": "a"}]}, "missing required field `type`"),
        (20, {"address": "here"}, "ip 'here' is no IPv4 or IPv6 address"),
        (20, {"address": None}, "name cannot be 'None'"),
        (20, {"hop": 0}, "hop cannot be '0'"),
        (20, {"messages": 2**63}, "messages cannot be"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, changes: dict[str, Any], reason: str
) -> None:
    feed, url = tmp_path / "feed", f"sqlite:///{tmp_path / 'a.sqlite3'}"
    feed.write_bytes(encoded(made()[number], **changes) + encoded(made()[1]))
    assert scrapy([url], "import", feed) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"import: {feed}:1: ")
    assert reason in told.err
    assert told.err.count("\n") == 1
    assert told.out == f"{feed}: 1 mx items stored, 1 bad lines left out\n"


def test_addresses_and_times_become_canonical(tmp_path: Path) -> None:
    feed, url = tmp_path / "feed", f"sqlite:///{tmp_path / 'a.sqlite3'}"
    odd = {"preference": 1, "name": "mx.example", "addresses": ["2001:DB8:0::1", "::ffff:192.0.2.1"]}
    feed.write_bytes(encoded(made()[0], time="2026-11-25T02:02:03.456+01:00", exchanges=[odd]))
    assert scrapy([url], "import", feed) == 0
    (item,) = stored([url], "mx")
    assert item["time"] == TIME
    assert item["exchanges"][0]["addresses"] == ["192.0.2.1", "2001:db8::1"]


def store(urls: list[str]) -> None:
    settings = Settings({"SMTPSURVEY_SHARDS": urls, "SMTPSURVEY_TABLES_PER_SHARD": 2})
    assert store_items(settings, SURVEY, iter(made())) == 23


@pytest.mark.parametrize("kind", KINDS)
def test_json_lines_of_a_kind_come_back_through_import(
    tmp_path: Path, urls: list[str], capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    store(urls)
    out = tmp_path / "out.jsonl.zst"
    assert scrapy(urls, "export", "--survey", SURVEY, "--kind", kind, "--format", "jsonl", "--out", out) == 0
    assert capsys.readouterr().out == f"{out}: {len(expected(kind))} {kind} items\n"
    again = [f"sqlite:///{tmp_path / name}.sqlite3" for name in "xyz"]
    assert scrapy(again, "import", out) == 0
    assert stored(again, kind) == expected(kind)


def test_csv_has_a_line_for_each_exchange_and_record_and_no_formula(urls: list[str], tmp_path: Path) -> None:
    store(urls)
    tables = {}
    for kind in KINDS:
        out = tmp_path / kind
        assert scrapy(urls, "export", "--survey", SURVEY, "--kind", kind, "--format", "csv", "--out", out) == 0
        with out.open(newline="") as file:
            tables[kind] = list(csv.DictReader(file))
        assert tuple(tables[kind][0]) == READ[kind].columns
    assert {kind: len(lines) for kind, lines in tables.items()} == {"dns": 12, "mx": 12, "received": 5}
    line = next(line for line in tables["mx"] if line["domain"] == "d0.example")
    assert (line["preference"], line["exchange"], json.loads(line["addresses"])) == (
        "10",
        "mx.example",
        ["192.0.2.1", "2001:db8::1"],
    )
    assert {line["value"] for line in tables["dns"]} == {"'=1+1", "b"}
    assert {(line["product"], line["consistent"], line["messages"]) for line in tables["received"]} == {
        ("Exim", "", "4")
    }
    assert next(line for line in tables["mx"] if line["domain"] == "none.example")["exchange"] == ""


def test_parquet_is_nested_as_a_feed(urls: list[str], tmp_path: Path) -> None:
    store(urls)
    for kind in KINDS:
        out = tmp_path / f"{kind}.parquet"
        assert scrapy(urls, "export", "--survey", SURVEY, "--kind", kind, "--format", "parquet", "--out", out) == 0
        assert len(duckdb.read_parquet(str(out)).fetchall()) == len(expected(kind))
    names = duckdb.sql(
        f"SELECT DISTINCT each.name FROM (SELECT unnest(exchanges) AS each FROM '{tmp_path / 'mx.parquet'}') ORDER BY 1"
    )
    assert names.fetchall() == [("mx.example",), ("self.example",)]


def test_zgrab2_has_no_other_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'a.sqlite3'}"
    assert scrapy([url], "export", "--survey", SURVEY, "--kind", "mx", "--format", "zgrab2") == 2
    assert "zgrab2 has observations alone" in capsys.readouterr().err


def test_a_survey_that_a_crawl_has_begun_is_not_ended_by_a_command(urls: list[str]) -> None:
    shards = Shards(urls, 2)
    shards.create()
    Writer(shards).begin_survey(SURVEY, TIME, {"SMTPSURVEY_RATE": 5})
    store(urls)
    assert [survey and (survey.finished, survey.settings) for survey in Reader(shards).find(SURVEY)] == [
        (None, {"SMTPSURVEY_RATE": 5})
    ] * len(shards)
    shards.dispose()


def test_a_command_without_databases_says_so() -> None:
    for call in (lambda: store_items(Settings(), SURVEY, []), lambda: store_zone_sizes(Settings(), [])):
        with pytest.raises(SurveyError, match="SMTPSURVEY_SHARDS is empty"):
            call()


def test_a_command_stores_items_and_sizes_of_zones(urls: list[str]) -> None:
    settings = Settings({"SMTPSURVEY_SHARDS": urls, "SMTPSURVEY_TABLES_PER_SHARD": 2})
    sizes = [("com", "2026-11-25", 3, "zone:com.gz"), ("", "2026-11-25", 1400, "zone:root")]
    for _ in range(2):
        store(urls)
        assert store_zone_sizes(settings, iter(sizes)) == 2
    assert [stored(urls, kind) for kind in KINDS] == [expected(kind) for kind in KINDS]
    shards = Shards(urls, 2)
    assert zone_sizes(shards) == [
        ZoneSize("", "2026-11-25", 1400, "zone:root"),
        ZoneSize("com", "2026-11-25", 3, "zone:com.gz"),
    ]
    assert [survey.label for survey in Reader(shards).surveys()] == [SURVEY]
    assert all(survey and survey.finished == TIME for survey in Reader(shards).find(SURVEY))
    shards.dispose()
