"""What domains, exchanges, addresses and observations have to do with each other, over several servers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import duckdb
import pytest
from lookups import domain, put, to
from servers.mariadb import MariaDb, running
from surveys import TIME, item, store, tls, write

from smtpsurvey.items import ReplyItem
from smtpsurvey.kinds import DnsItem, DnsRecord, Exchange
from smtpsurvey.store import StoreError
from smtpsurvey.store.kinds import Rows
from smtpsurvey.store.relations import Looked, Server, Yield, ZoneSize, looked, relations, zone_sizes
from smtpsurvey.store.table_reader import counts
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpsurvey.store.shards import Shards

BIG, SMALL = "mx.big.example", "mx.small.example"


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shards]:
    if request.param == "mariadb":
        server = request.getfixturevalue("mariadb")
        shards = store([server.url(), server.url()], 2)
    else:
        shards = store([f"sqlite:///{tmp_path / name}.sqlite3" for name in "abc"], 2)
    yield shards
    shards.dispose()


def fill(shards: Shards) -> None:
    """100 domains at the big provider, 10 of them also at the small one, which has an address of the big one's too."""
    big, small = to(BIG, "192.0.2.1"), to(SMALL, "192.0.2.1", "192.0.2.2", preference=20)
    put(shards, (domain(f"d{number}.example", big, *([small] if number < 10 else [])) for number in range(100)))
    put(shards, [domain("alone.example", to("mx.alone.example", "192.0.2.3"))])
    put(shards, [domain("other.example", to(BIG, "192.0.2.9"), survey="then")])


def test_domains_are_counted_by_exchange_and_by_address(shards: Shards, tmp_path: Path) -> None:
    fill(shards)
    with relations(shards, "now", tmp_path) as related:
        assert list(related.exchanges()) == [(BIG, 100), (SMALL, 10), ("mx.alone.example", 1)]
        assert related.pairs("mail") == 100 + 10 + 1
        assert related.largest("mail", "address", 2) == [("192.0.2.1", 100), ("192.0.2.2", 10)]
        assert related.sizes("mail", "address") == {1: 1, 10: 1, 100: 1}
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_domain_counts_once_in_an_as_whatever_it_has_there(shards: Shards, tmp_path: Path) -> None:
    fill(shards)
    write(shards, "now", [item(1, asn=64500), item(2, asn=64500), item(3)])
    with relations(shards, "now", tmp_path) as related:
        assert related.sizes("mail", "asn") == {100: 1}
        assert related.largest("mail", "asn", 5) == [(64500, 100)]


def test_addresses_of_names_are_where_the_web_is(shards: Shards, tmp_path: Path) -> None:
    def named(name: str, kind: str, *records: tuple[str, str], outcome: str = "ok") -> DnsItem:
        return DnsItem("now", TIME, name, kind, outcome, records=[DnsRecord(name, t, 60, v) for t, v in records])

    put(shards, [named(f"d{number}.example", "A", ("A", "192.0.2.1")) for number in range(3)])
    put(shards, [named("d0.example", "AAAA", ("CNAME", "d1.example."), ("AAAA", "2001:db8::1"))])
    put(shards, [named("d0.example", "TXT", ("TXT", "192.0.2.77")), named("no.example", "A", outcome="nxdomain")])
    with relations(shards, "now", tmp_path) as related:
        assert related.sizes("web", "address") == {1: 1, 3: 1}
        assert related.pairs("web") == 4


def test_the_servers_of_a_domain_come_with_what_was_observed_there(shards: Shards, tmp_path: Path) -> None:
    fill(shards)
    seen, silent = item(1, asn=64500, tls=tls("TLSv1.3")), item(3, outcome="silent")
    seen.greeting = ReplyItem(220, "mx.big.example ESMTP")
    other = item(1, asn=64500)
    other.port = 587
    write(shards, "now", [seen, silent, other])
    with relations(shards, "now", tmp_path) as related:
        found = dict(related.servers())
    assert len(found) == 101
    assert found["d3.example"] == [
        Server(BIG, "192.0.2.1", 64500, b"220 mx.big.example ESMTP\r\n", None, ["a"]),
        Server(SMALL, "192.0.2.1", 64500, b"220 mx.big.example ESMTP\r\n", None, ["a"]),
        Server(SMALL, "192.0.2.2", None, None, None, None),
    ]
    assert found["alone.example"] == [Server("mx.alone.example", "192.0.2.3", None, None, None, None)]


