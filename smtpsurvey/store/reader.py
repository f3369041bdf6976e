"""Reads surveys back: items as they were, and counts, summed over all servers and tables."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from sqlalchemy import func, or_, select

from smtpsurvey.store.kind_items import READ
from smtpsurvey.store.kinds import PROBE
from smtpsurvey.store.rows import from_row
from smtpsurvey.store.writer import Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import Row, Table

    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.shards import Shard, Shards

_PAGE = 1000  # rows fetched at a time


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
        return [_survey(row, observations[label]) for label, row in sorted(rows.items())]

    def find(self, label: str) -> list[Survey | None]:
        """Tell what each server knows of a survey; observations are not counted (0)."""
        table = self._shards.schema.surveys
        found: list[Survey | None] = []
        for shard in self._shards:
            with shard.begin() as connection:
                row = connection.execute(select(table).where(table.c.label == label)).one_or_none()
            found.append(None if row is None else _survey(row, 0))
        return found

    def items(self, survey: str) -> Iterator[SmtpItem]:
        """Give the items of a survey, server by server and table by table, each in the order of the keys."""
        for _, rows in self.pages(survey):
            yield from map(from_row, rows)

    def batches(self, survey: str, kind: str = PROBE) -> Iterator[list[Any]]:
        """Give the items of a survey of any kind, some at a time; raises ``KeyError`` for a kind that is none."""
        if kind == PROBE:
            yield from ([from_row(row) for row in rows] for _, rows in self.pages(survey))
        else:
            items = READ[kind].items(self._shards, survey)
            while some := list(islice(items, _PAGE)):
                yield some

    def pages(self, survey: str) -> Iterator[tuple[Shard, Sequence[Row[Any]]]]:
        """Give the rows of a survey, each joined with its certificate, some at a time, and where they are.

        A page is a query of its own, so whoever takes long with one keeps no transaction open and is not hung up on.
        """
        for shard in self._shards:
            for table in self._shards.schema.observations:
                yield from ((shard, rows) for rows in self._pages(shard, table, survey))

    def ders(self, shard: Shard, digests: Collection[str]) -> dict[str, bytes]:
        """Give the certificates (DER) of these SHA-256 that a server has."""
        certificates = self._shards.schema.certificates
        query = select(certificates.c.sha256, certificates.c.der).where(certificates.c.der.is_not(None))
        found: dict[str, bytes] = {}
        wanted = list(digests)
        with shard.begin() as connection:
            for start in range(0, len(wanted), _PAGE):
                some = connection.execute(query.where(certificates.c.sha256.in_(wanted[start : start + _PAGE])))
                found |= {row.sha256: row.der for row in some}
        return found

    def _pages(self, shard: Shard, table: Table, survey: str) -> Iterator[Sequence[Row[Any]]]:
        certificates = self._shards.schema.certificates
        columns = [column for column in certificates.c if column.name != "der"]
        ip, port = table.c.ip, table.c.port
        query = (
            select(table, *columns)
            .outerjoin(certificates, table.c.certificate == certificates.c.sha256)
            .where(table.c.survey == survey)
            .order_by(ip, port)
            .limit(_PAGE)
        )
        page = query
        while True:
            with shard.begin() as connection:
                rows = connection.execute(page).all()
            if rows:
                yield rows
            if len(rows) < _PAGE:
                return
            last = rows[-1]
            # Written so that MySQL too sees a range of the primary key.
            page = query.where(ip >= last.ip, or_(ip > last.ip, port > last.port))

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


def _survey(row: Row[Any], observations: int) -> Survey:
    return Survey(row.label, row.started, row.finished, msgspec.json.decode(row.settings), observations)
