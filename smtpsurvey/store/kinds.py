"""Items of other kinds than ``probe`` as rows: of which tables, and on which server each belongs.

A new table is an entry in ``schema.py`` (and a step in ``migrations.py``) and a function here; one that is read back as
items (for ``scrapy export``) has another in ``kind_items.py``.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import delete

from smtpsurvey.kinds import DnsItem, MtaStsItem, MxItem, ReceivedItem, RouteItem
from smtpsurvey.store.rows import NO_MORE, NO_SOFTWARE, json_text, valid, verdict, verdict_more
from smtpsurvey.store.schema import NAME_LENGTH, PLACED, TYPE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Table

    from smtpsurvey.store.schema import Schema

    Part = tuple[str, str, tuple[Any, ...]]  # table, key of the placement, row

PROBE = "probe"
"""The kind of an observation, which its item does not say."""
REPLACED = {"mx": 2}
"""Tables whose rows go in groups, of so many leading key columns: a new group replaces the whole old one."""
_DELETED = 500  # groups a statement


class Rows(list["tuple[str, tuple[Any, ...]]"]):
    """The rows of one item that belong to one server, each with the name of its table."""


def rows_of(item: Any, server_of: Callable[[str], int]) -> dict[int, Rows]:
    """Make the rows of an item of :data:`KINDS`, by server."""
    found: defaultdict[int, Rows] = defaultdict(Rows)
    for table, key, row in KINDS[type(item)](item):
        found[server_of(key)].append((table, row))
    return found


def place_of(schema: Schema, name: str, row: Sequence[Any]) -> str:
    """Give the key of the placement of a row of one of these tables."""
    return str(row[list(schema.others[name].c.keys()).index(PLACED[name])])


def group_of(table: Table) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Give what tells apart the groups of rows that are written and replaced together: leading columns of the key."""
    return itemgetter(slice(REPLACED.get(table.name, len(table.primary_key))))


def replace(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Delete the groups that rows replace, and give the rows of each group's latest time."""
    time, group = list(table.c.keys()).index("time"), group_of(table)
    latest: dict[tuple[Any, ...], str] = {}
    for row in rows:
        latest[group(row)] = max(latest.get(group(row), ""), row[time])
    delete_groups(connection, table, latest)
    return [row for row in rows if row[time] == latest[group(row)]]


def delete_groups(connection: Connection, table: Table, groups: Iterable[tuple[Any, ...]]) -> None:
    """Delete all rows of some groups, in the order of the key."""
    columns = list(table.primary_key)
    inner: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for group in sorted(groups):
        inner[group[:-1]].append(group[-1])
    for outer, values in inner.items():
        where = [column == value for column, value in zip(columns, outer, strict=False)]
        for start in range(0, len(values), _DELETED):
            some = columns[len(outer)].in_(values[start : start + _DELETED])
            connection.execute(delete(table).where(*where, some))


def dns_name(text: str) -> str:
    """Make what is no name fit into the column of names: ASCII, cut."""
    return text.encode("ascii", "backslashreplace").decode()[:NAME_LENGTH]


def _looked(item: DnsItem | MxItem) -> tuple[Any, ...]:
    answer = str(item.outcome), valid(item.rcode), item.server, item.ad, item.duration
    return *answer, item.time, valid(item.source)


def _mx(item: MxItem) -> Iterator[Part]:
    survey, domain, seen = valid(item.survey), dns_name(item.domain), set()
    for exchange in item.exchanges or ():
        name, flags = dns_name(exchange.name), json_text(exchange.flags)
        if name not in seen:  # at its first preference
            facts = exchange.preference, item.implicit, item.null_mx, flags
            yield "mx", domain, (survey, domain, name, *facts, *_looked(item))
        seen.add(name)
        for address in exchange.addresses or ():
            yield "addresses", address, (survey, address, name, flags, item.time)
    if not seen:
        facts = None, item.implicit, item.null_mx, None
        yield "mx", domain, (survey, domain, "", *facts, *_looked(item))


def _dns(item: DnsItem) -> Iterator[Part]:
    name = dns_name(item.name)
    yield (
        "names",
        name,
        (valid(item.survey), name, dns_name(item.type)[:TYPE_LENGTH], json_text(item.records), *_looked(item)),
    )


def _mta_sts(item: MtaStsItem) -> Iterator[Part]:
    domain = dns_name(item.domain)
    policy = valid(item.id), valid(item.mode), item.max_age, json_text(item.patterns)
    facts = str(item.outcome), valid(item.reason), *policy, json_text(item.exchanges), item.covered
    wanted = None if item.tlsrpt is None else str(item.tlsrpt), json_text(item.reports)
    yield "mta_sts", domain, (valid(item.survey), domain, *facts, *wanted, item.time, valid(item.source))


def _received(item: ReceivedItem) -> Iterator[Part]:
    software = item.software
    named = (None,) * 4 if software is None else (software.vendor, software.product, software.version, software.rule)
    said = (item.address, *map(valid, (item.name, *named)), item.hop, item.consistent)
    digest = hashlib.sha256(str(json_text(said)).encode()).hexdigest()
    judged = (*NO_SOFTWARE, *NO_MORE) if software is None else (*verdict(software), *verdict_more(software))
    facts = item.address, valid(item.name), *map(valid, judged), item.hop, item.consistent, item.messages
    yield "received", digest, (valid(item.survey), digest, *facts, item.time, valid(item.source))


def _route(item: RouteItem) -> Iterator[Part]:
    prefix, found = item.prefix, (json_text(item.hops), str(item.stop), str(item.method), item.time)
    yield "routes", prefix, (valid(item.survey), prefix, item.destination, *found, valid(item.source))


KINDS: dict[type, Callable[[Any], Iterator[Part]]] = {
    MxItem: _mx,
    DnsItem: _dns,
    MtaStsItem: _mta_sts,
    ReceivedItem: _received,
    RouteItem: _route,
}
"""How items become rows, by their class."""
NAMED = {str(attrs.fields_dict(kind)["kind"].default): kind for kind in KINDS}
"""Their classes by ``kind``."""
