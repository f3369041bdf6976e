"""What the store remembers of a fleet's work: which list a survey has, and every job that was handed out.

Two tables beside the store's own, on the server of the survey's label: with them and what the nodes say, a controller
that was killed goes on where it was.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import attrs
import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, String, Table, Text, select, update
from sqlalchemy.dialects import mysql

from smtpsurvey.fleet import FleetError
from smtpsurvey.fleet.jobs import FAILED, IMPORTED, STARTED, Job
from smtpsurvey.items import iso_time
from smtpsurvey.store.schema import LABEL_LENGTH
from smtpsurvey.store.writer import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpsurvey.store.shards import Shard, Shards

_TEXT = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("default_charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


@attrs.frozen
class Run:
    """A survey by the fleet. ``arguments`` are those of the spider, the digest of its list among them."""

    survey: str
    run: str
    shards: int
    arguments: dict[str, str]
    targets: int | None = None
    stopped: bool = False


@attrs.frozen
class JobRecord:
    """A job that was handed to a node, and what became of it. ``targets`` is known of one that is imported."""

    job: Job
    node: str
    state: str
    targets: int | None


class FleetTables:
    """The two tables of one server."""

    def __init__(self) -> None:
        """Describe them; nothing is created yet."""
        self.metadata = MetaData()
        self.runs = Table(
            "fleet_runs",
            self.metadata,
            Column("survey", String(LABEL_LENGTH), primary_key=True),
            Column("run", String(12), nullable=False),
            Column("shards", Integer(), nullable=False),
            Column("arguments", _TEXT, nullable=False),
            Column("targets", BigInteger()),
            Column("started", String(32), nullable=False),
            Column("stopped", Boolean(), nullable=False),
            **_OPTIONS,
        )
        self.jobs = Table(
            "fleet_jobs",
            self.metadata,
            Column("survey", String(LABEL_LENGTH), primary_key=True),
            Column("shard", Integer(), primary_key=True, autoincrement=False),
            Column("number", Integer(), primary_key=True, autoincrement=False),
            Column("node", String(64), nullable=False),
            Column("state", String(16), nullable=False),
            Column("time", String(32), nullable=False),
            Column("targets", BigInteger()),
            Column("tallies", _TEXT),
            **_OPTIONS,
        )


class Records:
    """Reads and writes the two tables; every method raises ``StoreError``."""

    def __init__(self, shards: Shards) -> None:
        """Use these databases, which have been created."""
        self._shards = shards
        self._tables = FleetTables()
        for shard in shards:
            with shard.begin() as connection:
                self._tables.metadata.create_all(connection)

    def begin(self, survey: str, shards: int | None, usual: int, arguments: dict[str, str]) -> Run:
        """Register a survey in so many shards (``None``: ``usual``), or take it up.

        Raises :class:`FleetError` when it was begun otherwise.
        """
        found = self.find(survey)
        if found is None:
            run = Run(survey, uuid4().hex[:12], shards or usual, arguments)
            values = attrs.asdict(run) | {
                "arguments": msgspec.json.encode(arguments).decode(),
                "started": iso_time(time.time()),
            }
            with self._of(survey).begin() as connection:
                connection.execute(self._tables.runs.insert(), values)
            return run
        if shards not in (None, found.shards):
            raise FleetError(f"survey {survey} was begun with {found.shards} shards, not {shards}")
        for name in sorted(found.arguments.keys() | arguments.keys()):
            before, asked = found.arguments.get(name), arguments.get(name)
            if before != asked:
                raise FleetError(
                    f"survey {survey} was begun with {name}={before}, not {asked}; give it the same, or another label"
                )
        self._change(survey, stopped=False)
        return found

    def find(self, survey: str) -> Run | None:
        """Give a survey, if the fleet has begun it."""
        with self._of(survey).begin() as connection:
            row = connection.execute(
                select(self._tables.runs).where(self._tables.runs.c.survey == survey)
            ).one_or_none()
        return None if row is None else _run(row)

    def runs(self) -> list[Run]:
        """List all surveys of the fleet by label."""
        found = []
        for shard in self._shards:
            with shard.begin() as connection:
                found += [_run(row) for row in connection.execute(select(self._tables.runs))]
        return sorted(found, key=lambda run: run.survey)

    def count(self, survey: str, targets: int) -> None:
        """Note how many targets a survey has."""
        self._change(survey, targets=targets)

    def stop(self, survey: str) -> None:
        """Tell the controller of a survey, wherever it is, to stop."""
        self._change(survey, stopped=True)

    def stopped(self, survey: str) -> bool:
        """Say whether somebody has asked to stop."""
        with self._of(survey).begin() as connection:
            return bool(
                connection.scalar(select(self._tables.runs.c.stopped).where(self._tables.runs.c.survey == survey))
            )

    def start(self, survey: str, job: Job, node: str) -> None:
        """Note that a job is handed out, before it is; raises ``StoreError`` if another controller has done so."""
        values = {"survey": survey, **job._asdict(), "node": node, "state": STARTED, "time": iso_time(time.time())}
        with self._of(survey).begin() as connection:
            connection.execute(self._tables.jobs.insert(), values)

    def fail(self, survey: str, job: Job) -> None:
        """Note that a job came to nothing."""
        self._end(survey, job, state=FAILED)

    def finish(self, survey: str, job: Job, targets: int, tallies: Sequence[Tally]) -> None:
        """Note that a job's items are in the store, and what it counted besides."""
        made = msgspec.json.encode([attrs.astuple(tally) for tally in tallies]).decode()
        self._end(survey, job, state=IMPORTED, targets=targets, tallies=made)

    def imported(self, survey: str) -> set[int]:
        """Give the shards that are in the store."""
        jobs = self._tables.jobs
        query = select(jobs.c.shard).where(jobs.c.survey == survey, jobs.c.state == IMPORTED)
        with self._of(survey).begin() as connection:
            return set(connection.scalars(query))

    def has(self, survey: str, shard: int) -> bool:
        """Say whether a shard is in the store."""
        jobs = self._tables.jobs
        query = select(jobs.c.number).where(jobs.c.survey == survey, jobs.c.shard == shard, jobs.c.state == IMPORTED)
        with self._of(survey).begin() as connection:
            return connection.execute(query).first() is not None

    def jobs(self, survey: str) -> list[JobRecord]:
        """List all jobs that were handed out, in the order of shards and numbers."""
        query = (
            select(self._tables.jobs)
            .where(self._tables.jobs.c.survey == survey)
            .order_by(self._tables.jobs.c.shard, self._tables.jobs.c.number)
        )
        with self._of(survey).begin() as connection:
            rows = connection.execute(query).all()
        return [JobRecord(Job(row.shard, row.number), row.node, row.state, row.targets) for row in rows]

    def tallies(self, survey: str) -> list[Tally]:
        """Add up what all imported jobs counted without making an item."""
        query = select(self._tables.jobs.c.tallies).where(
            self._tables.jobs.c.survey == survey, self._tables.jobs.c.state == IMPORTED
        )
        sums: dict[tuple[str | None, str, str | None], int] = {}
        with self._of(survey).begin() as connection:
            for text in connection.scalars(query):
                for source, outcome, reason, count in msgspec.json.decode(text):
                    key = source, outcome, reason
                    sums[key] = sums.get(key, 0) + count
        return [Tally(*key, count) for key, count in sums.items()]

    def _of(self, survey: str) -> Shard:
        return self._shards[self._shards.placement.server(survey)]

    def _change(self, survey: str, **values: object) -> None:
        with self._of(survey).begin() as connection:
            connection.execute(update(self._tables.runs).where(self._tables.runs.c.survey == survey).values(**values))

    def _end(self, survey: str, job: Job, **values: object) -> None:
        """Note the end of a job, also of one that was never noted to begin (by hand, or an earlier store)."""
        which = (
            self._tables.jobs.c.survey == survey,
            self._tables.jobs.c.shard == job.shard,
            self._tables.jobs.c.number == job.number,
        )
        with self._of(survey).begin() as connection:
            connection.execute(update(self._tables.jobs).where(*which).values(time=iso_time(time.time()), **values))


def _run(row: object) -> Run:
    values = row._asdict()  # type: ignore[attr-defined]  # a row of SQLAlchemy's
    values["arguments"] = msgspec.json.decode(values["arguments"], type=dict[str, str])
    return Run(**{field.name: values[field.name] for field in attrs.fields(Run)})
