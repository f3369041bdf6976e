"""Address ranges, each with a value, looked up in a fraction of a microsecond."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Network = IPv4Network | IPv6Network
V = TypeVar("V")


class RangeMap(Generic[V]):
    """Values of the ranges of one address family, disjoint and without gaps (``None`` between them).

    Built from layers ``(network, value)``: a later layer paints over the earlier ones, so a ``None``
    carves a hole. ``starts`` holds the first address of each range, packed in network byte order
    (which sorts as the numbers do), and ``values`` the value of each.
    """

    def __init__(self, layers: Iterable[tuple[Network, V | None]], width: int) -> None:
        """Paint the layers; ``width`` is the length of a packed address in bytes: 4 or 16."""
        self.starts: list[bytes] = []
        self.values: list[V | None] = []
        painted = [(int(network.network_address), int(network.broadcast_address), value) for network, value in layers]
        for first, value in _flatten(painted, 1 << 8 * width):
            if not self.values or value is not self.values[-1]:
                self.starts.append(first.to_bytes(width, "big"))
                self.values.append(value)

    def at(self, packed: bytes) -> V | None:
        """Return the value of the range that holds the packed address."""
        return self.values[bisect_right(self.starts, packed) - 1]


def _flatten(painted: Sequence[tuple[int, int, V | None]], end: int) -> Iterable[tuple[int, V | None]]:
    """Yield ``(first, value)`` wherever the topmost layer may change, from address 0 on."""
    cuts = {0}
    for first, last, _ in painted:
        cuts.update((first, last + 1))
    cuts.discard(end)
    arriving = sorted(range(len(painted)), key=lambda layer: painted[layer][0], reverse=True)
    top: list[int] = []  # a heap of the layers that have begun, the latest first
    for cut in sorted(cuts):
        while arriving and painted[arriving[-1]][0] == cut:
            heappush(top, -arriving.pop())
        while top and painted[-top[0]][1] < cut:
            heappop(top)
        yield cut, painted[-top[0]][2] if top else None


class AddressMap(Generic[V]):
    """A :class:`RangeMap` for IPv4 and one for IPv6, asked with the text of an address."""

    def __init__(self, layers: Iterable[tuple[Network, V | None]]) -> None:
        """Paint the layers, each ``(network, value)``, later over earlier."""
        layers = list(layers)
        self.ipv4 = RangeMap([layer for layer in layers if layer[0].version == 4], 4)  # noqa: PLR2004 -- IPv4
        self.ipv6 = RangeMap([layer for layer in layers if layer[0].version == 6], 16)  # noqa: PLR2004 -- IPv6

    def at(self, ip: str) -> V | None:
        """Return the value at ``ip``; raises OSError when that is no IPv4 or IPv6 address."""
        if ":" in ip:
            return self.ipv6.at(inet_pton(AF_INET6, ip))
        return self.ipv4.at(inet_pton(AF_INET, ip))


def covering(ip: str, length: int) -> str:
    """Return the CIDR of ``length`` bits that holds ``ip``: ``covering("192.0.2.1", 24) == "192.0.2.0/24"``."""
    family = AF_INET6 if ":" in ip else AF_INET
    packed = inet_pton(family, ip)
    rest = 8 * len(packed) - length
    first = int.from_bytes(packed, "big") >> rest << rest
    return f"{inet_ntop(family, first.to_bytes(len(packed), 'big'))}/{length}"
