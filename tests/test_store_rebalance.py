"""Rows move to another list of servers, whatever happens meanwhile: nothing is lost, nothing is there twice."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
from servers.mariadb import MariaDb, running
from sqlalchemy import func, select
from surveys import TIME, item, store, write

from smtpsurvey.items import EhloItem, ReplyItem, SmtpItem, Software, TlsItem
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.store import StoreError, move
from smtpsurvey.store import rebalance as rebalance_module
from smtpsurvey.store import verify as verify_module
from smtpsurvey.store.checksum import Totals, totals
from smtpsurvey.store.migrations import REBALANCE, recorded
from smtpsurvey.store.move import Mover
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.rebalance import Rebalance
from smtpsurvey.store.shards import Shard, Shards
from smtpsurvey.store.status import look, skew
from smtpsurvey.store.upsert import Upsert
from smtpsurvey.store.verify import verify
from smtpsurvey.store.writer import Tally, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Table

TABLES = 4
LATER = "2026-11-26T00:00:00.000Z"


class PowerCutError(Exception):
    """Ends a rebalance where a test wants it to."""


@pytest.fixture(scope="module")
def mariadbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[MariaDb]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running(tmp_path_factory.mktemp("mariadb"))) for _ in range(2)]


@pytest.fixture
def urls(tmp_path: Path) -> list[str]:
    return [f"sqlite:///{tmp_path / name}.sqlite3" for name in ("a", "b", "c")]


def ip_of(number: int) -> str:
    return str(IPv4Address(number * 2_654_435_761 % 2**32))


def observed(number: int, certificates: int) -> SmtpItem:
    """An observation with EHLO, STARTTLS and software; every third has a certificate of its own among so many."""
    made = SmtpItem("2026-11", ip_of(number), 25, f"mx{number}.example.org", None, "list", TIME, 0.001 * number, "ok")
    made.greeting = ReplyItem(220, f"mx{number}.example.org ESMTP Postfix")
    made.ehlo = EhloItem(250, f"mx{number}.example.org", {"SIZE": "10240000", "STARTTLS": "", "8BITMIME": ""})
    made.starttls, made.software, made.asn = "ok", Software("Postfix", "Postfix", None, "postfix", "greeting"), number
    if number % 3 == 0:
        digests = [hashlib.sha256(f"{name} {number % certificates}".encode()).hexdigest() for name in ("mx", "ca")]
        leaf = Certificate(f"CN=mx{number}", "CN=ca", ["mx"], TIME, TIME, "rsa-2048", digests[0])
        made.tls = TlsItem("TLSv1.3", "TLS_AES_256_GCM_SHA384", digests, leaf, trusted=True)
    return made


def fill(urls: Sequence[str], tables: int, numbers: Iterable[int], certificates: int = 300) -> None:
    """Write a finished survey of these addresses, with tallies."""
    shards = store(urls, tables)
    writer = Writer(shards)
    writer.begin_survey("2026-11", TIME, {})
    each = iter(numbers)
    while some := [observed(number, certificates) for number in itertools.islice(each, 4000)]:
        for server in range(len(shards)):
            writer.write(server, [made for made in some if shards.placement.server(made.ip) == server])
    writer.write_tallies("2026-11", [Tally("list", "timeout", None, 70), Tally("list", "excluded", "opt-out", 7)])
    writer.end_survey("2026-11", LATER)
    shards.dispose()


def rows(urls: Sequence[str], tables: int = TABLES) -> list[tuple[Any, ...]]:
    """Every row of every table of observations, in order."""
    shards = Shards(urls, tables)
    found: list[tuple[Any, ...]] = []
    for shard in shards:
        with shard.begin() as connection:
            for table in shards.schema.observations:
                found += map(tuple, connection.execute(select(table)))
    shards.dispose()
    return sorted(found, key=lambda row: row[:3])


def summed(urls: Sequence[str], tables: int = TABLES) -> list[Totals]:
    """Rows and checksum of each server."""
    shards = Shards(urls, tables)
    found = []
    for shard in shards:
        with shard.begin() as connection:
            found.append(sum((totals(connection, table.c) for table in shards.schema.observations), Totals()))
    shards.dispose()
    return found


def certificates(urls: Sequence[str], tables: int = TABLES) -> list[int]:
    """How many certificates each server has."""
    shards = Shards(urls, tables)
    found = []
    for shard in shards:
        with shard.begin() as connection:
            found.append(connection.scalar(select(func.count()).select_from(shards.schema.certificates)) or 0)
    shards.dispose()
    return found


def problems(urls: Sequence[str], tables: int = TABLES) -> int:
    shards = Shards(urls, tables)
    try:
        return verify(shards).problems
    finally:
        shards.dispose()


def rebalance(old: Sequence[str], new: Sequence[str], *, tables: int = TABLES, force: bool = False) -> list[str]:
    """Rebalance in this process; gives what was told."""
    told: list[str] = []
    moving = Rebalance(old, new, tables, told.append)
    try:
        moving.run(force=force)
    finally:
        moving.shards.dispose()
    return told


def command(old: Sequence[str], new: Sequence[str], tables: int) -> list[str]:
    settings = ("-s", f"SMTPSURVEY_SHARDS={','.join(old)}", "-s", f"SMTPSURVEY_TABLES_PER_SHARD={tables}")
    return [sys.executable, "-m", "scrapy", "shards", "rebalance", "--to", ",".join(new), *settings]


def kill_after(lines: int, run: Sequence[str]) -> None:
    """Run it, and kill it with SIGKILL when it has told of moved rows so often."""
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen += "rows moved in this run" in line
            if seen == lines:
                process.kill()
                break
        process.stdout.read()
    assert seen == lines
    assert process.returncode == -9


def killed_twice(old: Sequence[str], new: Sequence[str], count: int, tables: int) -> str:
    """Rebalance from two servers with so many rows to three, killed twice; gives the last run's output."""
    before = sum(summed(old, tables), Totals())
    assert before.rows == count
    run = command(old, new, tables)
    kill_after(3, run)
    kill_after(tables, run)
    shards = Shards(old, tables)
    with pytest.raises(StoreError, match="has to be finished first"):
        shards.create()
    shards.dispose()
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    after = summed(new, tables)
    assert sum(after, Totals()) == before
    assert 0.32 < after[2].rows / count < 0.35
    assert f"{after[2].rows:,} of {count:,} rows moved" in done.stdout
    assert done.stdout.startswith("going on where it was broken off\n")
    assert problems(new, tables) == 0
    shards = Shards(new, tables)
    assert sum(tally.count for tally in Reader(shards).tallies("2026-11")) == 77
    assert [survey.observations for survey in Reader(shards).surveys()] == [count]
    shards.create()  # the mark is gone
    shards.dispose()
    return done.stdout


