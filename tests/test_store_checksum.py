from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from servers.mariadb import running
from sqlalchemy import insert, select, update
from surveys import store

from smtpsurvey.store.checksum import Totals, digest, row_digest, totals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.store.shards import Shards

HOSTILE = "'; \x00,-\N{PILE OF POO}e\N{COMBINING ACUTE ACCENT} "
ROW = {
    "survey": HOSTILE.strip(),
    "ip": "2001:db8::1",
    "port": 25,
    "time": "2026-11-25T01:02:03.456Z",
    "duration": 12.345678901234567,
    "outcome": "ok",
    "greeting_code": 220,
    "greeting": b"220 \xff\x00\r\n",
    "ehlo": b"x" * 70_000,
    "name": HOSTILE,
    "tag": "",
    "tls": True,
    "trusted": False,
    "asn": 2**32 - 1,
}
DURATIONS = [0.0, 1e-12, 1e-5, 0.1, 0.3, 90.0, 123456.789, 1e15, 1e300, -1.5, -1e300]


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def shards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shards]:
    folder = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        shards = store([f"sqlite:///{folder / 'survey.sqlite3'}"])
        yield shards
        shards.dispose()
    else:
        with running(folder) as server:
            shards = store([server.url()])
            yield shards
            shards.dispose()


@pytest.fixture(autouse=True)
def empty(shards: Shards) -> None:
    with shards[0].begin() as connection:
        connection.execute(shards.schema.observations[0].delete())


def put(shards: Shards, *rows: dict[str, Any]) -> None:
    with shards[0].begin() as connection:
        for row in rows:
            connection.execute(insert(shards.schema.observations[0]), row)


def summed(shards: Shards) -> Totals:
    with shards[0].begin() as connection:
        return totals(connection, shards.schema.observations[0].c)


def digests(shards: Shards) -> list[int]:
    table = shards.schema.observations[0]
    with shards[0].begin() as connection:
        return list(connection.scalars(select(row_digest(connection, table.c)).order_by(table.c.port)))


def test_every_database_gives_the_digest_that_python_gives(shards: Shards) -> None:
    rows = [ROW | {"port": port, "duration": duration} for port, duration in enumerate(DURATIONS)]
    put(shards, *rows)
    table = shards.schema.observations[0]
    wanted = []
    for row in rows:
        values = (row.get(name) for name in table.c.keys())  # noqa: SIM118 - the collection iterates over columns
        wanted.append(digest(*(int(value) if isinstance(value, bool) else value for value in values)))
    assert digests(shards) == wanted
    assert summed(shards) == Totals(len(rows), sum(wanted) % 2**64)


def test_each_column_counts(shards: Shards) -> None:
    table = shards.schema.observations[0]
    put(shards, ROW)
    seen = {summed(shards).checksum}
    for column in table.c:
        if column.name == "duration":
            value: Any = 2.5
        elif column.name in ROW and not isinstance(ROW[column.name], str | bytes):
            value = None if column.nullable else 26
        else:
            value = "1" if column.type.python_type is str else 1 if column.type.python_type is not bytes else b"1"
        with shards[0].begin() as connection:
            connection.execute(update(table).values({column.name: value}))
        seen.add(summed(shards).checksum)
    assert len(seen) == len(table.c) + 1


def test_where_a_text_stands_and_whether_it_is_null_counts(shards: Shards) -> None:
    found = set()
    for name, tag in (("a", "b"), ("b", "a"), ("ab", ""), ("", "ab"), (None, "ab"), ("ab", None), ("-", "ab")):
        empty_row = ROW | {"name": name, "tag": tag}
        put(shards, empty_row)
        found.add(summed(shards).checksum)
        with shards[0].begin() as connection:
            connection.execute(shards.schema.observations[0].delete())
    assert len(found) == 7


def test_order_does_not_count_but_every_copy_does(shards: Shards) -> None:
    rows = [ROW | {"port": port} for port in range(5)]
    put(shards, *rows)
    first = summed(shards)
    with shards[0].begin() as connection:
        connection.execute(shards.schema.observations[0].delete())
    put(shards, *rows[::-1])
    assert summed(shards) == first
    assert first.rows == 5
    assert Totals(1, 5) + Totals(2, 2**64 - 1) == Totals(3, 4)
    assert Totals(3, 4) - Totals(2, 5) == Totals(1, 2**64 - 1)


def test_an_empty_table_has_the_checksum_0(shards: Shards) -> None:
    assert summed(shards) == Totals(0, 0)
