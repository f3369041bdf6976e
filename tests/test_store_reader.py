"""Surveys read back from the store, on SQLite and on a real MariaDB."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs
import pytest
from feeds import full
from servers.mariadb import MariaDb, running
from sqlalchemy import event

from smtpsurvey.items import Observation, SmtpItem, Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.smtp.tls import TlsFacts
from smtpsurvey.store import reader
from smtpsurvey.store.reader import Reader, Survey
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer, beginning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIME = "2026-11-25T01:02:03.456Z"


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    if request.param == "mariadb":
        server: MariaDb = request.getfixturevalue("mariadb")
        return server.url
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'survey.sqlite3'}"


@pytest.fixture
def shards(new_url: Callable[[], str]) -> Iterator[Shards]:
    """Open two databases of two tables each."""
    shards = Shards([new_url(), new_url()], 2)
    shards.create()
    yield shards
    shards.dispose()


def item(ip: str, port: int = 25, survey: str = "now") -> SmtpItem:
    return SmtpItem(survey, ip, port, None, None, None, TIME, 0.1, "ok")


def write(shards: Shards, items: list[SmtpItem]) -> None:
    writer = Writer(shards)
    for server in range(len(shards)):
        writer.write(server, [each for each in items if shards.placement.server(each.ip) == server])


def test_every_item_comes_once_whatever_the_pages(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PAGE", 3)
    addresses = [f"192.0.2.{number}" for number in range(20)] + ["2001:db8::1", "10.0.0.1"]
    made = [item(ip, port) for ip in addresses for port in (25, 465, 587, 2525, 24)]
    write(shards, made + [item(ip, survey=label) for ip in addresses for label in ("no", "nox", "Now", "then")])
    pages = [rows for _, rows in Reader(shards).pages("now")]
    assert {len(rows) for rows in pages} <= {1, 2, 3}
    found = [(row.ip, row.port) for rows in pages for row in rows]
    assert len(found) == len(set(found)) == len(made)
    assert set(found) == {(each.ip, each.port) for each in made}
    assert [(each.ip, each.port) for each in Reader(shards).items("now")] == found


def test_a_table_gives_its_rows_in_the_order_of_the_keys(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PAGE", 4)
    made = [item(f"192.0.2.{number}", port) for number in range(12) for port in (25, 2525)]
    write(shards, made[::-1])
    place = shards.placement
    found = [(row.ip, row.port) for _, rows in Reader(shards).pages("now") for row in rows]
    assert found == sorted(found, key=lambda key: (place.server(key[0]), place.table(key[0]), *key))


def test_no_page_reads_what_came_before(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PAGE", 2)
    write(shards, [item("192.0.2.1", port) for port in range(1, 8)])
    server = shards[shards.placement.server("192.0.2.1")]
    statements: list[tuple[str, object]] = []
    event.listen(server.engine, "before_cursor_execute", lambda *args: statements.append((args[2], args[3])))
    list(Reader(shards).items("now"))
    queries = [query for query in statements if "LIMIT" in query[0]]
    assert len(queries) >= 4
    with server.begin() as connection:
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        plan = str(list(connection.exec_driver_sql(explain + queries[2][0], queries[2][1])))  # type: ignore[arg-type]
    assert "survey=? AND ip>?" in plan or "'range'" in plan
    assert "TEMP B-TREE" not in plan
    assert "filesort" not in plan


def test_an_item_comes_back_with_the_certificate_it_refers_to(shards: Shards) -> None:
    write(shards, [full()])
    (found,) = Reader(shards).items("2026-11")
    assert attrs.asdict(found) == attrs.asdict(full())


def test_an_unknown_survey_has_no_rows(shards: Shards) -> None:
    write(shards, [item("192.0.2.1")])
    assert list(Reader(shards).pages("other")) == []


def test_find_tells_what_each_server_knows(shards: Shards) -> None:
    writer = Writer(shards)
    writer.apply(1, beginning("now", TIME, {"a": 1}))
    assert Reader(shards).find("now") == [None, Survey("now", TIME, None, {"a": 1}, 0)]
    assert Reader(shards).find("NOW") == [None, None]


def test_ders_are_given_by_their_hash_where_they_are_known(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PAGE", 2)
    ders = {hashlib.sha256(der).hexdigest(): der for der in (b"a\x00", b"b'%s", b"c\xff")}
    leaf = Certificate(None, None, None, None, None, None, next(iter(ders)))
    facts = TlsFacts(chain=tuple(ders.values()), hashes=tuple(ders), certificate=leaf)
    target, told = Target("192.0.2.1"), full()  # of the second only hashes are known
    write(shards, [SmtpItem.from_observation(Observation(target, 1e9, 0.1, Outcome.OK, tls=facts), "now"), told])
    shard = shards[shards.placement.server("192.0.2.1")]
    assert told.tls is not None
    assert Reader(shards).ders(shard, [*ders, *(told.tls.chain or ()), "0" * 64]) == ders
    assert Reader(shards).ders(shard, []) == {}
