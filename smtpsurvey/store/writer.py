"""Writes items, surveys and tallies. Every value travels as a parameter, never in the text of SQL."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from sqlalchemy import Table, func, select, update
from sqlalchemy.dialects import mysql, sqlite

from smtpsurvey.store import StoreError
from smtpsurvey.store.rows import certificate_row, certificates, to_row
from smtpsurvey.store.schema import LABEL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Dialect
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.shards import Shards

_KEY = itemgetter(0, 1, 2)
_KNOWN = 50_000  # certificates a shard is remembered to have, at most


@attrs.frozen
class Tally:
    """How many targets of a source had an outcome (and reason) without becoming an observation."""

    source: str | None
    outcome: str
    reason: str | None
    count: int


class Writer:
    """Writes to the shards; one thread a shard may call :meth:`write` at a time."""

    def __init__(self, shards: Shards) -> None:
        """Prepare the statements; the shards must have been created."""
        self._shards = shards
        schema = shards.schema
        self._observations = [
            [_upsert(table, shard.engine.dialect) for table in schema.observations] for shard in shards
        ]
        self._certificates = [_upsert(schema.certificates, shard.engine.dialect, keep=True) for shard in shards]
        self._known: list[set[tuple[str, bool, bool]]] = [set() for _ in shards]

    def write(self, server: int, items: Iterable[SmtpItem]) -> None:
        """Insert or replace the observations of items that belong to one server, in one transaction.

        Raises :class:`StoreError`; then nothing of them has been written.
        """
        table_of = self._shards.placement.table
        tables: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
        chains: dict[tuple[str, bool, bool], tuple[Any, ...]] = {}
        known = self._known[server]
        for item in items:
            tables[table_of(item.ip)].append(to_row(item))
            for digest, read, der in certificates(item):
                key = digest, read is not None, der is not None
                if key not in known and key not in chains:
                    chains[key] = certificate_row(digest, read, der)
        with self._shards[server].begin() as connection:
            # Always in the order of the keys, so that two writers of one server do not deadlock.
            if chains:
                connection.exec_driver_sql(self._certificates[server], [chains[key] for key in sorted(chains)])
            for table in sorted(tables):
                connection.exec_driver_sql(self._observations[server][table], sorted(tables[table], key=_KEY))
        if len(known) + len(chains) > _KNOWN:
            known.clear()
        known.update(chains)

    def begin_survey(self, label: str, time: str, settings: Mapping[str, object]) -> None:
        """Register a survey on every server; one that is resumed keeps the time it started."""
        if not 0 < len(label) <= LABEL_LENGTH or label != label.strip(" "):
            # Without blanks at the ends, which MySQL does not tell apart in a key.
            raise StoreError(f"a survey's label has 1 to {LABEL_LENGTH} characters and no blank at its ends")
        text = msgspec.json.encode(settings, enc_hook=str).decode()
        table = self._shards.schema.surveys
        for shard in self._shards:
            with shard.begin() as connection:
                done = connection.execute(
                    update(table).where(table.c.label == label).values(finished=None, settings=text)
                )
                if not done.rowcount:
                    row = {"label": label, "started": time, "finished": None, "settings": text}
                    connection.execute(table.insert(), row)

    def end_survey(self, label: str, time: str) -> None:
        """Mark a survey finished on every server."""
        table = self._shards.schema.surveys
        for shard in self._shards:
            with shard.begin() as connection:
                connection.execute(update(table).where(table.c.label == label).values(finished=time))

    def write_tallies(self, survey: str, tallies: Sequence[Tally]) -> None:
        """Replace a survey's tallies of the sources that these are of; they go to the label's server."""
        table = self._shards.schema.tallies
        sources = {tally.source for tally in tallies}
        home = self._shards.placement.server(survey)
        for server, shard in enumerate(self._shards):
            with shard.begin() as connection:
                _forget(connection, table, survey, sources)
                if server == home and tallies:
                    connection.execute(table.insert(), [{"survey": survey, **attrs.asdict(tally)} for tally in tallies])


def _forget(connection: Connection, table: Table, survey: str, sources: set[str | None]) -> None:
    """Delete a survey's tallies of some sources, compared here: MySQL ignores blanks at the end."""
    rows = connection.execute(select(table.c.id, table.c.source).where(table.c.survey == survey))
    old = [row.id for row in rows if row.source in sources]
    if old:
        connection.execute(table.delete().where(table.c.id.in_(old)))


def _upsert(table: Table, dialect: Dialect, *, keep: bool = False) -> str:
    """Write the statement that inserts a row or replaces it; with ``keep`` only what is NULL is replaced.

    The driver takes the values in the order of the table's columns, many rows in one statement.
    """
    rest = [column for column in table.c if not column.primary_key]

    def values(new: ReadOnlyColumnCollection[str, ColumnElement[Any]]) -> dict[str, ColumnElement[Any]]:
        return {old.name: func.coalesce(old, new[old.name]) if keep else new[old.name] for old in rest}

    if dialect.name == "sqlite":
        lite = sqlite.insert(table)
        statement = lite.on_conflict_do_update(index_elements=list(table.primary_key), set_=values(lite.excluded))
        return str(statement.compile(dialect=dialect))
    my = mysql.insert(table)
    return str(my.on_duplicate_key_update(values(my.inserted)).compile(dialect=dialect))
