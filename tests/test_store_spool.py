from __future__ import annotations

import logging
import os
from threading import Event
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lookups import domain, to
from scrapy.settings import Settings
from sqlalchemy import select, text
from surveys import TIME

from smtpsurvey.items import SmtpItem
from smtpsurvey.kinds import DnsItem
from smtpsurvey.store import StoreError, delivery
from smtpsurvey.store.delivery import Delivery
from smtpsurvey.store.kinds import rows_of
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.spool import Layout, Spool, claim, folder_of, replay_all
from smtpsurvey.store.writer import Batch, End, Tallies, Tally, Writer, beginning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpsurvey.store.kinds import Rows
    from smtpsurvey.store.writer import Record

NOW = Layout("db:3306/a", ["survey", "ip", "port"], ["sha256", "der"])
RECORDS: list[Record] = [
    beginning("2026-11", "2026-11-25T01:02:03.456Z", {"SMTPSURVEY_RATE": 1}),
    Batch([("2026-11", "192.0.2.1", 25), ("2026-11", "192.0.2.2", None)], [("ab", b"\x00\xff")]),
    Batch([("2026-11", "\N{PILE OF POO}\x00", -1.5)], []),
    Tallies("2026-11", ["a", None], [Tally("a", "timeout", None, 3)]),
    End("2026-11", "2026-11-25T02:02:03.456Z"),
]


def drain(spool: Spool) -> list[Record]:
    found = []
    while (first := spool.peek()) is not None:
        found.append(first[0])
        spool.drop(*first)
    return found


def opened(path: Path, layout: Layout = NOW) -> Spool:
    spool = Spool(path, layout)
    assert spool.open()
    return spool


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "a.spool"


def test_records_come_back_in_order_and_the_empty_file_goes(path: Path) -> None:
    spool = opened(path)
    for record in RECORDS:
        spool.append(record)
    assert spool.rows == 3
    spool.close()
    spool = opened(path)
    assert spool.rows == 3
    assert drain(spool) == RECORDS
    assert spool.empty
    assert path.stat().st_size == 0
    spool.append(RECORDS[1])
    spool.close()
    spool = opened(path)
    assert drain(spool) == RECORDS[1:2]
    spool.close()
    assert not path.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(cut=st.integers(0), garbage=st.binary(max_size=20))
def test_a_file_cut_anywhere_keeps_every_whole_record_before(path: Path, cut: int, garbage: bytes) -> None:
    spool, ends = opened(path), []
    for record in RECORDS:
        spool.append(record)
        ends.append(path.stat().st_size)
    spool.close()
    whole = path.read_bytes()
    cut %= len(whole)
    path.write_bytes(whole[:cut] + (garbage if cut in ends else b""))
    try:
        spool = opened(path)
    except StoreError:  # garbage may look like a whole frame that is damaged
        path.unlink()
        return
    kept = RECORDS[: sum(end <= cut for end in ends)]
    spool.append(RECORDS[0])
    assert drain(spool) == [*kept, RECORDS[0]]
    spool.close()


def test_a_last_record_whose_bytes_never_reached_the_disk_is_dropped(path: Path) -> None:
    spool = opened(path)
    spool.append(RECORDS[1])
    place = path.stat().st_size
    spool.append(RECORDS[1])
    spool.close()
    data = path.read_bytes()
    for written in (place, place + 8):
        path.write_bytes(data[:written] + bytes(len(data) - written))
        spool = opened(path)
        assert drain(spool) == [RECORDS[1]]
        spool.close()


def test_nothing_of_a_torn_record_stays_behind_a_later_one(path: Path) -> None:
    spool = opened(path)
    spool.append(RECORDS[0])
    spool.append(Batch([("2026-11", "\0" * 1000, 25)], []))
    spool.close()
    path.write_bytes(path.read_bytes()[:-1])
    spool = opened(path)
    spool.append(RECORDS[4])
    spool.close()
    assert drain(opened(path)) == [RECORDS[0], RECORDS[4]]
    assert path.stat().st_size == 0


