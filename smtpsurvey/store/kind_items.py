"""Reads items of other kinds than ``probe`` back: a kind is an entry in :data:`READ`."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from msgspec import inspect
from sqlalchemy import select

from smtpsurvey.items import Software
from smtpsurvey.kinds import DnsItem, Exchange, MtaStsItem, MxItem, ReceivedItem, RouteItem
from smtpsurvey.outcomes import MxFlag
from smtpsurvey.store.rows import json_value, software_of
from smtpsurvey.store.table_reader import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Row

    from smtpsurvey.kinds import DnsRecord
    from smtpsurvey.store.shards import Shards

    Line = tuple[Any, ...]

_SIMPLE = {inspect.StrType, inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.NoneType}
_GROUPS = 500  # domains whose exchanges are looked up in one statement
_LOOKED = ("rcode", "server", "ad", "duration", "source")
_SOFTWARE = tuple(field.name for field in attrs.fields(Software))


@attrs.frozen
class Reading:
    """How a kind is read: its items of a survey in the order of the key, and an item as lines of a table."""

    item: type
    items: Callable[[Shards, str], Iterator[Any]]
    columns: tuple[str, ...]
    lines: Callable[[Any], Iterator[Line]]


def _mx_items(shards: Shards, survey: str) -> Iterator[MxItem]:
    """Give the items of domains; an exchange has the addresses that were found for its name by any of them."""
    for shard in shards:
        groups = groupby(rows(shard, shards.schema.others["mx"], survey), attrgetter("domain"))
        while some := [list(group) for _, group in islice(groups, _GROUPS)]:
            names = {row.exchange for group in some for row in group if row.exchange}
            addresses = _addresses(shards, survey, sorted(names))
            yield from (_mx_item(group, addresses) for group in some)


def _addresses(shards: Shards, survey: str, names: Sequence[str]) -> dict[str, list[str]]:
    table = shards.schema.others["addresses"]
    found: defaultdict[str, list[str]] = defaultdict(list)
    query = select(table.c.name, table.c.address).where(table.c.survey == survey)
    for shard in shards:
        for start in range(0, len(names), _GROUPS):
            with shard.begin() as connection:
                for name, address in connection.execute(query.where(table.c.name.in_(names[start : start + _GROUPS]))):
                    found[name].append(address)
    return {name: sorted(each) for name, each in found.items()}


def _mx_item(group: list[Row[Any]], addresses: dict[str, list[str]]) -> MxItem:
    row = group[0]
    exchanges = [_exchange(each, addresses) for each in group if each.exchange]
    exchanges.sort(key=lambda each: (each.preference or 0, each.name))
    return MxItem(
        *(row.survey, row.time, row.domain, row.outcome, row.implicit, row.null_mx),
        exchanges or ([] if row.null_mx else None),
        *(row.rcode, row.server, row.ad, row.duration, row.source),
    )


def _exchange(row: Row[Any], addresses: dict[str, list[str]]) -> Exchange:
    flags = json_value(row.flags)
    none: list[str] | None = [] if MxFlag.DANGLING in (flags or ()) else None
    return Exchange(row.preference, row.exchange, addresses.get(row.exchange, none), flags)


def _mx_lines(item: MxItem) -> Iterator[Line]:
    domain = item.survey, item.time, item.domain, item.outcome, item.implicit, item.null_mx
    exchanges: Sequence[Exchange | None] = item.exchanges or (None,)
    for each in exchanges:
        exchange = (each.preference, each.name, each.addresses, each.flags) if each else (None,) * 4
        yield *domain, *exchange, *_looked(item)


def _dns_lines(item: DnsItem) -> Iterator[Line]:
    name = item.survey, item.time, item.name, item.type, item.outcome
    records: Sequence[DnsRecord | None] = item.records or (None,)
    for each in records:
        yield *name, *((each.name, each.type, each.ttl, each.value) if each else (None,) * 4), *_looked(item)


def _received_items(shards: Shards, survey: str) -> Iterator[ReceivedItem]:
    for shard in shards:
        for row in rows(shard, shards.schema.others["received"], survey):
            yield ReceivedItem(
                *(row.survey, row.time, row.address, row.name, software_of(row)),
                *(row.hop, row.consistent, row.messages, row.source),
            )


def _received_lines(item: ReceivedItem) -> Iterator[Line]:
    software = attrs.astuple(item.software) if item.software else (None,) * len(_SOFTWARE)
    seen = item.hop, item.consistent, item.messages, item.source
    yield item.survey, item.time, item.address, item.name, *software, *seen


def _looked(item: DnsItem | MxItem) -> Line:
    return item.rcode, item.server, item.ad, item.duration, item.source


def _alike(kind: type, name: str) -> Reading:
    """Read a kind whose items are the rows of a table, with lists and dicts as JSON."""
    made = inspect.type_info(kind)
    assert isinstance(made, inspect.DataclassType)  # noqa: S101 - attrs classes are
    nested = {field.name for field in made.fields if not set(_types(field.type)) <= _SIMPLE}
    names = tuple(field.name for field in made.fields if field.name != "kind")

    def items(shards: Shards, survey: str) -> Iterator[Any]:
        for shard in shards:
            for row in rows(shard, shards.schema.others[name], survey):
                values = row._asdict()
                yield msgspec.convert({each: _read(values[each], each in nested) for each in names}, kind)

    def lines(item: Any) -> Iterator[Line]:
        yield tuple(getattr(item, each) for each in names)

    return Reading(kind, items, names, lines)


def _types(kind: inspect.Type) -> Iterator[type]:
    yield from (type(one) for one in (kind.types if isinstance(kind, inspect.UnionType) else (kind,)))


def _read(value: Any, nested: bool) -> Any:  # noqa: FBT001 - of a column
    return json_value(value) if nested else value


READ = {
    "dns": attrs.evolve(
        _alike(DnsItem, "names"),
        columns=("survey", "time", "name", "type", "outcome", "owner", "record_type", "ttl", "value", *_LOOKED),
        lines=_dns_lines,
    ),
    "mta_sts": _alike(MtaStsItem, "mta_sts"),
    "mx": Reading(
        MxItem,
        _mx_items,
        (
            *("survey", "time", "domain", "outcome", "implicit", "null_mx"),
            *("preference", "exchange", "addresses", "flags", *_LOOKED),
        ),
        _mx_lines,
    ),
    "received": Reading(
        ReceivedItem,
        _received_items,
        ("survey", "time", "address", "name", *_SOFTWARE, "hop", "consistent", "messages", "source"),
        _received_lines,
    ),
    "route": _alike(RouteItem, "routes"),
}
"""The kinds that can be read back, by ``kind``."""
