"""A set of 64-bit keys in few bytes: which addresses or domains have been had already."""

from __future__ import annotations

from array import array
from socket import AF_INET, AF_INET6, inet_pton

PARTS = 256  # each grows by itself, so that growing never takes long
FIRST = 16  # slots of a new part
_MASK = (1 << 64) - 1
_SPREAD = 0x9E3779B97F4A7C15  # Fibonacci hashing (Knuth, volume 3, section 6.4)


class Seen:
    """Remembers the last ``limit`` keys at least and twice as many at most; 11 to 21 bytes each.

    Whatever is older counts as new again, so that memory has a bound whatever comes.
    """

    def __init__(self, limit: int = 1 << 25) -> None:
        """Remember so many."""
        self._limit = limit
        self._young, self._old = _Table(), _Table()

    def add(self, key: int) -> bool:
        """Take a key, and tell whether it is new."""
        if key in self._old or not self._young.add(key):
            return False
        if self._young.count >= self._limit:
            self._old, self._young = self._young, _Table()
        return True


class _Table:
    """Open addressing in ``PARTS`` parts; 0 is a free slot."""

    def __init__(self) -> None:
        self.count = 0
        self._parts = [array("Q", bytes(8 * FIRST)) for _ in range(PARTS)]
        self._counts = [0] * PARTS

    def __contains__(self, key: int) -> bool:
        mixed = _mix(key)
        part = self._parts[mixed & PARTS - 1]
        return part[_slot(part, mixed)] != 0

    def add(self, key: int) -> bool:
        mixed = _mix(key)
        number = mixed & PARTS - 1
        part = self._parts[number]
        slot = _slot(part, mixed)
        if part[slot]:
            return False
        part[slot] = mixed
        self.count += 1
        self._counts[number] += 1
        if self._counts[number] * 4 > len(part) * 3:
            grown = self._parts[number] = array("Q", bytes(16 * len(part)))
            for each in part:
                if each:
                    grown[_slot(grown, each)] = each
        return True


def key_of(ip: str) -> int:
    """Make a key of a canonical address: IPv4 exactly, IPv6 by a hash that differs from run to run."""
    return hash(inet_pton(AF_INET6, ip)) if ":" in ip else int.from_bytes(inet_pton(AF_INET, ip), "big")


def _mix(key: int) -> int:
    return (key * _SPREAD & _MASK) or 1


def _slot(part: array[int], mixed: int) -> int:
    """Find the slot that holds a key, or the free one where it belongs."""
    last = len(part) - 1
    slot = mixed >> 32 & last
    while part[slot] and part[slot] != mixed:
        slot = slot + 1 & last
    return slot