def test_a_layout_whose_record_is_torn_leaves_nothing_behind(path: Path) -> None:
    spool = opened(path)
    spool.append(RECORDS[1])
    spool.close()
    other = Layout(NOW.shard, [*NOW.observations, "more"], NOW.certificates)
    spool = opened(path, other)
    spool.append(RECORDS[0])
    spool.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)  # the last record is torn, and the layout before it is whole
    spool = opened(path)
    assert [type(record) for record in drain(spool)] == [Batch]
    assert spool.empty
    spool.append(RECORDS[0])  # under a layout of its own again
    spool.close()
    assert [type(record) for record in drain(opened(path))] == [type(RECORDS[0])]


def test_damage_that_is_not_at_the_end_is_an_error_that_names_the_place(path: Path) -> None:
    spool = opened(path)
    spool.append(RECORDS[1])
    place = path.stat().st_size
    spool.append(RECORDS[1])
    spool.append(RECORDS[2])
    spool.close()
    data = bytearray(path.read_bytes())
    data[place + 12] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=f"a.spool: damaged at byte {place}"):
        Spool(path, NOW).open()


@pytest.mark.parametrize(
    ("first", "reason"),
    [(RECORDS[0], "no spool"), (["other", 1], "no record at byte 0"), (Layout("b", [], []), "the spool of b, not of")],
)
def test_a_file_that_is_no_spool_of_this_shard_is_refused(path: Path, first: object, reason: str) -> None:
    path.parent.mkdir()
    data = msgspec.msgpack.encode(first)
    path.write_bytes(len(data).to_bytes(4, "big") + crc32(data).to_bytes(4, "big") + data + b"rest")
    with pytest.raises(StoreError, match=reason):
        Spool(path, NOW).open()


def test_rows_of_another_layout_are_put_into_the_columns_of_now(path: Path) -> None:
    before = Layout("db:3306/a", ["ip", "gone", "survey"], ["sha256", "der"])
    spool = opened(path, before)
    spool.append(Batch([("192.0.2.1", 7, "2026-11")], [("ab", b"")]))
    spool.close()
    spool = opened(path)
    spool.append(RECORDS[2])
    spool.close()
    assert drain(opened(path)) == [Batch([("2026-11", "192.0.2.1", None)], [("ab", b"")]), RECORDS[2]]


