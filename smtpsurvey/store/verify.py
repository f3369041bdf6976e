"""Finds rows that are not where they belong, and rows that are there twice.

The placement says where a row belongs, so only rows that are elsewhere have to be looked for in all other places:
memory is bounded by the addresses of one step, whatever the store holds.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import func, select

from smtpsurvey.store.aggregates import require
from smtpsurvey.store.checksum import row_digest
from smtpsurvey.store.relocate import misplaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Table

    from smtpsurvey.store.shards import Layout, Shards

    Place = tuple[int, int]  # position of the server, number of the table
    Key = tuple[str, int]  # address and port, within a survey
    State = tuple[str, int]  # time and digest of a row: the later of two copies counts

BATCH = 500
"""Addresses looked for in one statement; MariaDB makes a temporary table of 1,000 and more."""
_SCAN = 10_000  # addresses read at a time
_EXAMPLES = 10


@attrs.frozen
class Chunk:
    """Addresses of a survey in one table, one for each row."""

    place: Place
    survey: str
    ips: Sequence[str]

    def away(self, layout: Layout) -> dict[str, Place]:
        """Give the addresses that belong elsewhere, and where."""
        places = {ip: layout.place(ip) for ip in self.ips}
        return {ip: place for ip, place in places.items() if place != self.place}


@attrs.frozen
class Stray:
    """A row that stands where it does not belong, and all copies of it."""

    survey: str
    key: Key
    right: Place
    copies: dict[Place, State]

    @property
    def losers(self) -> list[State]:
        """The copies that are to go: all but the latest."""
        return sorted(self.copies.values())[:-1]


@attrs.define
class Findings:
    """What :func:`verify` counted. Everything but ``rows`` should be 0."""

    rows: dict[str, int]
    """Observations on each server."""
    duplicates: int = 0
    """Copies too many of observations."""
    orphans: int = 0
    """Observations that are not where they belong, and not there either."""
    certificates: int = 0
    """Observations whose certificate is not on their server."""
    tallies: int = 0
    """Tallies on another server than that of their survey's label."""
    others: int = 0
    """Values of other tables (domains, names …) whose rows are not where they belong."""
    surveys: int = 0
    """Surveys missing on a server, counted for each server."""
    examples: list[str] = attrs.Factory(list)

    @property
    def problems(self) -> int:
        """How much is wrong."""
        return self.duplicates + self.orphans + self.certificates + self.tallies + self.others + self.surveys

    def tell(self, line: str) -> None:
        """Keep the first few."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(line)


def verify(shards: Shards) -> Findings:
    """Check every row; raises ``StoreError`` for a database that cannot be read or lacks tables."""
    require(shards)
    found = Findings(dict.fromkeys(shards.names, 0))
    layout = shards.layout(shards.names)
    for chunk in chunks(shards):
        found.rows[shards.names[chunk.place[0]]] += len(chunk.ips)
        for stray in strays(shards, layout, chunk):
            copies, orphan = len(stray.copies) - 1, stray.right not in stray.copies
            found.duplicates += copies
            found.orphans += orphan
            there = ", ".join(_name(shards, place) for place in sorted(stray.copies))
            what = f"{stray.survey}, {stray.key[0]} port {stray.key[1]}"
            found.tell(f"{what}: in {there}; belongs in {_name(shards, stray.right)}")
    _check_certificates(shards, found)
    _check_tallies(shards, layout, found)
    _check_others(shards, layout, found)
    _check_surveys(shards, found)
    return found


def chunks(shards: Shards) -> Iterator[Chunk]:
    """Go through the addresses of all rows, by server, table and survey, in the order of the key.

    No transaction is open while a chunk is in use, so its rows may be moved.
    """
    for server, shard in enumerate(shards):
        for number, table in enumerate(shards.schema.observations):
            with shard.begin() as connection:
                surveys = list(connection.scalars(select(table.c.survey).distinct()))
            for survey in surveys:
                query = select(table.c.ip).where(table.c.survey == survey).order_by(table.c.ip).limit(_SCAN)
                last = ""
                while True:
                    with shard.begin() as connection:
                        ips = list(connection.scalars(query.where(table.c.ip > last)))
                    if not ips:
                        break
                    yield Chunk((server, number), survey, ips)
                    last = ips[-1]  # with the ports that did not fit, whose address was in this chunk


def strays(shards: Shards, layout: Layout, chunk: Chunk) -> Iterator[Stray]:
    """Give the rows of a chunk that belong elsewhere, each only in the first place where it is wrong."""
    away = chunk.away(layout)
    for ips in batches(list(away)):
        for key, copies in _copies(shards, chunk.survey, ips).items():
            right = away[key[0]]
            if chunk.place == min((place for place in copies if place != right), default=None):
                yield Stray(chunk.survey, key, right, copies)


def batches(ips: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut into pieces for one statement each."""
    return (ips[start : start + BATCH] for start in range(0, len(ips), BATCH))


