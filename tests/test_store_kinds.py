"""Items of other kinds than ``probe``: stored, replaced and read back."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from feeds import HOSTILE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lookups import dns_items, domain, keyed, mx_items, put, received_items, to
from servers.mariadb import MariaDb, running
from sqlalchemy import select
from surveys import TIME, item, store

from smtpsurvey.commands import export
from smtpsurvey.items import Software
from smtpsurvey.kinds import DnsItem, DnsRecord, Hop, MtaStsItem, MxItem, ReceivedItem, RouteItem
from smtpsurvey.store.checks import BadItemError
from smtpsurvey.store.kind_checks import CHECKS, checked_kind
from smtpsurvey.store.kind_items import READ
from smtpsurvey.store.kinds import KINDS, NAMED, PROBE, REPLACED, rows_of
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.schema import NAME_LENGTH, PLACED, Schema
from smtpsurvey.store.verify import verify
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.store.shards import Shards

LATER = "2026-11-26T00:00:00.000Z"
ITEMS = {"dns": dns_items, "mx": mx_items, "received": received_items}
LABELS = count()


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def shards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shards]:
    if request.param == "mariadb":
        server = request.getfixturevalue("mariadb")
        shards = store([server.url(), server.url()], 2)
    else:
        folder = tmp_path_factory.mktemp("sqlite")
        shards = store([f"sqlite:///{folder / name}.sqlite3" for name in "ab"], 2)
    yield shards
    shards.dispose()


def read(shards: Shards, kind: str, survey: str) -> list[Any]:
    return [item for batch in Reader(shards).batches(survey, kind) for item in batch]


def rows(shards: Shards, name: str, survey: str) -> list[tuple[Any, ...]]:
    table, found = shards.schema.others[name], []
    for shard in shards:
        with shard.begin() as connection:
            found += map(tuple, connection.execute(select(table).where(table.c.survey == survey)))
    return sorted(found)


def key_of(item: Any) -> Any:
    return (
        next(iter(KINDS[type(item)](item)))[2][:2]
        if isinstance(item, MxItem | ReceivedItem)
        else (item.name, item.type)
    )


@pytest.mark.parametrize("kind", ITEMS)
@given(data=st.data())
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_whatever_an_item_holds_it_comes_back_as_it_was(shards: Shards, kind: str, data: st.DataObject) -> None:
    survey = f"{kind} {next(LABELS)}"
    made = data.draw(st.lists(ITEMS[kind](survey), min_size=1, max_size=3, unique_by=key_of))
    if kind == "mx":  # an exchange has the same addresses and flags whatever domain names it
        known: dict[str, Any] = {}
        for each in made:
            each.exchanges = each.exchanges and [known.setdefault(some.name, some) for some in each.exchanges]
            each.exchanges = each.exchanges and sorted(each.exchanges, key=lambda some: (some.preference, some.name))
    put(shards, made)
    assert keyed(read(shards, kind, survey)) == keyed(made)
    put(shards, made)
    assert keyed(read(shards, kind, survey)) == keyed(made)


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800", "é.example", "a" * 3000])
def test_hostile_text_is_only_text_and_never_refused(shards: Shards, text: str) -> None:
    survey = f"hostile {next(LABELS)}"
    put(shards, [domain(text, to(text, "192.0.2.1"), survey=survey, rcode=text, source=text)])
    put(shards, [DnsItem(survey, TIME, text, text[:20], "ok", text, [DnsRecord("a", "TXT", 1, "b")], source=text)])
    put(shards, [ReceivedItem(survey, TIME, None, text, None, 1, None, source=text)])
    assert [len(read(shards, kind, survey)) for kind in ITEMS] == [1, 1, 1]
    (name,) = (row[1] for row in rows(shards, "names", survey))
    assert name.isascii()
    assert len(name) <= NAME_LENGTH
    assert read(shards, "received", survey)[0].name == text.encode("utf-8", "backslashreplace").decode()


def test_a_domain_that_is_looked_up_again_leaves_no_stale_rows(shards: Shards) -> None:
    old, new = to("mx1.example", "192.0.2.1"), to("mx2.example", "192.0.2.2")
    put(shards, [domain("a.example", old, to("mx3.example")), domain("b.example", old)])
    put(shards, [domain("a.example", old, survey="then")])
    put(shards, [domain("a.example", new, time=LATER)])
    assert [row[:3] for row in rows(shards, "mx", "now")] == [
        ("now", "a.example", "mx2.example"),
        ("now", "b.example", "mx1.example"),
    ]
    assert len(rows(shards, "mx", "then")) == 1
    put(shards, [domain("a.example", outcome="nxdomain", time=LATER)])
    (row,) = (row for row in rows(shards, "mx", "now") if row[1] == "a.example")
    assert row[2:8] == ("", None, False, False, None, "nxdomain")
    assert [item.exchanges for item in read(shards, "mx", "now")].count(None) == 1


def test_the_later_of_two_look_ups_in_one_batch_counts(shards: Shards) -> None:
    server_of, writer = shards.placement.server, Writer(shards)
    late = domain("a.example", to("late.example"), survey="batch", time=LATER)
    early = domain("a.example", to("a.example"), to("early.example"), survey="batch")
    for batch in ((early, late), (late, early)):
        parts = [rows_of(each, server_of) for each in batch]
        writer.write(server_of("a.example"), [part[server_of("a.example")] for part in parts])
        assert [row[2] for row in rows(shards, "mx", "batch")] == ["late.example"]


def test_an_exchange_with_two_preferences_has_the_better_one(shards: Shards) -> None:
    put(shards, [domain("a.example", to("mx.example"), to("mx.example", preference=20), survey="twice")])
    assert [(row[2], row[3]) for row in rows(shards, "mx", "twice")] == [("mx.example", 10)]


def test_rows_are_on_the_server_of_their_domain_name_or_address(shards: Shards) -> None:
    made = [domain(f"d{number}.example", to("mx.example", f"192.0.2.{number}"), survey="far") for number in range(50)]
    put(shards, made)
    put(shards, [DnsItem("far", TIME, f"d{number}.example", "A", "ok") for number in range(50)])
    put(shards, [ReceivedItem("far", TIME, f"192.0.2.{number}", None, None, 1, None) for number in range(50)])
    assert verify(shards).others == 0
    for name in ("mx", "names", "addresses", "received"):
        place, where = list(shards.schema.others[name].c.keys()).index(PLACED[name]), []
        table = shards.schema.others[name]
        for server, shard in enumerate(shards):
            with shard.begin() as connection:
                found = list(map(tuple, connection.execute(select(table).where(table.c.survey == "far"))))
            where.append(len(found))
            assert {shards.placement.server(row[place]) for row in found} == {server}
        assert sum(where) == 50
        assert min(where) > 5


def test_a_batch_may_hold_items_of_every_kind(shards: Shards) -> None:
    made = [domain("d.example", to("mx.example", "192.0.2.7"), survey="all"), item(7, survey="all")]
    writer, server_of = Writer(shards), shards.placement.server
    server, other = server_of("192.0.2.7"), rows_of(made[0], server_of)
    writer.write(server, [made[1], *([other[server]] if server in other else [])])
    assert [each.ip for each in Reader(shards).items("all")] == ["192.0.2.7"]
    assert len(rows(shards, "addresses", "all")) == 1


ONE_OF_EACH = (
    DnsItem("one", TIME, "a.example", "A", "ok", "NOERROR", [DnsRecord("a.example", "A", 60, "192.0.2.1")], ad=False),
    MtaStsItem(
        "one", TIME, "a.example", "ok", None, "1", "enforce", 60, ["*.a.example"], {"mx.a.example": True}, covered=True
    ),
    domain("a.example", to("mx.a.example", "192.0.2.1"), survey="one"),
    ReceivedItem("one", TIME, "192.0.2.1", "mx.a.example", Software("Exim", "Exim", "4.97"), 2, None, 3),
    RouteItem("one", TIME, "192.0.2.1", "192.0.2.0/24", [Hop(1, "192.0.2.254", 0.5, 64500)], "completed", "tcp"),
)


def test_every_kind_with_a_table_is_read_back_checked_and_named(shards: Shards) -> None:
    assert (
        {type(each) for each in ONE_OF_EACH} == set(KINDS) == set(CHECKS) == {reading.item for reading in READ.values()}
    )
    assert READ.keys() == NAMED.keys()
    assert set(export.KINDS) == {*READ, PROBE}
    put(shards, ONE_OF_EACH)
    for made in ONE_OF_EACH:
        reading = READ[made.kind]
        assert keyed(read(shards, made.kind, "one")) == keyed([made])
        assert [len(line) for line in reading.lines(checked_kind(made))] == [len(reading.columns)]
        with pytest.raises(BadItemError, match="time"):
            checked_kind(attrs.evolve(made, time="now"))


def test_each_table_of_other_kinds_says_by_what_it_is_placed_and_replaced() -> None:
    schema = Schema(1)
    assert schema.others.keys() == PLACED.keys()
    assert REPLACED.keys() < PLACED.keys()
    for name, column in PLACED.items():
        key = [each.name for each in schema.others[name].primary_key]
        assert column == key[0] or key[:2] == ["survey", column]
    for name, width in REPLACED.items():
        assert [each.name for each in schema.others[name].primary_key][width - 1] == PLACED[name]
