"""Which columns the rows in a spool have: a later release may have others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from smtpsurvey.store.writer import Batch

if TYPE_CHECKING:
    from sqlalchemy import Table

    from smtpsurvey.store.schema import Schema
    from smtpsurvey.store.writer import Record


class Layout(msgspec.Struct, frozen=True, array_like=True, tag="layout"):
    """Whose records follow, and the columns of their rows."""

    shard: str
    observations: list[str]
    certificates: list[str]
    others: dict[str, list[str]] = {}

    @classmethod
    def of(cls, shard: str, schema: Schema) -> Self:
        """Describe the rows as they are now."""
        others = {name: _columns(table) for name, table in schema.others.items()}
        return cls(shard, _columns(schema.observations[0]), _columns(schema.certificates), others)

    def adapt(self, record: Record, now: Layout) -> Record:
        """Put the rows of a record that has this layout into another; what it lacks is ``None``."""
        if self == now or not isinstance(record, Batch):
            return record
        return Batch(
            _adapt(record.observations, self.observations, now.observations),
            _adapt(record.certificates, self.certificates, now.certificates),
            {name: _adapt(rows, self.others[name], now.others[name]) for name, rows in record.others.items()},
        )


def _columns(table: Table) -> list[str]:
    return [str(column.name) for column in table.columns]


def _adapt(rows: list[tuple[Any, ...]], old: list[str], new: list[str]) -> list[tuple[Any, ...]]:
    places = [old.index(name) if name in old else None for name in new]
    return [tuple([None if place is None else row[place] for place in places]) for row in rows]
