from __future__ import annotations

import sqlite3
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from sqlalchemy import make_url

from smtpsurvey.store import StoreError
from smtpsurvey.store.schema import Schema
from smtpsurvey.store.shards import Placement, Shards, server_name

NAMES = ["a.example:3306/survey", "b.example:3306/survey", "c.example:3306/survey"]
# Fixed for ever: rows that are stored must be found again. docs/usage/shards.md shows them.
VECTORS = [
    ("192.0.2.1", 2, 1),
    ("192.0.2.2", 1, 1),
    ("198.51.100.7", 1, 15),
    ("203.0.113.255", 1, 2),
    ("2001:db8::1", 0, 14),
    ("::1", 0, 4),
]
ADDRESSES = [str(IPv4Address(number * 2_654_435_761 % 2**32)) for number in range(20_000)]


@pytest.mark.parametrize(("ip", "server", "table"), VECTORS)
def test_an_address_keeps_its_place_for_ever(ip: str, server: int, table: int) -> None:
    placement = Placement(NAMES, 16)
    assert (placement.server(ip), placement.table(ip)) == (server, table)


def test_the_page_shows_the_same_vectors() -> None:
    page = (Path(__file__).parents[1] / "docs" / "usage" / "shards.md").read_text("utf-8")
    for ip, server, table in VECTORS:
        assert f"| {ip} | {NAMES[server]} | observations_{table:02} |" in page


def test_the_order_of_the_list_does_not_matter() -> None:
    forward, backward = Placement(NAMES, 1), Placement(NAMES[::-1], 1)
    assert all(NAMES[forward.server(ip)] == NAMES[::-1][backward.server(ip)] for ip in ADDRESSES[:1000])


def test_rows_spread_evenly_over_servers_and_tables() -> None:
    placement = Placement(NAMES[:2], 16)
    found = Counter((placement.server(ip), placement.table(ip)) for ip in ADDRESSES)
    assert len(found) == 32
    assert max(found.values()) / (len(ADDRESSES) / 32) < 1.15


def test_a_new_server_takes_its_share_and_moves_nothing_else() -> None:
    two, three = Placement(NAMES[:2], 1), Placement(NAMES, 1)
    moved = [ip for ip in ADDRESSES if two.server(ip) != three.server(ip)]
    assert all(three.server(ip) == 2 for ip in moved)
    assert 0.31 < len(moved) / len(ADDRESSES) < 0.36


def test_a_million_addresses_fill_32_tables_evenly() -> None:
    placement = Placement(NAMES[:2], 16)
    found = Counter[tuple[int, int]]()
    for number in range(1_000_000):
        ip = str(IPv4Address(number * 2_654_435_761 % 2**32))
        found[placement.server(ip), placement.table(ip)] += 1
    assert len(found) == 32
    assert max(found.values()) / (1_000_000 / 32) <= 1.02


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///survey.sqlite3", "survey.sqlite3"),
        ("sqlite:////data/survey.sqlite3", "/data/survey.sqlite3"),
        ("mysql+pymysql://me:secret@DB1.example/survey?read_default_file=my.cnf", "db1.example:3306/survey"),
        ("mariadb+pymysql://other@db1.example:3307/survey", "db1.example:3307/survey"),
    ],
)
def test_a_name_holds_neither_driver_nor_credentials(url: str, name: str) -> None:
    assert server_name(make_url(url)) == name


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (["secret"], "entry 1: no database URL that can be used"),
        (["sqlite:///a.db", "mysql+nodriver://me:secret@h/d"], "entry 2: no database URL that can be used"),
        (["mysql+pymysql://me:secret@h:port/d"], "entry 1: no database URL that can be used"),
        (["postgresql://me:secret@h/d"], "postgresql is not supported"),
        (["mysql+pymysql://me:secret@h"], "the URL names no database"),
        (["sqlite://"], "the URL names no database"),
        (["sqlite:///:memory:"], "the URL names no database"),
        (["mysql+pymysql://me:secret@h/d", "mariadb+pymysql://you:secret@H/d"], "h:3306/d more than once"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_without_showing_a_password(urls: list[str], message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Shards(urls)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tables", [0, -1, 101])
def test_a_number_of_tables_out_of_range_is_refused(tables: int) -> None:
    with pytest.raises(StoreError, match="1 to 100"):
        Shards(["sqlite:///survey.sqlite3"], tables)


def test_creating_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "survey.sqlite3"
    for _ in range(2):
        shards = Shards([f"sqlite:///{path}"], 3)
        shards.create()
        shards.dispose()
    names = [row[0] for row in _query(path, "select name from sqlite_master where type = 'table' order by name")]
    observations = ["observations_00", "observations_01", "observations_02"]
    assert sorted(names) == sorted(Schema(3).metadata.tables)
    assert set(observations) <= set(names)


def test_another_number_of_tables_than_the_database_has_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'survey.sqlite3'}"
    first, second = Shards([url], 2), Shards([url], 3)
    first.create()
    first.dispose()
    with pytest.raises(StoreError, match="has 2 tables of observations, the settings say 3"):
        second.create()
    second.dispose()


def test_sqlite_lets_readers_read_while_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "survey.sqlite3"
    shards = Shards([f"sqlite:///{path}"])
    shards.create()
    shards.dispose()
    assert _query(path, "pragma journal_mode") == [("wal",)]


def test_a_folder_that_is_missing_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "survey.sqlite3"
    shards = Shards([f"sqlite:///{path}"])
    with pytest.raises(StoreError) as caught:
        shards.create()
    assert str(caught.value) == f"{path}: unable to open database file"


def test_a_file_that_is_no_database_is_one_clear_line_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes. " * 100)
    shards = Shards([f"sqlite:///{path}"])
    with pytest.raises(StoreError) as caught:
        shards.create()
    shards.dispose()
    assert str(caught.value) == f"{path}: file is not a database"
    assert path.read_text() == "These are my notes. " * 100


def _query(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