def states(
    connection: Connection, table: Table, survey: str, ips: Iterable[str], *, update: bool = False
) -> dict[Key, State]:
    """Read the state of the rows of some addresses, with ``update`` to keep them until the end of the transaction."""
    query = select(table.c.ip, table.c.port, table.c.time, row_digest(connection, table.c))
    query = query.where(table.c.survey == survey, table.c.ip.in_(ips))
    rows = connection.execute(query.with_for_update() if update else query)
    return {(ip, port): (time, digest) for ip, port, time, digest in rows}


def _copies(shards: Shards, survey: str, ips: Sequence[str]) -> dict[Key, dict[Place, State]]:
    found: defaultdict[Key, dict[Place, State]] = defaultdict(dict)
    for server, shard in enumerate(shards):
        with shard.begin() as connection:
            for number, table in enumerate(shards.schema.observations):
                for key, state in states(connection, table, survey, ips).items():
                    found[key][server, number] = state
    return found


def _check_certificates(shards: Shards, found: Findings) -> None:
    certificates = shards.schema.certificates
    for shard in shards:
        for table in shards.schema.observations:
            joined = table.outerjoin(certificates, table.c.certificate == certificates.c.sha256)
            lacking = (table.c.certificate.is_not(None), certificates.c.sha256.is_(None))
            with shard.begin() as connection:
                count = connection.scalar(select(func.count()).select_from(joined).where(*lacking)) or 0
                first = select(table.c.certificate).select_from(joined).where(*lacking).limit(1)
                example = connection.scalar(first) if count else None
            found.certificates += count
            if example:
                found.tell(f"{shard.name} {table.name}: no certificate {example}")


def _check_tallies(shards: Shards, layout: Layout, found: Findings) -> None:
    table = shards.schema.tallies
    for server, shard in enumerate(shards):
        with shard.begin() as connection:
            counts = connection.execute(select(table.c.survey, func.count()).group_by(table.c.survey)).all()
        for survey, count in counts:
            home = layout.place(survey)[0]
            if home != server:
                found.tallies += count
                found.tell(f"tallies of {survey}: in {shard.name}; belong in {shards.names[home]}")


def _check_others(shards: Shards, layout: Layout, found: Findings) -> None:
    for each in misplaced(shards, layout):
        found.others += len(each.values)
        of = "" if each.survey is None else f"{each.survey}, "
        there, right = shards.names[each.server], shards.names[each.right]
        found.tell(f"{each.table.name} {of}{each.values[0]}: in {there}; belongs in {right}")


def _check_surveys(shards: Shards, found: Findings) -> None:
    labels: dict[str, set[str]] = {}
    for shard in shards:
        with shard.begin() as connection:
            labels[shard.name] = set(connection.scalars(select(shards.schema.surveys.c.label)))
    known = set().union(*labels.values())
    for name, there in labels.items():
        for label in sorted(known - there):
            found.surveys += 1
            found.tell(f"survey {label}: unknown to {name}")


def _name(shards: Shards, place: Place) -> str:
    return f"{shards.names[place[0]]} {shards.schema.observations[place[1]].name}"
