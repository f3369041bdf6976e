"""Rows of other tables than observations: which are not where they belong, and their move there.

As for observations a row is copied, read back after the commit and compared, and only then deleted where it was; so
whatever was done of a move, doing it again ends the same. Rows that replace others as a whole (those of a domain in
``mx``) move as a whole: of two copies of such a group the later counts.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import Table, and_, select, true

from smtpsurvey.store import StoreError
from smtpsurvey.store.checksum import Totals, row_digest
from smtpsurvey.store.kinds import delete_groups, group_of
from smtpsurvey.store.schema import PLACED
from smtpsurvey.store.upsert import Upsert

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection

    from smtpsurvey.store.schema import Schema
    from smtpsurvey.store.shards import Layout, Shard, Shards

    Key = tuple[Any, ...]
    Groups = dict[Key, list[Key]]

_SCAN = 10_000  # values of the placing column read at a time
_BATCH = 200  # values looked for in one statement


@attrs.frozen(eq=False)
class Misplaced:
    """Values of a table's placing column, of one survey, whose rows are on ``server`` and belong on ``right``."""

    table: Table
    survey: str | None
    column: str
    server: int
    right: int
    values: list[str]

    def batches(self) -> Iterator[ColumnElement[bool]]:
        """Give the conditions that select their rows, a statement's worth each."""
        of_survey = true() if self.survey is None else self.table.c.survey == self.survey
        for start in range(0, len(self.values), _BATCH):
            yield and_(of_survey, self.table.c[self.column].in_(self.values[start : start + _BATCH]))


def tables_of(schema: Schema) -> Iterator[tuple[Table, str]]:
    """Give the tables of which each server has one, and the column by which their rows are placed."""
    for name, table in schema.others.items():
        yield table, PLACED[name]
    yield schema.verdicts, "ip"


def misplaced(shards: Shards, layout: Layout) -> Iterator[Misplaced]:
    """Go through the rows that are not on their server.

    No transaction is open while a result is in use, so its rows may be moved.
    """
    for server, shard in enumerate(shards):
        for table, column in tables_of(shards.schema):
            for survey in _surveys(shard, table):
                for values in _pages(shard, table, column, survey):
                    away: defaultdict[int, list[str]] = defaultdict(list)
                    for value in values:
                        away[layout.place(value)[0]].append(value)
                    for right, some in away.items():
                        if right != server:
                            yield Misplaced(table, survey, column, server, right, some)


def surplus(shards: Shards, layout: Layout) -> Totals:
    """Sum up the rows that will go because there is a later copy of them, or the same."""
    found = Totals()
    for each in misplaced(shards, layout):
        for where in each.batches():
            copies: defaultdict[Key, dict[int, list[Key]]] = defaultdict(dict)
            for server, shard in enumerate(shards):
                with shard.begin() as connection:
                    for key, rows in _select(connection, each.table, where, digest=True).items():
                        copies[key][server] = rows
            for places in copies.values():
                if each.server == min(
                    (place for place in places if place != each.right), default=None
                ):  # once for all its copies
                    losers = sorted(places.values(), key=partial(_state, each.table))[:-1]
                    found += sum((Totals(1, int(row[-1])) for rows in losers for row in rows), Totals())
    return found


def move(shards: Shards, each: Misplaced) -> int:
    """Move rows to their server; gives how many were deleted where they had been. Raises :class:`StoreError`."""
    moved = 0
    for where in each.batches():
        with shards[each.server].begin() as connection:
            groups = _select(connection, each.table, where)
        _copy(shards[each.right], each.table, groups, where)
        with shards[each.server].change() as connection:
            if _select(connection, each.table, where, update=True) == groups:  # else somebody wrote meanwhile
                connection.execute(each.table.delete().where(where))
                moved += sum(map(len, groups.values()))
    return moved


def _copy(shard: Shard, table: Table, groups: Groups, where: ColumnElement[bool]) -> None:
    with shard.change() as connection:
        there = _select(connection, table, where, update=True)
        better = {key: rows for key, rows in groups.items() if _lacks(table, there.get(key), rows)}
        if better:
            delete_groups(connection, table, better.keys() & there.keys())
            rows = [row for key in sorted(better) for row in better[key]]
            Upsert(table, shard.engine.dialect).execute(connection, rows)
    with shard.begin() as connection:
        copied = _select(connection, table, where)
    if any(_lacks(table, copied.get(key), rows) for key, rows in groups.items()):
        raise StoreError(f"{shard.name} {table.name}: a row is not what was written")


def _select(
    connection: Connection, table: Table, where: ColumnElement[bool], *, digest: bool = False, update: bool = False
) -> Groups:
    """Read rows by groups, with ``digest`` that of each at its end."""
    query = select(*table.c, *([row_digest(connection, table.c)] if digest else [])).where(where)
    query = query.order_by(*table.primary_key)
    found: defaultdict[Key, list[Key]] = defaultdict(list)
    group = group_of(table)
    for row in map(tuple, connection.execute(query.with_for_update() if update else query)):
        found[group(row)].append(row)
    return found


def _state(table: Table, rows: list[Key]) -> tuple[str, str]:
    """Give what orders two copies of a group: the later counts. Where a table has no time, copies are the same."""
    time = list(table.c.keys()).index("time") if "time" in table.c else None
    return "" if time is None else max(row[time] or "" for row in rows), repr(rows)


def _lacks(table: Table, there: list[Key] | None, rows: list[Key]) -> bool:
    return there is None or _state(table, there) < _state(table, rows)


def _surveys(shard: Shard, table: Table) -> list[str | None]:
    if "survey" not in table.c:
        return [None]
    with shard.begin() as connection:
        return list(connection.scalars(select(table.c.survey).distinct()))


def _pages(shard: Shard, table: Table, column: str, survey: str | None) -> Iterator[list[str]]:
    """Give the different values of the placing column, in order."""
    placing = table.c[column]
    query = select(placing).distinct().order_by(placing).limit(_SCAN)
    page = query = query if survey is None else query.where(table.c.survey == survey)
    while True:
        with shard.begin() as connection:
            values = list(connection.scalars(page))
        if not values:
            return
        yield values
        page = query.where(placing > values[-1])
