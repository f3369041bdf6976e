"""Moves some rows: copied, read back after the commit and compared, and only then deleted where they were."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Table, select

from smtpsurvey.store import StoreError
from smtpsurvey.store.checksum import row_digest
from smtpsurvey.store.upsert import Upsert
from smtpsurvey.store.verify import batches, states

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smtpsurvey.store.shards import Shard, Shards
    from smtpsurvey.store.verify import Key, Place, State

_KNOWN = 50_000  # certificates remembered to be on a server, at most
_DIGESTS = msgspec.json.Decoder(list[str])


class Mover:
    """Moves observations, and copies the certificates that these refer to.

    A copy that is there already is kept if it is later; so whatever was done of a move, doing it again ends the same.
    """

    def __init__(self, shards: Shards) -> None:
        """Prepare the statements."""
        self._shards = shards
        self._observations = [
            [Upsert(table, shard.engine.dialect) for table in shards.schema.observations] for shard in shards
        ]
        self._certificates = [Upsert(shards.schema.certificates, shard.engine.dialect, keep=True) for shard in shards]
        self._known: defaultdict[tuple[int, int], set[str]] = defaultdict(set)

    def move(self, source: Place, to: Place, survey: str, ips: Sequence[str]) -> int:
        """Move the rows of some addresses; gives how many were deleted where they had been."""
        here, there = self._shards[source[0]], self._shards[to[0]]
        table, target = (self._shards.schema.observations[number] for number in (source[1], to[1]))
        with here.begin() as connection:
            query = select(*table.c, row_digest(connection, table.c).label("digest"))
            rows = connection.execute(query.where(table.c.survey == survey, table.c.ip.in_(ips))).all()
        state = {(row.ip, row.port): (row.time, row.digest) for row in rows}
        self._copy_certificates(source[0], to[0], rows)
        with there.change() as connection:
            others = states(connection, target, survey, ips, update=True)
            better = [row[:-1] for row in rows if others.get((row.ip, row.port), ("",)) < (row.time, row.digest)]
            if better:
                self._observations[to[0]][to[1]].execute(connection, sorted(better, key=_key))
        with there.begin() as connection:
            copied = states(connection, target, survey, ips)
        for key, wanted in state.items():
            if copied.get(key, ("",)) < wanted:
                raise StoreError(f"{there.name} {target.name}: {survey}, {key[0]} is not what was written")
        return _delete(here, table, survey, state)

    def _copy_certificates(self, source: int, to: int, rows: Iterable[Any]) -> None:
        if source == to:
            return
        table, known = self._shards.schema.certificates, self._known[source, to]
        wanted = {row.certificate for row in rows if row.certificate is not None}
        for row in rows:
            wanted.update(_DIGESTS.decode(row.chain) if row.chain else ())
        for digests in batches(sorted(wanted - known)):
            with self._shards[source].begin() as connection:
                found = connection.execute(select(table).where(table.c.sha256.in_(digests))).all()
            with self._shards[to].begin() as connection:
                if found:
                    self._certificates[to].execute(connection, sorted(map(tuple, found)))
        if len(known) > _KNOWN:
            known.clear()
        known.update(wanted)


def _delete(shard: Shard, table: Table, survey: str, state: dict[Key, State]) -> int:
    """Delete the rows of these addresses, but of those where something has changed since."""
    with shard.change() as connection:
        now = states(connection, table, survey, {ip for ip, _ in state}, update=True)
        changed = {ip for (ip, _), _ in now.items() ^ state.items()}
        ips = {ip for ip, _ in state} - changed
        connection.execute(table.delete().where(table.c.survey == survey, table.c.ip.in_(ips)))
        return sum(ip in ips for ip, _ in state)


def _key(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(row[:3])