def test_the_names_of_a_certificate_that_is_not_trusted_say_nothing(shards: Shards, tmp_path: Path) -> None:
    put(shards, [domain("d.example", to(BIG, "192.0.2.1"))])
    write(shards, "now", [item(1, tls=tls("TLSv1.3", trusted=False))])
    with relations(shards, "now", tmp_path) as related:
        assert [server.names for _, servers in related.servers() for server in servers] == [None]


def test_what_is_wrong_with_any_exchange_is_told_of_its_domain(shards: Shards) -> None:
    plain, odd = to(BIG, "192.0.2.1"), to("a.example", flags=["cname", "dangling"])
    put(shards, [domain("a.example", plain), domain("b.example", plain, odd, to("b.example", flags=["reserved"]))])
    put(
        shards,
        [domain("c.example", plain), domain("null.example", null_mx=True), domain("x.example", outcome="nxdomain")],
    )
    put(shards, [domain("self.example", Exchange(None, "self.example", ["192.0.2.5"]), implicit=True)])
    put(shards, [domain("a.example", plain, survey="then")])
    assert looked(shards, "now") == Counter(
        {
            Looked("ok", implicit=False, null_mx=False, flags=frozenset()): 2,
            Looked("ok", implicit=False, null_mx=False, flags=frozenset({"cname", "dangling", "reserved"})): 1,
            Looked("ok", implicit=False, null_mx=True, flags=frozenset()): 1,
            Looked("ok", implicit=True, null_mx=False, flags=frozenset()): 1,
            Looked("nxdomain", implicit=False, null_mx=False, flags=frozenset()): 1,
        }
    )
    assert counts(shards, "mx", "now", "outcome") == {("ok",): 7, ("nxdomain",): 1}


def test_targets_and_servers_are_counted_by_the_sources_that_gave_them(shards: Shards, tmp_path: Path) -> None:
    pairs = tmp_path / "[a]*?.sources.parquet"
    duckdb.sql(
        "SELECT * FROM (VALUES ('192.0.2.1', 'zone:a'), ('192.0.2.1', 'list:b'), ('192.0.2.2', 'list:b'), "
        "('192.0.2.3', 'list:b'), ('192.0.2.3', 'zone:a'), ('mx.example', 'zone:a')) AS t(address, source)"
    ).write_parquet(str(pairs))
    write(shards, "now", [item(1), item(2, outcome="silent"), item(3)])
    with relations(shards, "now", tmp_path) as related:
        assert related.found_by(pairs) == {
            frozenset({"zone:a", "list:b"}): Yield(2, 2),
            frozenset({"list:b"}): Yield(1, 0),
            frozenset({"zone:a"}): Yield(1, 0),
        }
        with pytest.raises(FileNotFoundError):
            related.found_by(tmp_path / "none")


def test_what_is_no_parquet_is_an_error_of_one_line(shards: Shards, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"x" * 100)
    with pytest.raises(StoreError, match=str(tmp_path)) as caught, relations(shards, "now", tmp_path) as related:
        related.found_by(bad)
    assert "\n" not in str(caught.value)


def test_sizes_of_zones_come_by_zone_and_date(shards: Shards) -> None:
    writer = Writer(shards)
    for zone, date, domains in (
        ("org", "2026-11-24", 2),
        ("com", "2026-11-25", 3),
        ("", "2026-11-25", 4),
        ("com", "2008", 1),
    ):
        writer.write(shards.placement.server(zone), [Rows([("zone_sizes", (zone, date, domains, "file", TIME))])])
    assert zone_sizes(shards) == [
        ZoneSize("", "2026-11-25", 4, "file"),
        ZoneSize("com", "2008", 1, "file"),
        ZoneSize("com", "2026-11-25", 3, "file"),
        ZoneSize("org", "2026-11-24", 2, "file"),
    ]
