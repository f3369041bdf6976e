"""Makes MRT routing tables (RFC 6396, TABLE_DUMP_V2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpsurvey.admission.ranges import Network

    Route = tuple[int, bytes]

SET, SEQUENCE, CONFEDERATION = 1, 2, 3
IPV4, IPV6, IPV4_PATHS, IPV6_PATHS = 2, 4, 8, 10
PEERS = (65001, 65002, 400_003)


def record(subtype: int, body: bytes, kind: int = 13) -> bytes:
    return struct.pack(">IHHI", 1_764_000_000, kind, subtype, len(body)) + body


def peer_table(peers: Sequence[int] = PEERS, name: bytes = b"view") -> bytes:
    """Make a PEER_INDEX_TABLE; peers are IPv4 and IPv6 in turn, their ASes of two octets where that will do."""
    body = b"\xc0\0\2\1" + struct.pack(">H", len(name)) + name + struct.pack(">H", len(peers))
    for at, asn in enumerate(peers):
        wide = asn > 0xFFFF
        address = bytes(15 if at % 2 else 3) + b"\1"
        body += bytes([at % 2 | wide << 1]) + bytes(4) + address + struct.pack(">I" if wide else ">H", asn)
    return record(1, body)


def segment(kind: int, *ases: int) -> bytes:
    return struct.pack(f">BB{len(ases)}I", kind, len(ases), *ases)


def attribute(kind: int, value: bytes) -> bytes:
    if len(value) > 255:
        return struct.pack(">BBH", 0x50, kind, len(value)) + value
    return struct.pack(">BBB", 0x40, kind, len(value)) + value


def attributes(path: bytes) -> bytes:
    return attribute(1, b"\0") + attribute(2, path) + attribute(3, b"\xc0\0\2\1")


def rib(prefix: Network, routes: Sequence[Route], *, paths: bool = False) -> bytes:
    """Make a RIB record of ``(peer, attributes)`` pairs."""
    subtype = (IPV4 if prefix.version == 4 else IPV6) + (6 if paths else 0)
    octets = (prefix.prefixlen + 7) // 8
    body = struct.pack(">IB", 7, prefix.prefixlen) + prefix.network_address.packed[:octets]
    body += struct.pack(">H", len(routes))
    for number, (peer, attrs) in enumerate(routes):
        body += struct.pack(">HI", peer, 1) + (struct.pack(">I", number) if paths else b"")
        body += struct.pack(">H", len(attrs)) + attrs
    return record(subtype, body)
