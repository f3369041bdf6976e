"""What the databases hold and whether they answer."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import func, inspect, literal, select, text

from smtpsurvey.store import StoreError
from smtpsurvey.store.migrations import REBALANCE, found_version, recorded
from smtpsurvey.store.relocate import tables_of

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from smtpsurvey.store.schema import Schema
    from smtpsurvey.store.shards import Shard, Shards

_SIZE = text("SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()")


@attrs.frozen
class ShardStatus:
    """One database; everything but the first two is unknown when it is down."""

    name: str
    down: str | None = None
    """Why it cannot be used."""
    version: int | None = None
    """Of the schema; ``None`` before it was made."""
    rebalancing: bool = False
    """A rebalance was begun and not finished."""
    surveys: dict[str, int] = attrs.Factory(dict)
    """Observations by survey."""
    tables: list[int] = attrs.Factory(list)
    """Observations by table."""
    others: dict[str, dict[str, int]] = attrs.Factory(dict)
    """Rows of other tables, by table and survey ("" where a table is of none)."""
    size: int | None = None
    """Bytes, as the database estimates them."""

    @property
    def rows(self) -> int:
        """Observations in all."""
        return sum(self.tables)


def skew(tables: list[int]) -> float | None:
    """Give the largest of these numbers of rows over their mean; ``None`` if there are no rows."""
    return max(tables) * len(tables) / sum(tables) if sum(tables) else None


def look(shards: Shards) -> list[ShardStatus]:
    """Ask all databases at once; changes nothing in any."""
    with ThreadPoolExecutor(len(shards)) as threads:
        return list(threads.map(partial(_look, shards.schema), shards))


def _look(schema: Schema, shard: Shard) -> ShardStatus:
    url = shard.engine.url
    file = Path(url.database or "") if url.get_backend_name() == "sqlite" and not url.query else None
    if file is not None and not file.is_file():
        return ShardStatus(shard.name, "no such database")  # SQLite would make an empty one
    try:
        with shard.begin() as connection:
            names = set(inspect(connection).get_table_names())
            version = found_version(connection, schema, names)
            marked = schema.store.name in names and recorded(connection, schema, REBALANCE) is not None
            surveys, tables = _count(connection, schema, names)
            others = _count_others(connection, schema, names)
            size = file.stat().st_size if file else connection.scalar(_SIZE)
    except StoreError as error:
        return ShardStatus(shard.name, str(error).removeprefix(f"{shard.name}: "))
    return ShardStatus(shard.name, None, version, marked, surveys, tables, others, int(size or 0))


def _count(connection: Connection, schema: Schema, names: set[str]) -> tuple[dict[str, int], list[int]]:
    surveys: Counter[str] = Counter()
    tables = []
    for table in schema.observations:
        query = select(table.c.survey, func.count()).group_by(table.c.survey)
        counts = connection.execute(query).all() if table.name in names else []
        for survey, count in counts:
            surveys[survey] += count
        tables.append(sum(count for _, count in counts))
    return dict(sorted(surveys.items())), tables


def _count_others(connection: Connection, schema: Schema, names: set[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for table, _ in tables_of(schema):
        survey: ColumnElement[str] = table.c.survey if "survey" in table.c else literal("")
        query = select(survey, func.count()).select_from(table).group_by(survey)
        rows = connection.execute(query).all() if table.name in names else []
        found[table.name] = dict(sorted((label, count) for label, count in rows))
    return found
