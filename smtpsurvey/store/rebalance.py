"""Moves rows to where another list of databases wants them.

A batch is copied, read back after the commit and compared, and only then deleted where it was. What is to be moved
is known from the data alone: a run that was killed goes on by looking again, and a batch that it had copied and not
deleted is found to be there already. A mark in every database keeps surveys from starting meanwhile, and holds
what had been counted before the first row was moved, for the comparison at the end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Table, event, func, select

from smtpsurvey.store import StoreError
from smtpsurvey.store.checksum import Totals, totals
from smtpsurvey.store.classification_moves import merged_runs, move_runs
from smtpsurvey.store.migrations import REBALANCE, record, recorded
from smtpsurvey.store.move import Mover
from smtpsurvey.store.relocate import misplaced, move, surplus, tables_of
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.verify import batches, chunks, strays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from smtpsurvey.store.shards import Shard
    from smtpsurvey.store.verify import Place


class Mark(msgspec.Struct, frozen=True):
    """What is being done, and what had been counted before."""

    to: list[str]
    leaving: list[str]
    rows: int
    checksum: str
    moving: int
    others: int
    others_checksum: str
    runs: list[dict[str, Any]]
    """Each run over a survey as one row, of all databases together."""

    @property
    def before(self) -> Totals:
        """The observations there were, each once."""
        return Totals(self.rows, int(self.checksum))

    @property
    def others_before(self) -> Totals:
        """The rows of other tables there were, each once."""
        return Totals(self.others, int(self.others_checksum))


class Rebalance:
    """Moves what is in the databases ``old`` or ``new`` so that it lies as ``new`` alone wants it."""

    def __init__(self, old: Sequence[str], new: Sequence[str], tables: int, tell: Callable[[str], None]) -> None:
        """Take both lists of URLs, and where to tell the progress; raises :class:`StoreError`."""
        before, after = Shards(old, tables), Shards(new, tables, "--to")
        leaving = [name for name in before.names if name not in after.names]
        self.shards = Shards(
            [*new, *(url for url, name in zip(old, before.names, strict=True) if name in leaving)], tables
        )
        for shard in self.shards:
            if shard.engine.dialect.name == "sqlite":
                event.listen(shard.engine, "connect", _sync)
        self._old, self._new = self.shards.layout(before.names), self.shards.layout(after.names)
        self._to, self._leaving = after.names, leaving
        self._tell = tell
        self._mover = Mover(self.shards)

    def run(self, *, force: bool = False) -> Mark:
        """Do it, or go on with it; ``force`` although surveys are not finished.

        Gives what was to be done in all. Raises :class:`StoreError`; then it can be run again.
        """
        self.shards.prepare()
        mark = self._resume() or self._begin(force=force)
        self._copy_surveys()
        self._move_observations(mark)
        self._move_others()
        self._move_tallies()
        move_runs(self.shards, self._new, mark.runs)
        schema = self.shards.schema
        wrong = [
            f"{after.rows:,} rows with checksum {after.checksum:016x} are there, {before.rows:,} with "
            f"{before.checksum:016x} were"
            for before, after in (
                (mark.before, self._totals(schema.observations)),
                (mark.others_before, self._totals(table for table, _ in tables_of(schema))),
            )
            if after != before
        ]
        if not wrong:
            self._empty()
        self._set_mark(None)
        if wrong:
            raise StoreError(f"{wrong[0]}: somebody else wrote meanwhile; run `scrapy shards verify`")
        return mark

    def _resume(self) -> Mark | None:
        """Read the mark of a run that was broken off; nothing was moved yet, or nothing is left, if not all have it."""
        found = []
        for shard in self.shards:
            with shard.begin() as connection:
                text = recorded(connection, self.shards.schema, REBALANCE)
            mark = msgspec.json.decode(text, type=Mark) if text else None
            if mark and (set(mark.to), set(mark.leaving)) != (set(self._to), set(self._leaving)):
                raise StoreError(
                    f"{shard.name}: another rebalance was begun, to {', '.join(mark.to)}"
                    f"{' from ' + ', '.join(mark.leaving) if mark.leaving else ''}; finish that first"
                )
            found.append(mark)
        mark = found[0]
        if mark is None or any(other != mark for other in found):
            return None
        self._tell("going on where it was broken off")
        return mark

    def _begin(self, *, force: bool) -> Mark:
        if not force:
            self._refuse_unfinished()
        self._tell("counting")
        schema = self.shards.schema
        before, moving = self._totals(schema.observations), 0
        for chunk in chunks(self.shards):
            away = chunk.away(self._new)
            moving += sum(ip in away for ip in chunk.ips)
            for stray in strays(self.shards, self._old, chunk):
                for _, digest in stray.losers:
                    before -= Totals(1, digest)
        others = self._totals(table for table, _ in tables_of(schema)) - surplus(self.shards, self._old)
        counted = before.rows, str(before.checksum), moving, others.rows, str(others.checksum)
        mark = Mark(self._to, self._leaving, *counted, merged_runs(self.shards))
        self._set_mark(mark)
        return mark

    def _refuse_unfinished(self) -> None:
        surveys = self.shards.schema.surveys
        for shard in self.shards:
            with shard.begin() as connection:
                label = connection.scalar(select(surveys.c.label).where(surveys.c.finished.is_(None)).limit(1))
            if label is not None:
                raise StoreError(
                    f"{shard.name}: survey {label} is not finished; let it end, or say --force if nothing writes to it"
                )

    def _set_mark(self, mark: Mark | None) -> None:
        text = msgspec.json.encode(mark).decode() if mark else None
        for shard in self.shards:
            with shard.begin() as connection:
                record(connection, self.shards.schema, REBALANCE, text)

    def _totals(self, tables: Iterable[Table]) -> Totals:
        found = Totals()
        for table in tables:
            for shard in self.shards:
                with shard.begin() as connection:
                    found += totals(connection, table.c)
        return found

    def _move_observations(self, mark: Mark) -> None:
        moved, last = 0, None
        for chunk in chunks(self.shards):
            if last not in (None, chunk.place):
                self._progress(last, moved, mark)
            last = chunk.place
            groups: defaultdict[Place, list[str]] = defaultdict(list)
            for ip, place in chunk.away(self._new).items():
                groups[place].append(ip)
            for place, ips in groups.items():
                for batch in batches(ips):
                    moved += self._mover.move(chunk.place, place, chunk.survey, batch)
        self._progress(last, moved, mark)

    def _progress(self, place: Place | None, moved: int, mark: Mark) -> None:
        if place is not None:
            name = self.shards.schema.observations[place[1]].name
            self._tell(
                f"{self.shards.names[place[0]]} {name}: {moved:,} rows moved in this run, {mark.moving:,} in all runs"
            )

    def _copy_surveys(self) -> None:
        table = self.shards.schema.surveys
        rows: dict[str, dict[str, Any]] = {}
        for shard in self.shards:
            with shard.begin() as connection:
                for row in connection.execute(select(table)).mappings():
                    rows.setdefault(row["label"], dict(row))
        for server in self._new.servers:
            with self.shards[server].begin() as connection:
                known = set(connection.scalars(select(table.c.label)))
                lacking = [row for label, row in rows.items() if label not in known]
                if lacking:
                    connection.execute(table.insert(), lacking)

    def _move_others(self) -> None:
        moved = sum(move(self.shards, each) for each in misplaced(self.shards, self._new))
        if moved:
            self._tell(f"{moved:,} rows of other tables moved in this run")

    def _move_tallies(self) -> None:
        table = self.shards.schema.tallies
        for server, shard in enumerate(self.shards):
            with shard.begin() as connection:
                rows = connection.execute(select(table)).mappings().all()
            for survey in {row["survey"] for row in rows}:
                home = self._new.place(survey)[0]
                if home != server:
                    ours = [dict(row) for row in rows if row["survey"] == survey]
                    _replace_tallies(self.shards[home], table, survey, ours)
                    with shard.begin() as connection:
                        connection.execute(table.delete().where(table.c.id.in_([row["id"] for row in ours])))

    def _empty(self) -> None:
        """Delete what is left on the servers that leave: certificates, surveys and runs, which were copied."""
        schema = self.shards.schema
        for server, name in enumerate(self.shards.names):
            if name in self._leaving:
                with self.shards[server].begin() as connection:
                    left = [
                        table.name
                        for table in (*schema.observations, schema.tallies, *(table for table, _ in tables_of(schema)))
                        if connection.scalar(select(func.count()).select_from(table))
                    ]
                    if left:
                        raise StoreError(f"{name}: somebody else wrote to {left[0]} meanwhile; run it again")
                    connection.execute(schema.certificates.delete())
                    connection.execute(schema.surveys.delete())
                    connection.execute(schema.classifications.delete())


def _replace_tallies(shard: Shard, table: Table, survey: str, rows: list[dict[str, Any]]) -> None:
    """Write a survey's tallies in place of those of the same sources, and see that they are there."""
    values = [{name: value for name, value in row.items() if name != "id"} for row in rows]
    sources = {row["source"] for row in rows}
    query = select(table).where(table.c.survey == survey)
    with shard.begin() as connection:
        old = [row.id for row in connection.execute(query) if row.source in sources]
        connection.execute(table.delete().where(table.c.id.in_(old)))
        connection.execute(table.insert(), values)
    with shard.begin() as connection:
        there = Counter(row[1:] for row in map(tuple, connection.execute(query)) if row[2] in sources)
    if there != Counter(tuple(value.values()) for value in values):
        raise StoreError(f"{shard.name}: the tallies of {survey} are not what was written")


def _sync(connection: Any, _record: object) -> None:
    """Have SQLite write a copy to the disk before the original is deleted: they are not in the same file."""
    connection.execute("PRAGMA synchronous=FULL").close()
