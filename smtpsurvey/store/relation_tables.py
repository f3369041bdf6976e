"""The tables of :mod:`smtpsurvey.store.relations`, and how each is read from the servers, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from sqlalchemy import select

from smtpsurvey.outcomes import DnsOutcome, Outcome
from smtpsurvey.store.table_reader import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Row

    from smtpsurvey.store.shards import Shard, Shards

    Rows = list[tuple[Any, ...]]

_RECORD_TYPES = frozenset(("A", "AAAA"))


class _Record(msgspec.Struct):
    """What is read of one."""

    type: str
    value: str


_RECORDS = msgspec.json.Decoder(list[_Record])


@attrs.frozen
class Loaded:
    """A table that is read from the servers: its columns, and its rows."""

    columns: str
    rows: Callable[[Shards, str], Iterator[Rows]]


@attrs.frozen
class Derived:
    """A table that is made of others."""

    of: tuple[str, ...]
    query: str


def _mx(shards: Shards, survey: str) -> Iterator[Rows]:
    for _, page in _pages(shards, "mx", survey, "preference"):
        yield [(row.domain, row.exchange, row.preference) for row in page if row.exchange]


def _named(shards: Shards, survey: str) -> Iterator[Rows]:
    for _, page in _pages(shards, "addresses", survey, "address"):
        yield [(row.address, row.name) for row in page]


def _web(shards: Shards, survey: str) -> Iterator[Rows]:
    for _, page in _pages(shards, "names", survey, "outcome", "records"):
        yield [
            (row.name, address)
            for row in page
            if row.type in _RECORD_TYPES and row.outcome == DnsOutcome.OK and row.records is not None
            for address in {record.value for record in _RECORDS.decode(row.records) if record.type == row.type}
        ]


def _observed(shards: Shards, survey: str) -> Iterator[Rows]:
    for _, page in _observations(shards, survey, "asn", "outcome"):
        yield [(row.ip, row.asn, row.outcome == Outcome.OK) for row in page]


def _answered(shards: Shards, survey: str) -> Iterator[Rows]:
    certificates = shards.schema.certificates
    columns = ("asn", "outcome", "greeting", "ehlo", "trusted", "certificate")
    for shard, page in _observations(shards, survey, *columns):
        found = [row for row in page if row.outcome == Outcome.OK]
        trusted = {row.certificate for row in found if row.trusted and row.certificate}
        with shard.begin() as connection:
            query = select(certificates.c.sha256, certificates.c.names).where(certificates.c.sha256.in_(trusted))
            names = {row.sha256: row.names for row in connection.execute(query)} if trusted else {}
        yield [
            (row.ip, row.port, row.asn, row.greeting, row.ehlo, names.get(row.certificate) if row.trusted else None)
            for row in found
        ]


def _pages(shards: Shards, name: str, survey: str, *columns: str) -> Iterator[tuple[Shard, Sequence[Row[Any]]]]:
    table = shards.schema.others[name]
    return ((shard, page) for shard in shards for page in pages(shard, table, survey, *columns))


def _observations(shards: Shards, survey: str, *columns: str) -> Iterator[tuple[Shard, Sequence[Row[Any]]]]:
    tables: Iterable[Any] = shards.schema.observations
    return ((shard, page) for shard in shards for table in tables for page in pages(shard, table, survey, *columns))


TABLES: dict[str, Loaded | Derived] = {
    "mx": Loaded("domain VARCHAR, exchange VARCHAR, preference INTEGER", _mx),
    "named": Loaded("address VARCHAR, name VARCHAR", _named),
    "web": Loaded("domain VARCHAR, address VARCHAR", _web),
    "observed": Loaded("address VARCHAR, asn BIGINT, answered BOOLEAN", _observed),
    "answered": Loaded("address VARCHAR, port INTEGER, asn BIGINT, greeting BLOB, ehlo BLOB, names VARCHAR", _answered),
    "mail": Derived(("mx", "named"), "SELECT DISTINCT domain, address FROM mx JOIN named ON name = exchange"),
    "hosts": Derived(
        ("observed",), "SELECT address, max(asn) AS asn, bool_or(answered) AS answered FROM observed GROUP BY address"
    ),
    "seen": Derived(("answered",), "SELECT DISTINCT ON (address) * FROM answered ORDER BY address, port"),
}
"""``mail`` and ``web``: where domains are; ``hosts``: addresses that were observed; ``seen``: what those said."""
