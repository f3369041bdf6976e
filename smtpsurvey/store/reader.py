"""Reads surveys back: items as they were, and counts, summed over all servers and tables."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from sqlalchemy import func, select

from smtpsurvey.store.rows import from_row
from smtpsurvey.store.writer import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.shards import Shards

_CHUNK = 1000  # rows fetched at a time


@attrs.frozen
class Survey:
    """One survey in the store, and how many observations it has. Times are ISO 8601 in UTC."""

    label: str
    started: str
    finished: str | None
    settings: dict[str, Any]
    observations: int


class Reader:
    """Reads from the shards; every method raises ``StoreError``."""

    def __init__(self, shards: Shards) -> None:
        """Read from these, which must have been created."""
        self._shards = shards

    def surveys(self) -> list[Survey]:
        """List the surveys by label; one unknown to some server is taken from where it is known."""
        table = self._shards.schema.surveys
        rows: dict[str, Any] = {}
        for shard in self._shards:
            with shard.begin() as connection:
                rows |= {row.label: row for row in connection.execute(select(table))}
        observations = self._observations()
        return [
            Survey(label, row.started, row.finished, msgspec.json.decode(row.settings), observations[label])
            for label, row in sorted(rows.items())
        ]

    def items(self, survey: str) -> Iterator[SmtpItem]:
        """Give the items of a survey, server by server and table by table, without loading them all."""
        certificates = self._shards.schema.certificates
        columns = [column for column in certificates.c if column.name != "der"]
        for shard in self._shards:
            for table in self._shards.schema.observations:
                query = (
                    select(table, *columns)
                    .outerjoin(certificates, table.c.certificate == certificates.c.sha256)
                    .where(table.c.survey == survey)
                    .execution_options(yield_per=_CHUNK)
                )
                with shard.begin() as connection:
                    yield from map(from_row, connection.execute(query))

    def counts(self, survey: str, column: str) -> Counter[str | int | bool | None]:
        """Count a survey's observations by a column, such as ``outcome``, ``product`` or ``tls_version``.

        What was not measured is counted under ``None``. Raises ``KeyError`` for a column that is none.
        """
        found: Counter[str | int | bool | None] = Counter()
        for shard in self._shards:
            with shard.begin() as connection:
                for table in self._shards.schema.observations:
                    value = table.c[column]
                    query = select(value, func.count()).where(table.c.survey == survey).group_by(value)
                    for key, count in connection.execute(query):
                        found[key] += count
        return found

    def tallies(self, survey: str) -> list[Tally]:
        """List what was counted without becoming an observation."""
        table = self._shards.schema.tallies
        query = select(table.c.source, table.c.outcome, table.c.reason, table.c["count"])
        found = []
        for shard in self._shards:
            with shard.begin() as connection:
                rows = connection.execute(query.where(table.c.survey == survey).order_by(table.c.id))
                found += [Tally(*row) for row in rows]
        return found

    def _observations(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for shard in self._shards:
            with shard.begin() as connection:
                for table in self._shards.schema.observations:
                    for label, count in connection.execute(
                        select(table.c.survey, func.count()).group_by(table.c.survey)
                    ):
                        found[label] += count
        return found
