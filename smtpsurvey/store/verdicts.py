"""Runs rules over the stored observations of a survey; no packet is sent.

Observations are read in ranges of their key, with the columns alone that rules need. One transaction per range
writes the verdicts that changed, keeps those that they replace, and notes how far the run is; so a run that is
killed goes on where it was, and a run that is repeated changes nothing.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from sqlalchemy import bindparam, null, or_, select

from smtpsurvey.items import Software
from smtpsurvey.outcomes import Outcome
from smtpsurvey.store import StoreError
from smtpsurvey.store.classifications import Position, advance, begin, progress, runs
from smtpsurvey.store.rows import from_row
from smtpsurvey.store.status import look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Select, Table

    from smtpsurvey.classify.foreign import RuleSet
    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.classifications import Run
    from smtpsurvey.store.schema import Schema
    from smtpsurvey.store.shards import Shard, Shards

    Changed = list[tuple[SmtpItem, Software | None]]

RANGE = 2000
"""Observations read and written at a time."""
_ADDRESSES = 500  # in one statement; MariaDB makes a temporary table of 1,000 and more
_ALIVE = 200_000  # objects, more than a range has
_SOFTWARE = [field.name for field in attrs.fields(Software)]
_REPLIES = ("greeting", "ehlo", "starttls_reply", "quit", "tls_ehlo")
_READ = frozenset(
    (
        *("survey", "ip", "port", "time", "outcome", "tls", "texts"),
        *_REPLIES,
        *(f"{name}_code" for name in _REPLIES),
        *("extensions", "tls_extensions", "certificate", "subject", "issuer"),
        *_SOFTWARE,
    )
)


def require_survey(shards: Shards, survey: str) -> int:
    """Give the number of a survey's observations; raises :class:`StoreError` if it has none, or for a missing database.

    Nothing is created but tables that an earlier version of the schema does not have to have.
    """
    found = look(shards)
    for shard in found:
        if shard.down is not None:
            raise StoreError(f"{shard.name}: {shard.down}")
    labels = sorted({label for shard in found for label in shard.surveys})
    if survey not in labels:
        raise StoreError(f"no observations of survey {survey!r}; the store holds {', '.join(labels) or 'none'}")
    shards.create()
    return sum(shard.surveys.get(survey, 0) for shard in found)


def unidentified(shards: Shards, survey: str) -> Iterator[SmtpItem]:
    """Give the observations of servers that answered and that no rule named, with what rules read of them."""
    for shard in shards:
        for table in shards.schema.observations:
            query = _query(shards.schema, table, survey).where(table.c.product.is_(None))
            at = Position()
            while items := _read(shard, query, table, at):
                yield from items
                at = Position(0, items[-1].ip, items[-1].port)


class Reclassification:
    """One run of rules over a survey."""

    def __init__(self, shards: Shards, survey: str, rules: RuleSet, clock: Callable[[], str]) -> None:
        """Run ``rules``; ``clock`` gives the time as ISO 8601 in UTC."""
        self._shards = shards
        self._survey = survey
        self._rules = rules
        self._clock = clock
        stored = shards.schema.observations[0].c
        self._fields = [name for name in _SOFTWARE if name in stored]
        self._stored: Callable[[Software], tuple[Any, ...]] = attrgetter(*self._fields)

    def run(self, sources: Sequence[str], tell: Callable[[int], None]) -> Run:
        """Take up the run that these rules have begun, or begin one, and finish it; raises :class:`StoreError`.

        ``sources`` says how the rules were given; ``tell`` hears how many more observations are done.
        """
        number = begin(self._shards, self._survey, self._rules.version, sources, self._clock())
        with _collecting_seldom():
            for shard in self._shards:
                self._run(shard, number, tell)
        return next(run for run in runs(self._shards, self._survey) if run.number == number)

    def _run(self, shard: Shard, number: int, tell: Callable[[int], None]) -> None:
        schema, key = self._shards.schema, (self._survey, number)
        with shard.begin() as connection:
            at, changes = progress(connection, schema, *key)
        if at is None:
            return
        tell(at.observations)
        for place, table in enumerate(schema.observations[at.tables :], at.tables):
            query = _query(schema, table, self._survey)
            while items := _read(shard, query, table, at):
                changed = self._changed(items)
                with shard.change() as connection:
                    kept = _unchanged_since(connection, table, self._survey, changed)
                    self._write(connection, table, number, kept)
                    changes.add(kept, self._fields)
                    done = at.observations + len(items), at.changed + len(kept)
                    now = Position(place, items[-1].ip, items[-1].port, *done)
                    told = {"changes": msgspec.json.encode(changes).decode()} if kept else {}
                    advance(connection, schema, key, (at, now), **told)
                at = now
                tell(len(items))
            with shard.change() as connection:
                now = Position(place + 1, observations=at.observations, changed=at.changed)
                last = place + 1 == len(schema.observations)
                advance(connection, schema, key, (at, now), finished=self._clock() if last else None)
            at = now

    def _changed(self, items: Iterable[SmtpItem]) -> Changed:
        judged = [(item, self._rules.classify_item(item)) for item in items]
        return [(item, verdict) for item, verdict in judged if not self._equal(item.software, verdict)]

    def _equal(self, one: Software | None, other: Software | None) -> bool:
        if one is None or other is None:
            return one is other
        return self._stored(one) == self._stored(other)

    def _write(self, connection: Connection, table: Table, number: int, changed: Changed) -> None:
        """Keep the verdicts until now, and write the new ones."""
        if not changed:
            return
        connection.execute(
            self._shards.schema.verdicts.insert(),
            [
                {
                    "survey": self._survey,
                    "ip": item.ip,
                    "port": item.port,
                    "number": number,
                    "software": _json(item.software),
                }
                for item, _ in changed
            ],
        )
        here = table.c.survey == self._survey, table.c.ip == bindparam("of_ip"), table.c.port == bindparam("of_port")
        connection.execute(
            table.update().where(*here).values({name: bindparam(name) for name in self._fields}),
            [
                {"of_ip": item.ip, "of_port": item.port}
                | {name: _column(getattr(verdict, name, None)) for name in self._fields}
                for item, verdict in changed
            ],
        )


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Look for cycles of objects when there may be many: items have none, and looking after each few costs a third."""
    before = gc.get_threshold()
    gc.set_threshold(_ALIVE, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _query(schema: Schema, table: Table, survey: str) -> Select[Any]:
    certificates = schema.certificates
    columns = [*table.c, *(column for column in certificates.c if column.name not in {"sha256", "der"})]
    return (
        select(*(column if column.name in _READ else null().label(column.name) for column in columns))
        .select_from(table.outerjoin(certificates, table.c.certificate == certificates.c.sha256))
        .where(table.c.survey == survey, table.c.outcome == Outcome.OK.value)
        .order_by(table.c.ip, table.c.port)
        .limit(RANGE)
    )


def _read(shard: Shard, query: Select[Any], table: Table, after: Position) -> list[SmtpItem]:
    """Read the next range; what rules do not need is not read, and ``None`` in the items."""
    if after.ip is not None:
        # Written so that MySQL too sees a range of the primary key.
        query = query.where(table.c.ip >= after.ip, or_(table.c.ip > after.ip, table.c.port > after.port))
    with shard.begin() as connection:
        return [from_row(row) for row in connection.execute(query).all()]


def _unchanged_since(connection: Connection, table: Table, survey: str, changed: Changed) -> Changed:
    """Leave out observations that were replaced since they were read: the verdict is not on what is there now."""
    now: set[tuple[str, int, str]] = set()
    for ips in _batches([item.ip for item, _ in changed]):
        query = select(table.c.ip, table.c.port, table.c.time).where(table.c.survey == survey, table.c.ip.in_(ips))
        now.update(map(tuple, connection.execute(query.with_for_update())))
    return [(item, verdict) for item, verdict in changed if (item.ip, item.port, item.time) in now]


def _batches(ips: list[str]) -> Iterator[list[str]]:
    return (ips[start : start + _ADDRESSES] for start in range(0, len(ips), _ADDRESSES))


def _json(software: Software | None) -> str | None:
    return None if software is None else msgspec.json.encode(software).decode()


def _column(value: Any) -> str | None:
    return value if value is None else msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
