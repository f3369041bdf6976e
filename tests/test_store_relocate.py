"""A rebalance moves the rows of every table, whatever happens meanwhile."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from lookups import domain, put, to
from servers.mariadb import MariaDb, running
from sqlalchemy import select
from surveys import TIME, item, store, write

from smtpsurvey.classify.load import load
from smtpsurvey.kinds import DnsItem, ReceivedItem
from smtpsurvey.store import StoreError, relocate
from smtpsurvey.store.classifications import earlier, runs
from smtpsurvey.store.kinds import Rows
from smtpsurvey.store.rebalance import Rebalance
from smtpsurvey.store.relocate import tables_of
from smtpsurvey.store.shards import Shard, Shards
from smtpsurvey.store.verdicts import Reclassification
from smtpsurvey.store.verify import verify
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LATER, LATEST = "2026-11-26T00:00:00.000Z", "2026-11-27T00:00:00.000Z"


class PowerCutError(Exception):
    """Ends a rebalance where a test wants it to."""


@pytest.fixture(scope="module")
def mariadbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[MariaDb]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running(tmp_path_factory.mktemp("mariadb"))) for _ in range(2)]


@pytest.fixture
def urls(tmp_path: Path) -> list[str]:
    return [f"sqlite:///{tmp_path / name}.sqlite3" for name in ("a", "b", "c")]


def fill(urls: Sequence[str], count: int = 40) -> None:
    """Write rows of every table that moves."""
    shards = store(urls)
    write(shards, "now", [item(number) for number in range(count)])
    put(
        shards,
        (domain(f"d{n}.example", to(f"mx{n % 7}.example", f"192.0.2.{n}"), to("b.example")) for n in range(count)),
    )
    put(shards, (DnsItem("now", TIME, f"d{n}.example", kind, "ok") for n in range(count) for kind in ("A", "TXT")))
    put(shards, (ReceivedItem("now", TIME, f"192.0.2.{n}", None, None, 1, consistent=True) for n in range(count)))
    zone_sizes(shards, ["", *(f"z{n}" for n in range(count))])
    verdicts = shards.schema.verdicts
    for number in range(count):
        ip = f"192.0.2.{number}"
        with shards[shards.placement.server(ip)].begin() as connection:
            connection.execute(
                verdicts.insert(),
                [
                    {"survey": "now", "ip": ip, "port": 25, "number": n, "software": '{"product":"Exim"}'}
                    for n in (1, 2)
                ],
            )
    shards.dispose()


def zone_sizes(shards: Shards, zones: Sequence[str], domains: int = 7, time: str = TIME) -> None:
    writer = Writer(shards)
    for zone in zones:
        row = zone, "2026-11-25", domains, "file", time
        writer.write(shards.placement.server(zone), [Rows([("zone_sizes", row)])])


def everything(urls: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    shards, found = Shards(urls), {}
    for table, _ in tables_of(shards.schema):
        rows: list[tuple[Any, ...]] = []
        for shard in shards:
            with shard.begin() as connection:
                rows += map(tuple, connection.execute(select(table)))
        found[table.name] = sorted(rows, key=repr)
    shards.dispose()
    return found


def checked(urls: Sequence[str]) -> None:
    shards = Shards(urls)
    assert verify(shards).problems == 0
    shards.dispose()


def rebalance(old: Sequence[str], new: Sequence[str]) -> list[str]:
    told: list[str] = []
    moving = Rebalance(old, new, 1, told.append)
    try:
        moving.run()
    finally:
        moving.shards.dispose()
    return told


def test_rows_of_every_table_go_to_more_servers_and_back(urls: list[str], mariadbs: list[MariaDb]) -> None:
    fill(urls[:1])
    whole = everything(urls[:1])
    filled = {name for name, rows in whole.items() if rows}
    assert filled >= {"mx", "names", "addresses", "received", "zone_sizes", "verdicts"}
    more = [urls[0], *(server.url() for server in mariadbs)]
    told = rebalance(urls[:1], more)
    assert any("rows of other tables moved" in line for line in told)
    assert everything(more) == whole
    checked(more)
    for url in more:
        assert {name for name, rows in everything([url]).items() if rows} == filled
    rebalance(more, urls[1:2])
    assert everything(urls[1:2]) == whole
    checked(urls[1:2])
    assert not any(everything(more).values())


def test_rows_in_the_wrong_place_are_problems_and_a_rebalance_to_the_same_list_mends_them(urls: list[str]) -> None:
    fill(urls[:1], 6)
    shards = store(urls[:2])
    found = verify(shards)
    assert found.others == found.problems - found.orphans - found.tallies - found.surveys > 5
    assert any(line.startswith(("mx now, d", "names now, d")) for line in found.examples)
    shards.dispose()
    whole = everything(urls[:2])
    rebalance(urls[:2], urls[:2])
    assert everything(urls[:2]) == whole
    checked(urls[:2])


def test_of_two_copies_the_later_counts_and_a_domain_is_not_mixed_from_both(urls: list[str]) -> None:
    old, new = store(urls[:1]), store(urls[1:2])
    put(
        old,
        [
            domain("a.example", to("old.example"), to("both.example")),
            domain("b.example", to("new.example"), time=LATEST),
        ],
    )
    put(
        new,
        [
            domain("a.example", to("new.example"), to("both.example"), time=LATER),
            domain("b.example", to("old.example")),
        ],
    )
    put(old, [DnsItem("now", LATER, "a.example", "A", "ok"), DnsItem("now", TIME, "a.example", "TXT", "nxdomain")])
    put(new, [DnsItem("now", TIME, "a.example", "A", "nxdomain"), DnsItem("now", LATER, "a.example", "TXT", "ok")])
    zone_sizes(old, ["com", "org"], 1)
    zone_sizes(new, ["com"], 2, LATER)
    for shards in (old, new):
        write(shards, "now")
        shards.dispose()
    rebalance(urls[:2], urls[2:])
    found = everything(urls[2:])
    assert [row[1:3] for row in found["mx"]] == [
        ("a.example", "both.example"),
        ("a.example", "new.example"),
        ("b.example", "new.example"),
    ]
    assert [row[4] for row in found["names"]] == ["ok", "ok"]
    assert [row[:3] for row in found["zone_sizes"]] == [("com", "2026-11-25", 2), ("org", "2026-11-25", 1)]
    checked(urls[2:])


@pytest.mark.parametrize("cut", range(12))
def test_a_move_that_is_broken_off_anywhere_is_gone_on_with(
    urls: list[str], monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    fill(urls[:2], 12)
    whole, moments, change = everything(urls[:2]), itertools.count(), Shard.change

    def cut_off(shard: Shard) -> Any:
        if next(moments) == cut:
            raise PowerCutError
        return change(shard)

    with monkeypatch.context() as patched:
        patched.setattr(Shard, "change", cut_off)
        with pytest.raises(PowerCutError):
            rebalance(urls[:2], urls[1:])
    rebalance(urls[:2], urls[1:])
    assert everything(urls[1:]) == whole
    assert not any(everything(urls[:1]).values())
    checked(urls[1:])


def test_a_row_that_is_not_what_was_written_is_noticed_before_it_is_deleted(urls: list[str]) -> None:
    fill(urls[:1], 5)
    new = store(urls[1:2])
    with new[0].begin() as connection:
        connection.exec_driver_sql(
            "create trigger lose after insert on mx when new.domain = 'd3.example' "
            "begin delete from mx where domain = new.domain; end"
        )
    new.dispose()
    with pytest.raises(StoreError, match="mx: a row is not what was written"):
        rebalance(urls[:1], urls[1:2])
    assert sum(row[1] == "d3.example" for row in everything(urls[:1])["mx"]) == 2


def test_what_is_written_while_rows_move_is_kept_and_told(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fill(urls[:1], 5)
    old, copy = store(urls[:1]), relocate._copy

    def write_late(shard: Shard, table: Any, *rest: Any) -> None:
        copy(shard, table, *rest)
        if table.name == "mx":
            put(old, [domain("d3.example", to("late.example"), time=LATER)])

    with monkeypatch.context() as patched:
        patched.setattr(relocate, "_copy", write_late)
        with pytest.raises(StoreError, match="somebody else wrote meanwhile"):
            rebalance(urls[:1], urls[1:2])
    old.dispose()
    assert ("late.example", LATER) in {(row[2], row[12]) for row in everything(urls[:1])["mx"]}
    rebalance(urls[:1], urls[1:2])
    assert [row[2] for row in everything(urls[1:2])["mx"] if row[1] == "d3.example"] == ["late.example"]


def test_many_values_are_read_in_pages(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relocate, "_SCAN", 3)
    monkeypatch.setattr(relocate, "_BATCH", 2)
    fill(urls[:1], 20)
    whole = everything(urls[:1])
    rebalance(urls[:1], urls)
    assert everything(urls) == whole
    checked(urls)


def classified(urls: Sequence[str], times: Sequence[str]) -> list[Any]:
    """Run the built-in rules over the survey; give all runs."""
    shards, clock = Shards(urls), iter(times)
    try:
        Reclassification(shards, "now", load(["builtin"]), lambda: next(clock)).run(["builtin"], lambda _count: None)
        return [(run.number, run.finished, run.observations, run.changed) for run in runs(shards, "now")]
    finally:
        shards.dispose()


def test_runs_of_rules_and_earlier_verdicts_outlive_the_servers_they_were_on(urls: list[str]) -> None:
    shards = store(urls[:2])
    made = [item(number, "Wrong", "Wrong", None) for number in range(30)]
    write(shards, "now", made)
    shards.dispose()
    (before,) = classified(urls[:2], [TIME, LATER, LATER])
    assert before == (1, LATER, 30, 30)
    rebalance(urls[:2], urls[1:])
    rebalance(urls[1:], urls[2:])
    shards = Shards(urls[2:])
    (run,) = runs(shards, "now")
    assert (run.number, run.finished, run.observations, run.changed) == before
    assert [change.count for change in run.changes.kinds] == [30]
    for number in range(30):
        (verdict,) = earlier(shards, "now", f"192.0.2.{number}", 25)
        assert verdict.software is not None
        assert verdict.software.product == "Wrong"
    shards.dispose()
    checked(urls[2:])


def test_a_run_that_is_not_finished_sees_every_observation_after_a_rebalance(
    urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = store(urls[:2])
    write(shards, "now", [item(number, "Wrong", "Wrong", None) for number in range(30)])
    shards.dispose()
    with monkeypatch.context() as patched:
        patched.setattr("smtpsurvey.store.verdicts.RANGE", 5)
        with pytest.raises(StopIteration):  # the clock stops at the end of the first server
            classified(urls[:2], [TIME])
    shards = Shards(urls[:2])
    assert 0 < runs(shards, "now")[0].observations < 30
    shards.dispose()
    rebalance(urls[:2], urls)
    assert classified(urls, [LATER] * 9) == [(1, LATER, 30, 30)]
    shards = Shards(urls)
    assert all(len(earlier(shards, "now", f"192.0.2.{number}", 25)) == 1 for number in range(30))
    shards.dispose()
