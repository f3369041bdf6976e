"""Writes items, surveys and tallies. Every value travels as a parameter, never in the text of SQL."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from sqlalchemy import Table, event, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from smtpsurvey.store import StoreError
from smtpsurvey.store.kinds import REPLACED, Rows, replace
from smtpsurvey.store.rows import certificate_row, certificates, to_row
from smtpsurvey.store.schema import LABEL_LENGTH
from smtpsurvey.store.upsert import Upsert

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.shards import Shards

SLOW = 10.0
"""Seconds that a database may take to answer; ``connect_timeout``, ``read_timeout`` in its URL say otherwise."""

_KEY = itemgetter(0, 1, 2)
_IP = 1
_KNOWN = 50_000  # certificates a shard is remembered to have, at most
_TRIES = 3
# MySQL's numbers: lock wait timeout, deadlock, gone away, lost, killed, and the same as MySQL 8 says it.
_AGAIN = frozenset({1205, 1213, 1927, 2006, 2013, 2055, 4031})
# No value for a column, packet or row too large, wrong values, an invalid string, a CHECK.
_ROW = frozenset({1118, 1153, 1292, 1300, 1364, 1366, 3819, 4025})


class UnavailableError(StoreError):
    """A database does not write now; later it may."""


class RefusedError(StoreError):
    """A database writes, but not these rows."""


@attrs.frozen
class Tally:
    """How many targets of a source had an outcome (and reason) without becoming an observation."""

    source: str | None
    outcome: str
    reason: str | None
    count: int


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """Rows of observations, of the certificates they refer to, and of other tables by their names.

    Values are in the order of the schema's columns.
    """

    observations: list[tuple[Any, ...]]
    certificates: list[tuple[Any, ...]]
    others: dict[str, list[tuple[Any, ...]]] = {}

    def __len__(self) -> int:
        """Count the rows, but for certificates."""
        return len(self.observations) + sum(map(len, self.others.values()))


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """A survey begins, or is taken up again; ``settings`` is JSON."""

    label: str
    time: str
    settings: str


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """A survey is finished."""

    label: str
    time: str


class Tallies(msgspec.Struct, frozen=True, array_like=True, tag="tallies"):
    """What a survey counted of some sources, in place of what was counted of them before."""

    survey: str
    sources: list[str | None]
    tallies: list[Tally]


Record = Batch | Begin | End | Tallies
"""What is written to one server in one transaction; applied again, it changes nothing."""


class Writer:
    """Writes to the shards; one thread a shard may call :meth:`apply` at a time."""

    def __init__(self, shards: Shards, slow: float = SLOW) -> None:
        """Prepare the statements; from now on no connection to MySQL waits longer than ``slow``."""
        self._shards = shards
        self._slow = slow
        schema = shards.schema
        self._observations = [
            [Upsert(table, shard.engine.dialect) for table in schema.observations] for shard in shards
        ]
        self._others = [
            {name: Upsert(table, shard.engine.dialect) for name, table in schema.others.items()} for shard in shards
        ]
        self._certificates = [Upsert(schema.certificates, shard.engine.dialect, keep=True) for shard in shards]
        self._known: list[set[tuple[str, bool, bool]]] = [set() for _ in shards]
        for shard in shards:
            if shard.engine.dialect.name != "sqlite":
                _limit(shard.engine, slow)

    def write(self, server: int, items: Iterable[SmtpItem | Rows]) -> None:
        """Insert or replace the rows of items that belong to one server, in one transaction.

        Raises :class:`StoreError`; then nothing of them has been written.
        """
        self.apply(server, self.batch(server, items))

    def batch(self, server: int, items: Iterable[SmtpItem | Rows]) -> Batch:
        """Make the rows of items that belong to one server; certificates that it is known to have are left out."""
        observations: list[tuple[Any, ...]] = []
        chains: dict[tuple[str, bool, bool], tuple[Any, ...]] = {}
        others: dict[str, list[tuple[Any, ...]]] = {}
        known = self._known[server]
        for item in items:
            if isinstance(item, Rows):
                for name, row in item:
                    others.setdefault(name, []).append(row)
                continue
            observations.append(to_row(item))
            for digest, read, der in certificates(item):
                key = digest, read is not None, der is not None
                if key not in known and key not in chains:
                    chains[key] = certificate_row(digest, read, der)
        return Batch(observations, [chains[key] for key in sorted(chains)], others)

    def remember(self, server: int, batch: Batch) -> None:
        """Take the certificates of a batch as written: it is, or it will be before any later one."""
        known = self._known[server]
        if len(known) + len(batch.certificates) > _KNOWN:
            known.clear()
        known.update((row[0], any(row[2:]), row[1] is not None) for row in batch.certificates)

    def apply(self, server: int, record: Record) -> None:
        """Write a record, once more where the database asks for that.

        Raises :class:`UnavailableError` or :class:`RefusedError`; then nothing has been written, unless the
        connection broke on the very commit.
        """
        deadline = monotonic() + self._slow
        for tried in range(1, _TRIES + 1):
            try:
                self._apply(server, record)
            except StoreError as error:
                cause = error.__context__  # what the database said, of which the error is one line
                # Two jobs of a survey may begin it at the same moment, and one is then the second.
                again = _number(cause) in _AGAIN or isinstance(record, Begin)
                if again and tried < _TRIES and monotonic() < deadline:
                    continue
                refused = isinstance(cause, DataError | IntegrityError) or _number(cause) in _ROW
                raise (RefusedError if refused else UnavailableError)(str(error)) from None
            except (
                ArithmeticError,
                TypeError,
                ValueError,
                self._shards[server].engine.dialect.loaded_dbapi.Error,
            ) as error:
                # The driver cannot even write it down.
                raise RefusedError(f"{self._shards[server].name}: {error}") from None
            break

    def begin_survey(self, label: str, time: str, settings: Mapping[str, object]) -> None:
        """Register a survey on every server; one that is resumed keeps the time it started."""
        for server in range(len(self._shards)):
            self.apply(server, beginning(label, time, settings))

    def end_survey(self, label: str, time: str) -> None:
        """Mark a survey finished on every server."""
        for server in range(len(self._shards)):
            self.apply(server, End(label, time))

    def write_tallies(self, survey: str, tallies: Sequence[Tally]) -> None:
        """Replace a survey's tallies of the sources that these are of; they go to the label's server."""
        for server in range(len(self._shards)):
            self.apply(server, self.tallies(server, survey, tallies))

    def tallies(self, server: int, survey: str, tallies: Sequence[Tally]) -> Tallies:
        """Make one server's part of a survey's tallies: all are on one, and none on the others."""
        sources = list({tally.source for tally in tallies})
        return Tallies(survey, sources, list(tallies) if server == self._shards.placement.server(survey) else [])

    def _apply(self, server: int, record: Record) -> None:
        schema = self._shards.schema
        with self._shards[server].begin() as connection:
            match record:
                case Batch():
                    self._write(connection, server, record)
                case Begin():
                    _begin(connection, schema.surveys, record)
                case End():
                    table = schema.surveys
                    connection.execute(update(table).where(table.c.label == record.label).values(finished=record.time))
                case Tallies():
                    _replace(connection, schema.tallies, record)
        if isinstance(record, Batch):
            self.remember(server, record)

    def _write(self, connection: Connection, server: int, batch: Batch) -> None:
        """Write rows, always in the order of the keys, so that two writers of one server do not deadlock."""
        table_of = self._shards.placement.table
        tables: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row in batch.observations:
            tables[table_of(row[_IP])].append(row)
        if batch.certificates:
            self._certificates[server].execute(connection, batch.certificates)
        for name in sorted(batch.others):
            rows, table = batch.others[name], self._shards.schema.others[name]
            if name in REPLACED:
                rows = replace(connection, table, rows)
            key = itemgetter(slice(len(table.primary_key)))
            self._others[server][name].execute(connection, sorted(rows, key=key))
        for number in sorted(tables):
            self._observations[server][number].execute(connection, sorted(tables[number], key=_KEY))


def beginning(label: str, time: str, settings: Mapping[str, object]) -> Begin:
    """Make the record of a survey that begins; raises :class:`StoreError` for a label that is no key."""
    if not 0 < len(label) <= LABEL_LENGTH or label != label.strip(" "):
        # Without blanks at the ends, which MySQL does not tell apart in a key.
        raise StoreError(f"a survey's label has 1 to {LABEL_LENGTH} characters and no blank at its ends")
    return Begin(label, time, msgspec.json.encode(settings, enc_hook=str).decode())


def _begin(connection: Connection, table: Table, survey: Begin) -> None:
    found = update(table).where(table.c.label == survey.label)
    if not connection.execute(found.values(finished=None, settings=survey.settings)).rowcount:
        row = {"label": survey.label, "started": survey.time, "finished": None, "settings": survey.settings}
        connection.execute(table.insert(), row)


def _replace(connection: Connection, table: Table, new: Tallies) -> None:
    """Replace a survey's tallies of some sources, compared here: MySQL ignores blanks at the end."""
    rows = connection.execute(select(table.c.id, table.c.source).where(table.c.survey == new.survey))
    old = [row.id for row in rows if row.source in new.sources]
    if old:
        connection.execute(table.delete().where(table.c.id.in_(old)))
    if new.tallies:
        connection.execute(table.insert(), [{"survey": new.survey, **attrs.asdict(tally)} for tally in new.tallies])


def _number(error: BaseException | None) -> Any:
    """Give MySQL's number of an error."""
    return error.orig.args[0] if isinstance(error, DBAPIError) and error.orig and error.orig.args else None


def _limit(engine: Engine, seconds: float) -> None:
    """Wait for MySQL no longer than this, unless the URL says how long."""

    def connect(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> None:
        for name in ("connect_timeout", "read_timeout", "write_timeout"):
            options.setdefault(name, seconds)

    event.listen(engine, "do_connect", connect)
    engine.dispose()  # of those that were opened without
