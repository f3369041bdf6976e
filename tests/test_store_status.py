from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from lookups import domain, put, to
from surveys import TIME, item, store, write

from smtpsurvey.store.kinds import Rows
from smtpsurvey.store.migrations import REBALANCE, VERSION, record
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.status import ShardStatus, look, skew
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'survey.sqlite3'}"


@pytest.fixture
def shards(url: str) -> Iterator[Shards]:
    shards = store([url], 2)
    write(shards, "now", [item(number) for number in range(1, 31)])
    write(shards, "old", [item(1)])
    yield shards
    shards.dispose()


def test_what_a_database_holds(shards: Shards, tmp_path: Path) -> None:
    (found,) = look(shards)
    assert (found.name, found.down, found.version, found.rebalancing) == (shards.names[0], None, VERSION, False)
    assert found.surveys == {"now": 30, "old": 1}
    assert sum(found.tables) == found.rows == 31
    assert found.size == (tmp_path / "survey.sqlite3").stat().st_size


def test_rows_of_other_tables_are_counted_by_survey(shards: Shards) -> None:
    put(shards, [domain("a.example", to("mx.example", "192.0.2.1")), domain("a.example", survey="mx only")])
    Writer(shards).write(0, [Rows([("zone_sizes", ("com", "2026-11-25", 7, "file", TIME))])])
    others = look(shards)[0].others
    assert others.keys() == {*shards.schema.others, "verdicts"}
    assert {name: rows for name, rows in others.items() if rows} == {
        "mx": {"mx only": 1, "now": 1},
        "addresses": {"now": 1},
        "zone_sizes": {"": 1},
    }


def test_a_rebalance_on_its_way_shows(shards: Shards) -> None:
    with shards[0].begin() as connection:
        record(connection, shards.schema, REBALANCE, "{}")
    assert look(shards)[0].rebalancing


@pytest.mark.usefixtures("shards")
def test_a_server_that_is_down_is_told_beside_one_that_is_up(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = Shards([url, f"mysql+pymysql://me:secret@127.0.0.1:{port}/survey"], 2)
    up, down = look(both)
    assert up.rows == 31
    assert down.down is not None
    assert "refused" in down.down
    assert "secret" not in down.down
    assert (down.version, down.tables, down.size) == (None, [], None)
    both.dispose()


def test_looking_makes_no_database(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite3"
    shards = Shards([f"sqlite:///{path}"])
    assert look(shards) == [ShardStatus(str(path), "no such database")]
    assert not path.exists()


def test_a_database_without_tables_has_no_version(tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite3"
    path.touch()
    shards = Shards([f"sqlite:///{path}"], 2)
    (found,) = look(shards)
    assert (found.down, found.version, found.tables, found.surveys) == (None, None, [0, 0], {})
    shards.dispose()


def test_a_later_version_is_told(shards: Shards) -> None:
    with shards[0].begin() as connection:
        record(connection, shards.schema, "version", "99")
    assert look(shards)[0].down == f"schema version 99, we know {VERSION}: a newer smtpsurvey made this database"


def test_skew_is_the_fullest_table_over_the_mean() -> None:
    assert skew([2, 1, 1, 0]) == 2
    assert skew([5, 5]) == 1
    assert skew([0, 0]) is None
    assert skew([]) is None
