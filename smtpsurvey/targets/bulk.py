"""IPv4 addresses by the million: text to numbers, numbers to text, numbers to shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Numbers = NDArray[np.uint32]
    Places = NDArray[np.intp]

_LF, _DOT, _ZERO = 10, 46, 48
_OCTETS = 4
_PIECE = 1 << 15  # addresses at a time: their text stays in the processor's cache
_HIGHEST = 255


def _texts(end: str) -> NDArray[np.uint64]:
    """Tabulate the text of two octets: ``"192.168" + end``, eight bytes with NULs where digits are missing."""
    table = np.empty((256, 256, 2), "S4")
    table[:, :, 0] = np.array([f"{octet}." for octet in range(256)])[:, None]
    table[:, :, 1] = np.array([f"{octet}{end}" for octet in range(256)])
    return table.view(np.uint64).ravel()


_UPPER, _LOWER = _texts("."), _texts("\n")


class Parsed(NamedTuple):
    """What complete lines hold: the bare IPv4 addresses, and the lines that are anything else.

    ``numbers`` are in the order of the lines. Line ``others[i]`` (from 0) is ``block[begins[i]:ends[i]]``, its LF
    not included.
    """

    numbers: Numbers
    others: Places
    begins: Places
    ends: Places
    lines: int


def parse_lines(block: bytes) -> Parsed:
    """Read lines that end in LF, of which most are an IPv4 address in canonical text and nothing else."""
    text = np.frombuffer(block, np.uint8)
    digits = text - np.uint8(_ZERO)  # wraps around for what comes before "0"
    stops = np.flatnonzero(digits > 9)  # noqa: PLR2004 -- each ends a field of digits, of no digits too
    values, good = _fields(digits, stops)
    kinds = text[stops]
    good &= (kinds == _DOT) | (kinds == _LF)
    ends = np.flatnonzero(kinds == _LF)  # which stops end lines
    before = np.concatenate(([-1], ends[:-1]))
    # An address is four good fields, the last of which ends the line.
    last = np.flatnonzero(ends - before == _OCTETS)
    octets = ends[last, None] + np.arange(1 - _OCTETS, 1)
    last_good = good[octets].all(axis=1)
    parts = values[octets[last_good]].astype(np.uint32)
    numbers = parts[:, 0] << 24 | parts[:, 1] << 16 | parts[:, 2] << 8 | parts[:, 3]
    other = np.ones(len(ends), bool)
    other[last[last_good]] = False
    others = np.flatnonzero(other)
    ends_at = stops[ends]
    begins_at = np.concatenate(([0], ends_at[:-1] + 1))
    return Parsed(numbers, others, begins_at[others], ends_at[others], len(ends))


def _fields(digits: Bytes, stops: Places) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Read the field of digits before each stop; good are 0 to 255 without leading zeros."""
    lengths = np.diff(stops, prepend=-1) - 1
    two, three = lengths > 1, lengths > 2  # noqa: PLR2004
    # An index before the first byte is clipped: the length masks what it gives.
    values = digits.take(stops - 1, mode="clip").astype(np.uint16)
    values += digits.take(stops - 2, mode="clip") * np.uint16(10) * two
    values += digits.take(stops - 3, mode="clip") * np.uint16(100) * three
    good = (lengths > 0) & (lengths <= 3) & (values <= _HIGHEST)  # noqa: PLR2004
    good &= ~two | (values >= 10)  # noqa: PLR2004 -- a leading zero
    good &= ~three | (values >= 100)  # noqa: PLR2004
    return values, good


def format_lines(numbers: Numbers) -> bytes:
    """Write each address in canonical text and a LF behind it."""
    return b"".join(_format(numbers[start : start + _PIECE]) for start in range(0, len(numbers), _PIECE))


def _format(numbers: Numbers) -> bytes:
    rows = np.empty((len(numbers), 2), np.uint64)
    rows[:, 0], rows[:, 1] = _UPPER[numbers >> 16], _LOWER[numbers & 0xFFFF]
    text: Bytes = rows.view(np.uint8).ravel()
    written: Bytes = text[text != 0]
    return written.tobytes()


class Ranked:
    """The IPv4 addresses of ranges ``(first, last)``, one after another, by their rank from 0."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Take the ranges in this order; they may overlap."""
        ends = np.array(list(ranges), np.int64).reshape(-1, 2)
        sizes = ends[:, 1] - ends[:, 0] + 1
        self.size = int(sizes.sum())
        self._begins = np.cumsum(sizes) - sizes  # the rank of each range's first address
        self._shifts = ends[:, 0] - self._begins

    def at(self, ranks: NDArray[np.int64]) -> Numbers:
        """Return the addresses of these ranks."""
        addresses: Numbers = (ranks + self._shifts[np.searchsorted(self._begins, ranks, "right") - 1]).astype(np.uint32)
        return addresses


def _crc_tables() -> list[Numbers]:
    """Tabulate CRC-32 of four bytes, which is linear but for the CRC of four zeros: one table for each byte."""
    zero = crc32(bytes(_OCTETS))
    messages = [[bytes(at) + bytes([octet]) + bytes(3 - at) for octet in range(256)] for at in range(_OCTETS)]
    return [np.array([crc32(message) ^ (zero if at else 0) for message in messages[at]], np.uint32) for at in range(4)]


_CRC = _crc_tables()


def shards_of(numbers: Numbers, count: int) -> NDArray[np.uint32]:
    """Return the shard of each address, as :func:`~smtpsurvey.targets.shard.shard_of` does."""
    octets = numbers.astype(">u4").view(np.uint8).reshape(-1, _OCTETS)
    crc = _CRC[0][octets[:, 0]] ^ _CRC[1][octets[:, 1]] ^ _CRC[2][octets[:, 2]] ^ _CRC[3][octets[:, 3]]
    return ((crc.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)).astype(np.uint32)