def test_each_process_has_a_file_of_its_own(tmp_path: Path) -> None:
    schema = Shards(["sqlite:///a"]).schema
    first = claim(tmp_path, "h:1/a b", schema)
    first.append(RECORDS[0])
    reader, done = os.pipe()
    child = os.fork()
    if not child:
        second = claim(tmp_path, "h:1/a b", schema)
        os.write(done, second.path.name.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"h:1_a_b.2.spool"
    assert first.path.name == "h:1_a_b.spool"
    os.close(reader)
    os.close(done)
    first.close()


def test_the_folder_is_in_jobdir_or_where_the_crawl_works() -> None:
    assert str(folder_of(Settings({"JOBDIR": "/job"}))) == "/job/spool"
    assert str(folder_of(Settings())) == "spool"


# From here on: a database that is away, because its table is.


class Log(logging.Handler):
    """The messages of the store; :meth:`wait` for one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._news = Event()

    def emit(self, record: logging.LogRecord) -> None:
        assert record.exc_info is None
        self.lines.append(f"{record.levelname} {record.getMessage()}")
        self._news.set()

    def wait(self, words: str) -> None:
        while not any(words in line for line in self.lines):
            assert self._news.wait(20), self.lines
            self._news.clear()


@pytest.fixture
def log() -> Iterator[Log]:
    log, logger = Log(), logging.getLogger("smtpsurvey.store")
    logger.addHandler(log)
    yield log
    logger.removeHandler(log)


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Shards]:
    shards = Shards([f"sqlite:///{tmp_path}/a.sqlite3"])
    shards.create()
    yield shards
    shards.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def route(shards: Shards, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Delivery:
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(delivery, "FULL_PAUSE", 0.02)
    made = Delivery(shards, Writer(shards), 0, folder)
    made.open()
    return made


def rename(shards: Shards, old: str, new: str) -> None:
    with shards[0].begin() as connection:
        connection.execute(text(f"alter table {old} rename to {new}"))


def leave(shards: Shards) -> None:
    rename(shards, "observations_00", "gone")


def come_back(shards: Shards) -> None:
    rename(shards, "gone", "observations_00")


def item(number: int, outcome: str = "silent", duration: float | None = 0.5) -> SmtpItem:
    ip = f"192.0.2.{number}"
    return SmtpItem("2026-11", ip, 25, None, None, None, "2026-11-25T01:02:03.456Z", duration, outcome)


def stored(shards: Shards) -> dict[str, str]:
    return {item.ip: item.outcome for item in Reader(shards).items("2026-11")}


def test_a_shard_that_is_away_is_spooled_for_and_gets_all_in_order_when_it_is_back(
    shards: Shards, route: Delivery, folder: Path, log: Log
) -> None:
    route.store([item(1), item(2)])
    leave(shards)
    route.store([item(2, "closed"), item(3)])
    route.store([item(3, "reset")])
    assert len(list(folder.glob("*.spool"))) == 1
    come_back(shards)
    log.wait("is back, and has its 3 spooled rows")
    route.store([item(1, "ok")])
    assert stored(shards) == {"192.0.2.1": "ok", "192.0.2.2": "closed", "192.0.2.3": "reset"}
    assert route.finish() is None
    assert list(folder.iterdir()) == []
    assert [line.split()[0] for line in log.lines] == ["WARNING"] * 2
    assert log.lines[0].startswith(f"WARNING Store: {shards[0].name}: no such table: observations_00; rows for it go")


def test_what_stays_at_the_end_is_named_and_goes_first_at_the_next_start(
    shards: Shards, route: Delivery, folder: Path, log: Log
) -> None:
    leave(shards)
    route.store([item(1), item(2)])
    route.deliver(End("2026-11", "2026-11-25T02:02:03.456Z"))
    rows, path = route.finish()
    assert (rows, path.parent) == (2, folder)
    come_back(shards)
    again = Delivery(shards, Writer(shards), 0, folder)
    again.open()
    again.store([item(2, "ok")])
    log.wait("is back, and")
    assert again.finish() is None
    assert stored(shards) == {"192.0.2.1": "silent", "192.0.2.2": "ok"}


def test_the_end_of_a_crawl_tries_the_shard_once_more(shards: Shards, route: Delivery, folder: Path) -> None:
    leave(shards)
    route.store([item(1)])
    route.stop()
    come_back(shards)
    assert route.finish() is None
    assert stored(shards) == {"192.0.2.1": "silent"}
    assert list(folder.iterdir()) == []


def test_a_row_that_is_refused_is_set_apart_alone(shards: Shards, route: Delivery, folder: Path, log: Log) -> None:
    route.store([item(number, duration=None if number in {3, 7} else 0.5) for number in range(10)])
    assert sorted(stored(shards)) == [f"192.0.2.{number}" for number in range(10) if number not in {3, 7}]
    lines = [msgspec.json.decode(line) for line in (folder / "refused.jsonl").read_bytes().splitlines()]
    assert [line["ip"] for line in lines] == ["192.0.2.3", "192.0.2.7"]
    assert lines[0]["row"]["outcome"] == "silent"
    assert "NOT NULL constraint failed" in lines[0]["reason"]
    (line,) = log.lines
    assert line.startswith(f"ERROR Store: {shards[0].name} refuses 2 of the rows (192.0.2.3: ")
    assert route.finish() is None


def test_a_refused_row_in_the_spool_holds_nothing_back(shards: Shards, route: Delivery, folder: Path, log: Log) -> None:
    leave(shards)
    route.store([item(1), item(2, duration=None)])
    route.store([item(3)])
    come_back(shards)
    log.wait("is back, and")
    assert sorted(stored(shards)) == ["192.0.2.1", "192.0.2.3"]
    assert (folder / "refused.jsonl").read_bytes().count(b"\n") == 1
    assert route.finish() is None


def test_an_item_that_makes_no_row_is_set_apart_alone(shards: Shards, route: Delivery, folder: Path) -> None:
    broken = item(2)
    broken.name = 5
    route.store([item(1), broken, item(3)])
    assert sorted(stored(shards)) == ["192.0.2.1", "192.0.2.3"]
    (line,) = map(msgspec.json.decode, (folder / "refused.jsonl").read_bytes().splitlines())
    assert line["ip"] == "192.0.2.2"
    assert "name=5" in line["item"]
    assert route.finish() is None


def test_stopping_ends_the_wait_for_room_with_an_error(shards: Shards, route: Delivery, folder: Path, log: Log) -> None:
    leave(shards)
    folder.write_text("a file where the folder should be")
    route.stop()
    with pytest.raises(StoreError, match=r"no room for .*rows are lost"):
        route.store([item(1)])
    assert route.finish() is None
    assert any("the survey waits" in line for line in log.lines)


def test_a_slow_write_makes_the_next_ones_go_by_way_of_the_spool(shards: Shards, folder: Path, log: Log) -> None:
    route = Delivery(shards, Writer(shards), 0, folder, slow=0.0)
    route.open()
    route.store([item(1)])
    route.store([item(2)])
    assert "a write took over 0 s" in log.lines[0]
    assert len(list(folder.glob("*.spool"))) == 1
    assert route.finish() is None
    assert sorted(stored(shards)) == ["192.0.2.1", "192.0.2.2"]


def test_replay_writes_what_is_spooled_and_counts_it(shards: Shards, route: Delivery, folder: Path) -> None:
    leave(shards)
    route.store([item(1), item(2)])
    route.deliver(beginning("2026-11", "2026-11-25T01:02:03.456Z", {}))
    route.deliver(End("2026-11", "2026-11-25T02:02:03.456Z"))
    assert route.finish() is not None
    with pytest.raises(StoreError, match="no such table"):
        replay_all(shards, folder)
    come_back(shards)
    assert replay_all(shards, folder) == {shards[0].name: 2}
    assert replay_all(shards, folder) == {shards[0].name: 0}
    assert sorted(stored(shards)) == ["192.0.2.1", "192.0.2.2"]
    assert Reader(shards).surveys()[0].finished == "2026-11-25T02:02:03.456Z"
    assert list(folder.iterdir()) == []


def test_replay_refuses_a_spool_of_other_databases(shards: Shards, route: Delivery, folder: Path) -> None:
    leave(shards)
    route.store([item(number) for number in range(50)])
    assert route.finish() is not None
    come_back(shards)
    more = Shards([str(shards[0].engine.url), f"sqlite:///{folder}.other.sqlite3"])
    more.create()
    with pytest.raises(StoreError, match="made with another list of databases"):
        replay_all(more, folder)
    other = Shards([f"sqlite:///{folder}.other.sqlite3"])
    with pytest.raises(StoreError, match="SMTPSURVEY_SHARDS does not name"):
        replay_all(other, folder)
    assert replay_all(shards, folder) == {shards[0].name: 50}
    with shards[0].begin() as connection:
        assert len(connection.execute(select(shards.schema.observations[0])).all()) == 50
    more.dispose()
    other.dispose()


# From here on: rows of other kinds.


def rows(shards: Shards, *items: object) -> list[Rows]:
    """What these items have for the only server."""
    return [part for item in items for part in rows_of(item, shards.placement.server).values()]


def kept(shards: Shards, name: str) -> list[tuple[Any, ...]]:
    with shards[0].begin() as connection:
        return sorted(map(tuple, connection.execute(select(shards.schema.others[name]))))


def test_rows_of_other_kinds_are_spooled_and_replayed_in_order(
    shards: Shards, route: Delivery, folder: Path, log: Log
) -> None:
    rename(shards, "mx", "gone")
    route.store([*rows(shards, domain("a.example", to("old.example", "192.0.2.1"))), item(1)])
    route.store(rows(shards, domain("a.example", to("new.example", "192.0.2.2"), time="2026-11-26T00:00:00.000Z")))
    assert stored(shards) == {}
    assert kept(shards, "addresses") == []
    rename(shards, "gone", "mx")
    log.wait("is back, and has its 5 spooled rows")
    assert [row[2] for row in kept(shards, "mx")] == ["new.example"]
    assert [row[1] for row in kept(shards, "addresses")] == ["192.0.2.1", "192.0.2.2"]
    assert stored(shards) == {"192.0.2.1": "silent"}
    assert route.finish() is None
    assert list(folder.iterdir()) == []


def test_what_was_spooled_of_other_kinds_is_written_by_replay_however_often(
    shards: Shards, route: Delivery, folder: Path
) -> None:
    rename(shards, "mx", "gone")
    made = rows(shards, domain("a.example", to("mx.example", "192.0.2.1")), domain("b.example", outcome="nxdomain"))
    route.store(made)
    left = route.finish()
    assert left is not None
    assert left[0] == 3
    rename(shards, "gone", "mx")
    copy = left[1].read_bytes()
    assert replay_all(shards, folder) == {shards[0].name: 3}
    before = kept(shards, "mx")
    left[1].write_bytes(copy)  # as if it had been killed between the commit and the cut
    assert replay_all(shards, folder) == {shards[0].name: 3}
    assert kept(shards, "mx") == before
    assert [row[1:3] for row in before] == [("a.example", "mx.example"), ("b.example", "")]


def test_a_spool_of_other_databases_is_refused_by_any_kind(shards: Shards, route: Delivery, folder: Path) -> None:
    rename(shards, "names", "gone")
    route.store(rows(shards, *(DnsItem("now", TIME, f"d{number}.example", "A", "ok") for number in range(20))))
    assert route.finish() is not None
    rename(shards, "gone", "names")
    more = Shards([str(shards[0].engine.url), f"sqlite:///{folder.parent}/b.sqlite3"])
    more.create()
    with pytest.raises(StoreError, match="do not belong to"):
        replay_all(more, folder)
    more.dispose()


def test_rows_of_another_layout_of_other_tables_are_put_into_the_columns_of_now(path: Path) -> None:
    now = Layout("db:3306/a", [], [], {"mx": ["domain", "new", "flags"]})
    spool = Spool(path, Layout("db:3306/a", [], [], {"mx": ["flags", "domain"]}))
    spool.open()
    spool.append(Batch([], [], {"mx": [("f", "d")]}))
    spool.close()
    spool = Spool(path, now)
    spool.open()
    assert drain(spool) == [Batch([], [], {"mx": [("d", None, "f")]})]


def refuse(shards: Shards, domain: str) -> None:
    """Have the database refuse the exchanges of a domain, as MySQL's strict mode does."""
    with shards[0].begin() as connection:
        connection.exec_driver_sql(
            f"create trigger refuse before insert on mx when new.domain = '{domain}' "
            "begin select raise(abort, 'not this one'); end"
        )


def test_a_domain_that_is_refused_is_set_apart_alone_and_no_other_is_torn(
    shards: Shards, route: Delivery, folder: Path, log: Log
) -> None:
    refuse(shards, "d5.example")
    some = [to(f"mx{number}.example") for number in range(3)]
    made = rows(shards, *(domain(f"d{number}.example", *some) for number in range(12)))
    route.store([*made, item(1), *rows(shards, DnsItem("now", TIME, "a.example", "A", "ok"))])
    found = kept(shards, "mx")
    assert len(found) == 11 * 3
    assert {row[1] for row in found} == {f"d{number}.example" for number in range(12) if number != 5}
    lines = [msgspec.json.decode(line) for line in (folder / "refused.jsonl").read_bytes().splitlines()]
    assert [(line["table"], line["row"]["domain"], line["row"]["exchange"]) for line in lines] == [
        ("mx", "d5.example", f"mx{number}.example") for number in range(3)
    ]
    assert stored(shards) == {"192.0.2.1": "silent"}
    assert len(kept(shards, "names")) == 1
    assert "refuses 3 of the rows" in log.lines[0]
    assert route.finish() is None