def test_a_rebalance_killed_twice_ends_with_every_row_once(mariadbs: list[MariaDb]) -> None:
    old = [server.url() for server in mariadbs]
    fill(old, 8, range(20_000))
    whole = rows(old, 8)
    new = [*old, mariadbs[0].url()]
    killed_twice(old, new, 20_000, 8)
    assert rows(new, 8) == whole


@pytest.mark.soak
def test_a_million_rows_in_32_tables_killed_twice(mariadbs: list[MariaDb], capsys: pytest.CaptureFixture[str]) -> None:
    old = [server.url() for server in mariadbs]
    fill(old, 16, range(1_000_000), certificates=30_000)
    shards = Shards(old, 16)
    found = skew([count for shard in look(shards) for count in shard.tables])
    shards.dispose()
    assert found is not None
    assert found <= 1.02
    told = killed_twice(old, [*old, mariadbs[0].url()], 1_000_000, 16)
    with capsys.disabled():
        sys.stdout.write(f"\nskew over 32 tables {found:.4f}\n{told}")


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.soak)])
def test_after_whichever_commit_it_is_killed_the_next_run_finishes(
    urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    fill(urls[:2], 1, range(60), certificates=5)
    whole = rows(urls[:2], 1)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    begin, left = Shard.begin, 0

    @contextmanager
    def counted(shard: Shard) -> Iterator[Connection]:
        nonlocal left
        with begin(shard) as connection:
            yield connection
        left -= 1
        if not left:
            raise PowerCutError

    for commits in itertools.count(1, stride):
        for path in tmp_path.iterdir():
            path.unlink()
        for path, data in kept.items():
            path.write_bytes(data)
        with monkeypatch.context() as patched:
            patched.setattr(Shard, "begin", counted)
            left = commits
            try:
                rebalance(urls[:2], urls[1:], tables=1)
            except PowerCutError:
                killed = True
            else:
                killed = False
        rebalance(urls[:2], urls[1:], tables=1)
        assert rows(urls[1:], 1) == whole
        assert rows(urls[:1], 1) == []
        assert problems(urls[1:], 1) == 0
        assert certificates(urls[:1], 1) == [0]
        if not killed:
            break
    assert commits > 40


def test_servers_that_leave_are_emptied_and_new_ones_know_the_surveys(urls: list[str]) -> None:
    fill(urls[:2], TABLES, range(300))
    whole = rows(urls[:2])
    told = rebalance(urls[:2], urls[2:])
    assert rows(urls[2:]) == whole
    assert problems(urls[2:]) == 0
    assert told[0] == "counting"
    assert told[-1].endswith(": 300 rows moved in this run, 300 in all runs")
    shards = Shards(urls, TABLES)
    for shard in shards:
        with shard.begin() as connection:
            counts = {
                table.name: connection.scalar(select(func.count()).select_from(table))
                for table in shards.schema.metadata.sorted_tables
                if table.name != "store"
            }
            assert recorded(connection, shards.schema, REBALANCE) is None
        assert any(counts.values()) == (shard is shards[2])
    shards.dispose()


def test_sqlite_moves_to_mariadb_and_back_bit_for_bit(urls: list[str], mariadbs: list[MariaDb]) -> None:
    fill(urls[:1], TABLES, range(500))
    whole, known = rows(urls[:1]), certificates(urls[:1])
    server = [mariadbs[0].url(), mariadbs[1].url()]
    rebalance(urls[:1], server)
    assert rows(server) == whole
    assert problems(server) == 0
    rebalance(server, urls[1:2])
    assert rows(urls[1:2]) == whole
    assert certificates(urls[1:2]) == known


def test_every_certificate_that_is_referred_to_comes_along_whole(
    urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "_KNOWN", 3)
    fill(urls[:1], TABLES, range(300), certificates=60)
    facts = complete_certificates(urls[:1])
    rebalance(urls[:1], urls[1:2])
    assert complete_certificates(urls[1:2]) == facts
    assert len(facts) == 20


def test_of_two_copies_the_later_stays_wherever_it_is(urls: list[str]) -> None:
    shards = store(urls[:2])
    write(shards, "now", [item(1), item(2)])
    right = shards.placement.server
    writer = Writer(shards)
    old, new = item(1, survey="now", outcome="closed"), item(2, survey="now", outcome="closed")
    old.time, new.time = "2026-11-01T00:00:00.000Z", LATER
    for copy in (old, new):
        put(writer, 1 - right(copy.ip), copy)
    shards.dispose()
    assert problems(urls[:2], 1) == 2
    rebalance(urls[:2], urls[:2], tables=1)
    assert problems(urls[:2], 1) == 0
    found = {row[1]: (row[7 - 1], row[8]) for row in rows(urls[:2], 1)}
    assert found == {"192.0.2.1": (TIME, "ok"), "192.0.2.2": (LATER, "closed")}


def test_orphans_are_brought_home_by_a_rebalance_to_the_same_list(urls: list[str]) -> None:
    fill(urls[:1], TABLES, range(200))
    whole = rows(urls[:1])
    store(urls[1:2], TABLES).dispose()
    assert problems(urls[:2]) > 50  # as if the list had only grown
    rebalance(urls[:2], urls[:2])
    assert problems(urls[:2]) == 0
    assert rows(urls[:2]) == whole


def test_all_ports_of_an_address_move_together(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "_SCAN", 2)
    monkeypatch.setattr(verify_module, "BATCH", 1)
    shards = store(urls[:1])
    items = [item(number) for number in (1, 2, 3) for _ in range(5)]
    for port, made in enumerate(items):
        made.port = 25 + port
    write(shards, "now", items)
    shards.dispose()
    whole = rows(urls[:1], 1)
    rebalance(urls[:1], urls[1:2], tables=1)
    assert rows(urls[1:2], 1) == whole
    assert len(whole) == 15


def test_another_list_is_refused_until_the_first_is_done(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fill(urls[:2], TABLES, range(100))
    with monkeypatch.context() as patched:
        patched.setattr(Mover, "move", cut)
        with pytest.raises(PowerCutError):
            rebalance(urls[:2], urls)
    for new in (urls[:1], urls[1:]):
        with pytest.raises(StoreError, match=r"another rebalance was begun, to .*finish that first"):
            rebalance(urls[:2], new)
    rebalance(urls[:2], urls[::-1])  # the order of a list means nothing
    assert problems(urls) == 0


def test_unfinished_surveys_are_not_moved_unless_forced(urls: list[str]) -> None:
    shards = store(urls[:1])
    write(shards, "now", [item(1)], finished=False)
    shards.dispose()
    with pytest.raises(StoreError, match="survey now is not finished; let it end, or say --force"):
        rebalance(urls[:1], urls[1:2], tables=1)
    assert len(rows(urls[:1], 1)) == 1
    rebalance(urls[:1], urls[1:2], tables=1, force=True)
    assert len(rows(urls[1:2], 1)) == 1


def test_a_copy_that_is_not_what_was_written_is_noticed_before_anything_is_deleted(
    urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(urls[:1], 1, range(20))
    whole = rows(urls[:1], 1)

    class Lossy(Upsert):
        """Writes all rows but the first, and the last one wrong."""

        def execute(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
            if len(rows[0]) > 10:
                last = list(rows[-1])
                last[11] = b"220 somebody else\r\n"
                rows = [*rows[1:-1], last]
            super().execute(connection, rows)

    monkeypatch.setattr(move, "Upsert", Lossy)
    with pytest.raises(StoreError, match=r"observations_00: 2026-11, [\d.]+ is not what was written"):
        rebalance(urls[:1], urls[1:2], tables=1)
    assert rows(urls[:1], 1) == whole


def test_a_row_replaced_between_copy_and_deletion_is_kept_and_told(
    urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = store(urls[:1])
    write(shards, "now", [item(1), item(2)])
    later = item(1, survey="now", outcome="closed")
    later.time = LATER

    class Interfered(Mover):
        """A crawl with the old list writes in between."""

        def _copy_certificates(self, *args: Any) -> None:
            super()._copy_certificates(*args)
            put(Writer(shards), 0, later)

    monkeypatch.setattr(rebalance_module, "Mover", Interfered)
    with pytest.raises(StoreError, match="somebody else wrote meanwhile; run `scrapy shards verify`"):
        rebalance(urls[:1], urls[1:2], tables=1)
    shards.dispose()
    assert [(row[1], row[6]) for row in rows(urls[:1], 1)] == [("192.0.2.1", LATER)]
    monkeypatch.undo()
    rebalance(urls[:1], urls[1:2], tables=1)
    assert {row[1]: row[6] for row in rows(urls[1:2], 1)} == {"192.0.2.1": LATER, "192.0.2.2": TIME}
    assert rows(urls[:1], 1) == []


def test_what_is_written_to_a_server_that_leaves_after_its_rows_have_gone_is_kept_and_told(
    urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(urls[:1], 1, range(20))
    shards, count = store(urls[:1]), Rebalance._totals

    def write_late(self: Rebalance, tables: Iterable[Table]) -> Totals:
        Writer(shards).write_tallies("late", [Tally("list", "timeout", None, 3)])
        return count(self, tables)

    with monkeypatch.context() as patched:
        patched.setattr(Rebalance, "_totals", write_late)
        with pytest.raises(StoreError, match="somebody else wrote to tallies meanwhile; run it again"):
            rebalance(urls[:1], urls[1:2], tables=1)
    shards.dispose()
    assert certificates(urls[:1], 1) != [0]
    rebalance(urls[:1], urls[1:2], tables=1)
    assert certificates(urls[:1], 1) == [0]
    moved = Shards(urls[1:2])
    assert Reader(moved).tallies("late") == [Tally("list", "timeout", None, 3)]
    moved.dispose()


def test_tallies_that_are_not_what_was_written_are_noticed_before_any_is_deleted(urls: list[str]) -> None:
    fill(urls[:1], 1, range(5))
    new = store(urls[1:2])
    with new[0].begin() as connection:
        connection.exec_driver_sql(
            "create trigger lose after insert on tallies when new.outcome = 'timeout' "
            "begin delete from tallies where id = new.id; end"
        )
    new.dispose()
    with pytest.raises(StoreError, match="the tallies of 2026-11 are not what was written"):
        rebalance(urls[:1], urls[1:2], tables=1)
    shards = Shards(urls[:1])
    assert len(Reader(shards).tallies("2026-11")) == 2
    shards.dispose()


def test_a_server_that_is_down_moves_nothing(urls: list[str], tmp_path: Path) -> None:
    fill(urls[:1], 1, range(10))
    whole = rows(urls[:1], 1)
    with pytest.raises(StoreError, match="unable to open database file"):
        rebalance(urls[:1], [f"sqlite:///{tmp_path}/none/d.sqlite3"], tables=1)
    assert rows(urls[:1], 1) == whole


def test_a_new_list_that_cannot_be_used_is_told_as_such(urls: list[str]) -> None:
    with pytest.raises(StoreError, match="--to, entry 2: no database URL that can be used"):
        Rebalance(urls[:1], [urls[1], "nonsense"], 1, str)


def cut(*_args: object) -> int:
    raise PowerCutError


def put(writer: Writer, server: int, made: SmtpItem) -> None:
    """Write a row to a server, whether it belongs there or not."""
    writer.write(server, [made])


def complete_certificates(urls: Sequence[str]) -> set[tuple[Any, ...]]:
    shards = Shards(urls, TABLES)
    with shards[0].begin() as connection:
        found = set(map(tuple, connection.execute(select(shards.schema.certificates))))
    shards.dispose()
    return found
