"""Streams the rows of tables other than observations, and counts them on their servers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Row, Table

    from smtpsurvey.store.shards import Shard, Shards

PAGE = 10_000
"""Rows fetched at a time."""


def pages(shard: Shard, table: Table, survey: str, *columns: str) -> Iterator[Sequence[Row[Any]]]:
    """Give the rows of a survey on one server in the order of the key; of some columns, those of the key first.

    A page is a query of its own, so whoever takes long with one keeps no transaction open. Raises ``StoreError``.
    """
    first, *rest = (column for column in table.primary_key if column.name != "survey")
    wanted = (first, *rest, *(table.c[name] for name in columns)) if columns else (first, *rest, *table.c)
    query = select(*wanted).where(table.c.survey == survey).order_by(first, *rest).limit(PAGE)
    page = query
    while True:
        with shard.begin() as connection:
            rows = connection.execute(page).all()
        if rows:
            yield rows
        if len(rows) < PAGE:
            return
        last = rows[-1]
        # Written so that MySQL too sees a range of the primary key, which has one column after this at most.
        later = [first > last[0], *(column > last[1] for column in rest)]
        page = query.where(first >= last[0], or_(*later))


def rows(shard: Shard, table: Table, survey: str, *columns: str) -> Iterator[Row[Any]]:
    """Give the rows of :func:`pages` one by one."""
    for page in pages(shard, table, survey, *columns):
        yield from page


def counts(shards: Shards, name: str, survey: str, *columns: str) -> Counter[tuple[Any, ...]]:
    """Count a survey's rows of a table by the values of some columns; each server groups its own.

    Raises ``KeyError`` for a table or column that is none, ``StoreError``.
    """
    table = shards.schema.others[name]
    values = [table.c[column] for column in columns]
    query = select(*values, func.count()).where(table.c.survey == survey).group_by(*values)
    found: Counter[tuple[Any, ...]] = Counter()
    for shard in shards:
        with shard.begin() as connection:
            for *key, count in connection.execute(query):
                found[tuple(key)] += count
    return found
