"""MRT routing tables (RFC 6396): which ASes originate a prefix, by how many peers of the collector.

Only the origin of each route is looked at, since a table has tens of millions of routes. TABLE_DUMP_V2 is read, of
unicast, with several paths a peer (RFC 8050) too; its AS numbers have four octets throughout.
"""

from __future__ import annotations

import struct
from collections import Counter
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.admission.asmap import check_mappable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from smtpsurvey.admission.asmap import Origin, Origins
    from smtpsurvey.admission.ranges import Network


MAX_RECORD = 1 << 24
"""Bytes of a record at most: one holds the routes of all peers to one prefix."""

TABLE_DUMP_V2 = 13
HEAD = 12
"""Bytes of a record's header."""

_HEADER = struct.Struct(">IHHI")  # time, type, subtype, length (RFC 6396 section 2)
_PEER_INDEX_TABLE = 1
_ENTRY, _ENTRY_WITH_PATH = (
    struct.Struct(">HIH"),
    struct.Struct(">HIIH"),
)  # peer, time, (path id,) length of the attributes
_IPV6_PEER, _FOUR_OCTET_AS = 1, 2  # bits of a peer's type (RFC 6396 section 4.3.1)
_AS_PATH = 2  # RFC 4271 section 4.3
_EXTENDED_LENGTH = 0x10
_AS = struct.Struct(">I")
_AS_SET, _AS_SEQUENCE = 1, 2
_CONFEDERATION = (3, 4)  # RFC 5065 section 3: what happens inside one AS


class _Kind(NamedTuple):
    network: type[IPv4Network | IPv6Network]
    octets: int
    entry: struct.Struct


_RIBS = {
    2: _Kind(IPv4Network, 4, _ENTRY),
    4: _Kind(IPv6Network, 16, _ENTRY),
    8: _Kind(IPv4Network, 4, _ENTRY_WITH_PATH),
    10: _Kind(IPv6Network, 16, _ENTRY_WITH_PATH),
}


def is_mrt(head: bytes) -> bool:
    """Tell by its first :data:`HEAD` bytes whether a file holds MRT records of a routing table."""
    return len(head) >= _HEADER.size and _HEADER.unpack_from(head)[1] == TABLE_DUMP_V2


def read_rib(file: BinaryIO, bad: Callable[[int, str], None]) -> Iterator[tuple[int, tuple[Network, Origins]]]:
    """Yield record number (from 1), and prefix and origins, that of most peers first.

    ``bad`` is called with number and reason for records that are not understood, and for a file that ends within one.
    Raises what ``file`` raises.
    """
    peers: list[int] = []
    number = 0
    while header := file.read(_HEADER.size):
        number += 1
        kind, subtype, size = _HEADER.unpack(header)[1:] if len(header) == _HEADER.size else (0, 0, MAX_RECORD + 1)
        body = file.read(size) if size <= MAX_RECORD else b""
        if len(body) < size:
            bad(number, f"longer than {MAX_RECORD:,} bytes or cut off, the rest is lost")
            return
        try:
            if (kind, subtype) == (TABLE_DUMP_V2, _PEER_INDEX_TABLE):
                peers = _peers(body)
            elif kind == TABLE_DUMP_V2 and subtype in _RIBS:
                found = _routes(body, _RIBS[subtype], peers)
                if found[1]:
                    yield number, found
            else:
                bad(number, f"type {kind}, subtype {subtype} is no unicast routing table (TABLE_DUMP_V2)")
        except (IndexError, struct.error, ValueError) as error:
            bad(number, f"broken record: {error}")


def _peers(body: bytes) -> list[int]:
    """Return the AS of each peer (RFC 6396 section 4.3.1)."""
    at = 6 + struct.unpack_from(">H", body, 4)[0]
    (count,) = struct.unpack_from(">H", body, at)
    at += 2
    peers = []
    for _ in range(count):
        kind = body[at]
        at += 5 + (16 if kind & _IPV6_PEER else 4)
        width = 4 if kind & _FOUR_OCTET_AS else 2
        peers.append(int.from_bytes(body[at : at + width], "big"))
        at += width
    if at > len(body):
        raise ValueError(f"{len(body)} bytes where its peers take {at}")
    return peers


def _routes(body: bytes, kind: _Kind, peers: list[int]) -> tuple[Network, Origins]:
    """Read a RIB record (RFC 6396 sections 4.3.2 and 4.3.4)."""
    length = body[4]
    at = 5 + (length + 7) // 8
    bits = 8 * kind.octets
    if length > bits:
        raise ValueError(f"a prefix of {length} bits")
    address = int.from_bytes(body[5:at].ljust(kind.octets, b"\0"), "big") >> bits - length << bits - length
    (count,) = struct.unpack_from(">H", body, at)
    at += 2
    found: set[tuple[int, Origin]] = set()  # a peer may have several paths
    head, skip = kind.entry.unpack_from, kind.entry.size
    for _ in range(count):
        route = head(body, at)
        at += skip
        end = at + route[-1]
        origin = _origin(body[at:end])
        if origin is None:  # the peer's own
            origin = peers[route[0]]
        found.add((route[0], origin))
        at = end
    if at != len(body):
        raise ValueError(f"{len(body)} bytes where its entries take {at}")
    counts = Counter(origin for _, origin in found if origin)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], _as_set(item[0])))
    network = kind.network((address, length))
    check_mappable(network)
    return network, tuple(origin for origin, _ in ordered)


def _as_set(origin: Origin) -> tuple[int, ...]:
    return (origin,) if isinstance(origin, int) else origin


@lru_cache(maxsize=1 << 12)  # neighbours of one AS have the same attributes from a peer
def _origin(attributes: bytes) -> Origin | None:
    """Return the origin in a route's attributes: an AS, an AS set, 0 for none, ``None`` for an empty path."""
    at = 0
    while at < len(attributes):
        flags, kind, length = attributes[at], attributes[at + 1], attributes[at + 2]
        at += 3
        if flags & _EXTENDED_LENGTH:
            length = length << 8 | attributes[at]
            at += 1
        if kind == _AS_PATH:
            if at + length > len(attributes):
                raise ValueError("an AS path that ends beyond its route")
            return _end_of_path(attributes[at : at + length])
        at += length
    return 0


def _end_of_path(path: bytes) -> Origin | None:
    """Return the last AS of a path, or the AS set that it ends with (RFC 4271 section 4.3)."""
    last: tuple[int, bytes] | None = None
    at = 0
    while at < len(path):
        kind, end = path[at], at + 2 + 4 * path[at + 1]
        if end > len(path):
            raise ValueError("an AS path segment that ends beyond its path")
        if kind in {_AS_SET, _AS_SEQUENCE} and end > at + 2:
            last = kind, path[at + 2 : end]
        elif kind not in _CONFEDERATION:
            raise ValueError(f"an AS path segment of type {kind}")
        at = end
    if last is None:
        return None
    kind, ases = last
    if kind == _AS_SEQUENCE:
        return int.from_bytes(ases[-4:], "big")
    members = sorted({asn for (asn,) in _AS.iter_unpack(ases) if asn})
    return tuple(members) if len(members) > 1 else members[0] if members else 0
