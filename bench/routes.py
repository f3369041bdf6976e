"""Routing tables of the real one's shape: blocks packed densely, more specifics in them, as lines and as MRT."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

V4_LENGTHS = dict(zip(range(12, 25), [0.03, 0.04, 0.1, 0.2, 2, 1.2, 2, 3.5, 6, 6, 14, 10, 55], strict=True))
V6_LENGTHS = {29: 20, 32: 45, 36: 3, 40: 5, 44: 5, 48: 22}
V4_SPECIFIC = {18: 1, 19: 2, 20: 4, 21: 5, 22: 12, 23: 12, 24: 64}
V6_SPECIFIC = {33: 4, 36: 8, 40: 12, 44: 10, 46: 3, 48: 63}
V6_BLOCKS = {0x2001: 10, 0x2400: 25, 0x2600: 25, 0x2800: 12, 0x2A00: 45, 0x2C00: 5}  # what the RIRs have, and how full
COUNTRIES = "US DE BR CN JP FR RU IN GB NL".split()  # noqa: SIM905
ASES, HOLDERS, MOAS = 80_000, 60_000, 200  # one prefix in MOAS has two origins

Prefix = tuple[int, int, int]  # bits of its addresses, first address, length


class Table(NamedTuple):
    """Origins of prefixes; country and opaque-id of what is delegated."""

    routes: dict[Prefix, tuple[int, ...]]
    delegated: dict[Prefix, tuple[str, str]]

    def at(self, bits: int, address: int) -> tuple[Prefix | None, Prefix | None]:
        """Return the most specific prefix and the most specific delegation that hold an address."""
        around = [(bits, address >> bits - length << bits - length, length) for length in range(min(bits, 48), 0, -1)]
        prefix, place = (next((each for each in around if each in table), None) for table in self)
        return prefix, place


def make_table(prefixes: int) -> Table:
    """Make a table of so many prefixes: 80 % IPv4, of these 45 % within others; of IPv6 70 %."""
    rng = random.Random(1)  # noqa: S311 -- the same table each time is the point
    roots4, roots6 = list(_v4_roots(rng, prefixes * 44 // 100)), list(_v6_roots(rng, prefixes * 6 // 100))
    found = dict.fromkeys([(32, *root) for root in roots4] + [(128, *root) for root in roots6])
    for bits, roots, lengths, until in (
        (32, roots4, V4_SPECIFIC, prefixes * 86 // 100),
        (128, roots6, V6_SPECIFIC, prefixes),
    ):
        specifics = _specifics(rng, bits, roots, lengths)
        while len(found) < until:
            found[next(specifics)] = None
    routes = {}
    for number, prefix in enumerate(found):
        asn = 1 + min(int(rng.paretovariate(0.4)), 10 * ASES) % ASES
        routes[prefix] = (asn,) if number % MOAS else (asn, asn + 1)
    delegated = {
        (bits, first, length): (rng.choice(COUNTRIES), f"{rng.randrange(HOLDERS):08x}-1f5c-4c1d-8f6a-0242ac120002")
        for bits, roots in ((32, roots4), (128, roots6))
        for first, length in roots
        if bits == 128 or length < 23 or rng.random() < 0.4  # noqa: PLR2004 -- small networks are announced by others
    }
    return Table(routes, delegated)


def write_caida(table: Table, path: Path) -> None:
    """Write the routes as CAIDA does, in any order."""
    lines = [
        f"{_text(bits, first)}\t{length}\t{'_'.join(map(str, ases))}\n"
        for (bits, first, length), ases in table.routes.items()
    ]
    random.Random(2).shuffle(lines)  # noqa: S311 -- as above
    path.write_text("".join(lines), "ascii")


def write_delegated(table: Table, path: Path) -> None:
    """Write what is delegated as a RIR does."""
    with path.open("w", encoding="ascii") as file:
        for (bits, first, length), (country, holder) in table.delegated.items():
            kind, value = ("ipv4", 1 << 32 - length) if bits == 32 else ("ipv6", length)  # noqa: PLR2004 -- IPv4
            file.write(f"ripencc|{country}|{kind}|{_text(bits, first)}|{value}|20100101|allocated|{holder}\n")


def write_rib(routes: Iterable[tuple[Prefix, tuple[int, ...]]], peers: int, path: Path) -> None:
    """Write an MRT file in which each of so many peers has a route to each prefix."""
    rng = random.Random(3)  # noqa: S311 -- as above
    with path.open("wb") as file:
        table = bytes(6) + struct.pack(">H", peers)
        file.write(_record(1, table + b"".join(struct.pack(">B4x4xI", 2, 65_000 + peer) for peer in range(peers))))
        for number, ((bits, first, length), ases) in enumerate(routes):
            octets = first.to_bytes(bits // 8, "big")[: (length + 7) // 8]
            body = struct.pack(">IB", number, length) + octets + struct.pack(">H", peers)
            for peer in range(peers):
                hops = [
                    65_000 + peer,
                    *(rng.randrange(1, ASES) for _ in range(rng.randrange(1, 4))),
                    ases[peer % len(ases)],
                ]
                attributes = b"\x40\1\1\0" + struct.pack(
                    f">BBHBB{len(hops)}I", 0x50, 2, 2 + 4 * len(hops), 2, len(hops), *hops
                )
                attributes += b"\x40\3\4" + bytes([10, 0, 0, peer]) + b"\xc0\x08\x0c" + rng.randbytes(12)
                body += struct.pack(">HIH", peer, 0, len(attributes)) + attributes
            file.write(_record(2 if bits == 32 else 4, body))  # noqa: PLR2004 -- IPv4


def sample(table: Table, count: int) -> Iterator[tuple[str, list[int], str, str | None]]:
    """Yield addresses in announced prefixes, with what a map must say: origins, prefix, country."""
    rng = random.Random(4)  # noqa: S311 -- as above
    for bits, first, length in rng.choices(list(table.routes), k=count):
        address = first + rng.getrandbits(bits - length)
        prefix, place = table.at(bits, address)
        assert prefix is not None  # noqa: S101 -- one at least was chosen
        country = None if place is None else table.delegated[place][0]
        yield _text(bits, address), list(table.routes[prefix]), f"{_text(bits, prefix[1])}/{prefix[2]}", country


def _v4_roots(rng: random.Random, count: int) -> Iterator[tuple[int, int]]:
    at = 1 << 24
    for length in _chosen(rng, V4_LENGTHS, count):
        size = 1 << 32 - length
        if rng.random() < 0.15:  # noqa: PLR2004 -- a gap
            at += rng.choice([256, 1024, 4096, 8192])
        at = -(-at // size) * size
        yield at, length
        at += size


def _v6_roots(rng: random.Random, count: int) -> Iterator[tuple[int, int]]:
    ends = {block: block << 112 for block in V6_BLOCKS}
    blocks = rng.choices(list(V6_BLOCKS), list(V6_BLOCKS.values()), k=count)
    for block, length in zip(blocks, _chosen(rng, V6_LENGTHS, count), strict=True):
        size = 1 << 128 - length
        at = -(-ends[block] // size) * size
        ends[block] = at + size + (rng.choice([0, 0, 1, 3]) << (96 if length <= 32 else 84))  # noqa: PLR2004
        yield at, length


def _specifics(
    rng: random.Random, bits: int, roots: Sequence[tuple[int, int]], lengths: dict[int, float]
) -> Iterator[Prefix]:
    """Yield more specifics of the roots, more of bigger ones, without end and some again."""
    longest = max(lengths)
    wide = [root for root in roots if root[1] < longest]
    weights = [(longest - length) ** 2 for _, length in wide]
    while True:
        for (first, around), length in zip(
            rng.choices(wide, weights, k=5000), _chosen(rng, lengths, 5000), strict=True
        ):
            within = max(length, around + 1) - around
            # In the big networks of IPv6 the low numbers are used first.
            host = rng.getrandbits(within) if within < 10 or rng.random() < 0.2 else rng.randrange(256)  # noqa: PLR2004
            yield bits, first | host << bits - around - within, around + within


def _chosen(rng: random.Random, weights: dict[int, float], count: int) -> list[int]:
    return rng.choices(list(weights), list(weights.values()), k=count)


def _record(subtype: int, body: bytes) -> bytes:
    return struct.pack(">IHHI", 0, 13, subtype, len(body)) + body


def _text(bits: int, address: int) -> str:
    return str(IPv4Address(address) if bits == 32 else IPv6Address(address))  # noqa: PLR2004 -- IPv4
