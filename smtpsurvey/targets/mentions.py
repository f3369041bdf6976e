"""Targets that are more than an IPv4 address: a name, tag or port beside it, IPv6, host names; in a table on disk."""

from __future__ import annotations

from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING, NamedTuple

import attrs
import numpy as np

from smtpsurvey.items import DEFAULT_PORT, Target
from smtpsurvey.targets.sieve import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb
    from numpy.typing import NDArray

    from smtpsurvey.outcomes import Reason
    from smtpsurvey.targets.lines import HostName
    from smtpsurvey.targets.permutation import Permutation
    from smtpsurvey.targets.sieve import Sieve

GATHERED = 50_000  # rows inserted at a time
_TABLE = """CREATE TABLE mentions (key UINTEGER, bare BOOLEAN, address VARCHAR, port USMALLINT, name VARCHAR,
            tag VARCHAR, reason UTINYINT, source USMALLINT, number BIGINT)"""
_UNIQUE = """CREATE TABLE named AS
    SELECT key, bare, address, port, arg_min(name, number) FILTER (name IS NOT NULL) AS name,
           arg_min(tag, number) FILTER (tag IS NOT NULL) AS tag, max(reason) AS reason,
           list_sort(list(DISTINCT source)) AS sources
    FROM mentions GROUP BY key, bare, address, port ORDER BY key, address, port"""


class Named(NamedTuple):
    """A target with what is beside its address; ``bare`` ones are an IPv4 address at the default port otherwise.

    ``key`` is its place in the order of the list, ``reason`` where in
    :data:`~smtpsurvey.targets.sieve.REASONS` it stands why it is none, ``sources`` the numbers of all that gave it.
    """

    key: int
    bare: bool
    address: str
    port: int
    name: str | None
    tag: str | None
    reason: int
    sources: list[int]

    @property
    def number(self) -> int | None:
        """Return an IPv4 address as a number, ``None`` for anything else."""
        try:
            return int.from_bytes(inet_pton(AF_INET, self.address), "big")
        except OSError:
            return None

    @property
    def line(self) -> bytes:
        """Return its line of a target list."""
        fields = [self.address, self.name or "", self.tag or "", "" if self.port == DEFAULT_PORT else str(self.port)]
        return ",".join(map(_quoted, fields)).rstrip(",").encode() + b"\n"


@attrs.define
class _Gathered:
    """Columns of the table, and the addresses of those whose key is that of the bare address."""

    address: list[str] = attrs.field(factory=list)
    port: list[int] = attrs.field(factory=list)
    name: list[str | None] = attrs.field(factory=list)
    tag: list[str | None] = attrs.field(factory=list)
    reason: list[int] = attrs.field(factory=list)
    source: list[int] = attrs.field(factory=list)
    key: list[int] = attrs.field(factory=list)
    bare: list[bool] = attrs.field(factory=list)


class Mentions:
    """Keeps every mention; the first name and the first tag given for an address and port are theirs."""

    def __init__(self, database: duckdb.DuckDBPyConnection, order: Permutation, seed: int, sieve: Sieve) -> None:
        """Keep them in tables of the database; ``order`` gives the keys of IPv4 addresses, ``seed`` those of others."""
        self._database = database
        self._order = order
        self._key = str(seed).encode()[:64]
        self._sieve = sieve
        self._rows = _Gathered()
        self._count = 0
        self.unique = 0
        database.execute(_TABLE)

    def add(self, targets: Iterable[Target | HostName], source: int) -> NDArray[np.uint32]:
        """Take targets of a source; returns the keys of those that are IPv4 addresses at the default port."""
        rows, numbers, places = self._rows, [], []
        for target in targets:
            address, packed = _canonical(target)
            bare = len(packed) == 4 and target.port == DEFAULT_PORT  # noqa: PLR2004 -- IPv4
            name = _name_of(target)
            if bare:
                numbers.append(int.from_bytes(packed, "big"))
                places.append(len(rows.key))
            rows.key.append(0 if bare else self._key_of(packed or address.encode(), target.port))
            rows.bare.append(bare)
            rows.address.append(address)
            rows.port.append(target.port)
            rows.name.append(name)
            rows.tag.append(target.tag)
            rows.reason.append(REASONS.index(self._reason(target, address, name)))
            rows.source.append(source)
        keys = self._order.at(np.array(numbers, np.uint32))
        for place, key in zip(places, keys.tolist(), strict=True):
            rows.key[place] = key
        if len(rows.key) >= GATHERED:
            self._flush()
        return keys

    def finish(self) -> None:
        """Find the unique ones."""
        self._flush()
        self._database.execute(_UNIQUE)
        self._database.execute("DROP TABLE mentions")
        ((self.unique,),) = self._database.execute("SELECT count(*) FROM named").fetchall()

    def between(self, low: int, high: int) -> list[Named]:
        """Return those with keys from ``low`` to ``high``, in order."""
        if not self.unique:
            return []
        rows = self._database.execute(
            "SELECT * FROM named WHERE key BETWEEN ? AND ? ORDER BY key, address, port", [low, high]
        )
        return [Named(*row) for row in rows.fetchall()]

    def _key_of(self, address: bytes, port: int) -> int:
        made = blake2b(address + port.to_bytes(2, "big"), digest_size=4, key=self._key, person=b"targets")
        return int.from_bytes(made.digest(), "big")

    def _reason(self, target: Target | HostName, address: str, name: str | None) -> Reason | None:
        if isinstance(target, Target):
            return self._sieve.of_address(address) or (self._sieve.of_name(name) if name else None)
        return self._sieve.of_name(target.name) or (self._sieve.of_name(target.label) if target.label else None)

    def _flush(self) -> None:
        rows = self._rows
        if rows.key:
            columns = {
                "key": np.array(rows.key, np.uint32),
                "bare": np.array(rows.bare, np.bool_),
                "address": np.array(rows.address, np.object_),
                "port": np.array(rows.port, np.uint16),
                "name": np.array(rows.name, np.object_),
                "tag": np.array(rows.tag, np.object_),
                "reason": np.array(rows.reason, np.uint8),
                "source": np.array(rows.source, np.uint16),
                "number": np.arange(self._count, self._count + len(rows.key)),
            }
            self._database.register("gathered", columns)
            self._database.execute(f"INSERT INTO mentions SELECT {', '.join(columns)} FROM gathered")  # noqa: S608 -- names of ours
            self._database.unregister("gathered")
            self._count += len(rows.key)
            self._rows = _Gathered()


def _canonical(target: Target | HostName) -> tuple[str, bytes]:
    """Return what stands in the first column, and the packed address (``b""``: a host name)."""
    if not isinstance(target, Target):
        return target.name, b""
    family = AF_INET6 if ":" in target.ip else AF_INET
    packed = inet_pton(family, target.ip)
    return inet_ntop(family, packed), packed


def _name_of(target: Target | HostName) -> str | None:
    if isinstance(target, Target):
        return target.name
    return target.label if target.label != target.name else None


def _quoted(field: str) -> str:
    """Write a field of CSV (RFC 4180)."""
    return '"' + field.replace('"', '""') + '"' if "," in field or '"' in field else field
