"""The runs of rules over a stored survey: which rules, when, how far, and what they changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from sqlalchemy import select

from smtpsurvey.classify.changes import Changes
from smtpsurvey.items import Software
from smtpsurvey.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from smtpsurvey.store.schema import Schema
    from smtpsurvey.store.shards import Shards

_CHANGES = msgspec.json.Decoder(Changes)
_SOURCES = msgspec.json.Decoder(list[str])
_SOFTWARE = msgspec.json.Decoder(Software)


@attrs.frozen(eq=False)
class Run:
    """One run; ``number`` counts those of a survey from 1. ``started`` and ``finished`` are ISO 8601 in UTC.

    ``rules`` is the version of the rules (a hash), ``sources`` how they were given. ``finished`` is ``None``
    until every database is done; ``observations`` and ``changed`` say how far it is.
    """

    number: int
    rules: str
    sources: list[str]
    started: str
    finished: str | None
    observations: int
    changed: int
    changes: Changes


@attrs.frozen(eq=False)
class Earlier:
    """The verdict that an observation had until a run replaced it; ``None``: the software was not identified."""

    number: int
    software: Software | None


@attrs.frozen
class Position:
    """How far a run is in one database: tables done, and the last key that is done in the next."""

    tables: int = 0
    ip: str | None = None
    port: int | None = None
    observations: int = 0
    changed: int = 0


def runs(shards: Shards, survey: str) -> list[Run]:
    """List the runs over a survey, the latest last: its rules made the verdicts (if it is finished, all of them)."""
    table = shards.schema.classifications
    found: dict[int, list[Row[Any]]] = {}
    for shard in shards:
        with shard.begin() as connection:
            for row in connection.execute(select(table).where(table.c.survey == survey)):
                found.setdefault(row.number, []).append(row)
    return [_run(rows, len(shards)) for _, rows in sorted(found.items())]


def earlier(shards: Shards, survey: str, ip: str, port: int) -> list[Earlier]:
    """List the earlier verdicts on one observation, in the order of the runs that replaced them."""
    table = shards.schema.verdicts
    query = select(table.c.number, table.c.software)
    query = query.where(table.c.survey == survey, table.c.ip == ip, table.c.port == port)
    found: dict[int, str | None] = {}
    for shard in shards:  # in all: they may be on their way
        with shard.begin() as connection:
            found |= {row.number: row.software for row in connection.execute(query)}
    return [Earlier(number, None if text is None else _SOFTWARE.decode(text)) for number, text in sorted(found.items())]


def begin(shards: Shards, survey: str, rules: str, sources: Sequence[str], now: str) -> int:
    """Give the number of the run to do: the latest if these rules began it and it is not finished, else a new one."""
    known = runs(shards, survey)
    last = known[-1] if known else None
    resumed = last is not None and last.finished is None and last.rules == rules
    number = (last.number if last else 0) + (not resumed)
    table = shards.schema.classifications
    row = {
        "survey": survey,
        "number": number,
        "rules": rules,
        "sources": msgspec.json.encode(list(sources)).decode(),
        "started": last.started if last and resumed else now,
        "observations": 0,
        "changed": 0,
        "changes": msgspec.json.encode(Changes()).decode(),
        "tables": 0,
    }
    for shard in shards:
        with shard.change() as connection:
            there = select(table.c.number).where(table.c.survey == survey, table.c.number == number)
            if connection.scalar(there) is None:
                connection.execute(table.insert(), row)
    return number


def progress(connection: Connection, schema: Schema, survey: str, number: int) -> tuple[Position | None, Changes]:
    """Tell how far a run is in a database (``None``: done), and what it changed there."""
    table = schema.classifications
    row = connection.execute(select(table).where(table.c.survey == survey, table.c.number == number)).one()
    changes = _CHANGES.decode(row.changes)
    if row.finished is not None:
        return None, changes
    return Position(row.tables, row.ip, row.port, row.observations, row.changed), changes


def advance(
    connection: Connection,
    schema: Schema,
    key: tuple[str, int],
    steps: tuple[Position, Position],
    **more: str | None,
) -> None:
    """Move a run (its survey and number) from one position to the next.

    Raises :class:`StoreError` if it is no longer where it was: another process does the same run.
    """
    table, (old, new) = schema.classifications, steps
    here = [table.c[name] == value for name, value in attrs.asdict(old).items()]
    done = connection.execute(
        table.update()
        .where(table.c.survey == key[0], table.c.number == key[1], table.c.finished.is_(None), *here)
        .values(**attrs.asdict(new), **more)
    )
    if done.rowcount != 1:
        raise StoreError("another process is classifying this survey at the same time")


def _run(rows: Sequence[Row[Any]], databases: int) -> Run:
    changes = Changes()
    for row in rows:
        changes.merge(_CHANGES.decode(row.changes))
    finished = [row.finished for row in rows]
    done = len(rows) == databases and None not in finished
    return Run(
        rows[0].number,
        rows[0].rules,
        _SOURCES.decode(rows[0].sources),
        min(row.started for row in rows),
        max(finished) if done else None,
        sum(row.observations for row in rows),
        sum(row.changed for row in rows),
        changes,
    )
