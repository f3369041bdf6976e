"""``scrapy shards`` from the command line's side: what it prints, and its exit status."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.cmdline import execute
from scrapy.settings import Settings
from surveys import item, store, write

from smtpsurvey.store.migrations import VERSION
from smtpsurvey.store.spool import claim, folder_of
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from smtpsurvey.store.shards import Shards

USAGE = 2


def scrapy(urls: object, *argv: object, tables: int = 2, **more: object) -> int:
    """Run the command as ``scrapy`` does; return its exit status."""
    settings = Settings(
        {
            "COMMANDS_MODULE": "smtpsurvey.commands",
            "SMTPSURVEY_SHARDS": urls,
            "SMTPSURVEY_TABLES_PER_SHARD": tables,
            **more,
        }
    )
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "shards", *map(str, argv)], settings)
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, where names of databases are short."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def urls() -> list[str]:
    """Two databases with a survey of 100 rows, and a third that is not there yet."""
    urls = [f"sqlite:///{name}.db" for name in "abc"]
    shards = store(urls[:2], 2)
    write(shards, "now", [item(number) for number in range(1, 101)])
    shards.dispose()
    return urls


def spool(shards: Shards, server: int, numbers: range) -> Path:
    """Put rows into the spool as if the server had been down."""
    found = claim(folder_of(Settings()), shards.names[server], shards.schema)
    items = [item(number, survey="now") for number in numbers]
    found.append(Writer(shards).batch(server, [each for each in items if shards.placement.server(each.ip) == server]))
    found.close()
    return found.path


def test_init_makes_the_databases_and_may_be_said_again(urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert scrapy(urls[2:], "init") == 0
        assert capsys.readouterr() == (f"c.db: 2 tables of observations, schema version {VERSION}\n", "")
    assert Path("c.db").exists()


def test_init_with_another_number_of_tables_is_refused(urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy(urls[:1], "init", tables=3) == 1
    assert capsys.readouterr() == ("", "shards: a.db: has 2 tables of observations, the settings say 3\n")


def test_status_shows_rows_skew_and_what_waits(urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shards = store(urls[:2], 2)
    spool(shards, 0, range(101, 151))
    shards.dispose()
    assert scrapy(urls[:2], "status") == 0
    said = capsys.readouterr().out
    assert "a.db" in said
    assert "now" in said
    assert "down" not in said
    assert scrapy(urls[:2], "status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    first, second = found["shards"]
    assert (first["name"], first["version"], second["spooled"]) == ("a.db", VERSION, 0)
    assert first["surveys"]["now"] + second["surveys"]["now"] == 100
    assert 10 < first["spooled"] < 40
    assert found["skew"] == max(*first["tables"], *second["tables"]) / 25


def test_status_of_a_server_that_is_down_has_status_1(urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    down = f"mysql+pymysql://me:secret@127.0.0.1:{port}/survey"
    assert scrapy([urls[0], down], "status") == 1
    said = capsys.readouterr().out
    assert "down" in said
    assert f"127.0.0.1:{port}/survey: Can't connect to MySQL server" in said
    assert "secret" not in said
    assert scrapy([urls[0], down], "status", "--json") == 1
    found = json.loads(capsys.readouterr().out)["shards"]
    assert [shard["down"] is None for shard in found] == [True, False]


def test_verify_says_what_is_wrong_and_has_status_1(urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy(urls[:2], "verify") == 0
    assert capsys.readouterr().out.endswith("nothing wrong\n")
    shards = store(urls[:2], 2)
    away = 1 - shards.placement.server("192.0.2.7")
    Writer(shards).write(away, [item(7, survey="now")])
    shards.dispose()
    assert scrapy(urls[:2], "verify") == 1
    said = capsys.readouterr().out.splitlines()
    assert "1 observations too many: copies of others" in said
    assert said[-1] == "1 problems"
    assert any(line.startswith("  now, 192.0.2.7 port 25: in a.db") for line in said)
    assert scrapy(urls[:2], "verify", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["problems"], found["duplicates"], sum(found["rows"].values())) == (1, 1, 101)


def test_rebalance_moves_and_tells_what_to_set(urls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy(urls[:2], "rebalance", "--to", ",".join(urls)) == 0
    said, told = capsys.readouterr()
    assert told == ""
    assert " of 100 rows moved (" in said
    assert said.splitlines()[-1] == "set SMTPSURVEY_SHARDS to the new list now: a.db, b.db, c.db"
    assert scrapy(urls, "verify") == 0
    assert capsys.readouterr().out.startswith("a.db: ")
    assert scrapy(urls, "rebalance", "--to", ",".join(urls)) == 0
    assert "0 of 100 rows moved (0.0%)" in capsys.readouterr().out


def test_rebalance_waits_for_the_spool_and_replay_empties_it(
    urls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shards = store(urls[:2], 2)
    path = spool(shards, 0, range(101, 151))
    shards.dispose()
    assert scrapy(urls[:2], "rebalance", "--to", ",".join(urls)) == 1
    assert capsys.readouterr().err == "shards: spool: rows wait there to be written; run `scrapy shards replay` first\n"
    assert scrapy(urls[:2], "replay") == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[0].startswith("a.db: ")
    assert said[1] == "b.db: 0 rows written"
    assert not path.exists()
    assert scrapy(urls[:2], "status", "--json") == 0
    assert sum(shard["surveys"]["now"] for shard in json.loads(capsys.readouterr().out)["shards"]) > 110
    assert scrapy(urls[:2], "rebalance", "--to", ",".join(urls)) == 0


def test_an_interrupt_is_one_line(
    urls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: Any, **_kw: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("smtpsurvey.store.rebalance.Rebalance.run", interrupt)
    assert scrapy(urls[:2], "rebalance", "--to", ",".join(urls)) == 130
    assert capsys.readouterr() == ("", "shards: broken off; run it again to go on\n")


def test_without_databases_there_is_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy([], "status") == 1
    assert capsys.readouterr().err == "shards: SMTPSURVEY_SHARDS is empty: there is no database\n"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], "say one of init, status, verify, rebalance, replay"),
        (["drop"], "say one of init"),
        (["init", "status"], "say one of init"),
        (["rebalance"], "rebalance, and nothing else, needs --to"),
        (["init", "--to", "sqlite:///x"], "rebalance, and nothing else, needs --to"),
    ],
)
def test_wrong_arguments_are_told(
    urls: list[str], argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scrapy(urls[:2], *argv) == USAGE
    assert line in "".join(capsys.readouterr())
