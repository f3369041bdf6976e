"""A keyed permutation of the numbers below ``size``: the order of a list, and sampling without replacement."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.uint32]

MAX_SIZE = 1 << 32
ROUNDS = 8
_PIECE = 1 << 15  # numbers at a time: what a round works on stays in the processor's cache
# Odd multipliers of a finaliser with little bias (Wellons, "Prospecting for hash functions", 2018: lowbias32).
_FIRST, _SECOND = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)


class Permutation:
    """A bijection of ``0 … size - 1`` that looks random and is the same for the same seed, on every machine.

    A balanced Feistel network (Luby and Rackoff, 1988) of eight rounds over the next even number of bits; a number
    that leaves the range is sent through again until it comes back (cycle walking: Black and Rogaway, 2002), four
    times on average at the worst. Memory does not grow with ``size``, and any index can be asked at once.
    """

    def __init__(self, size: int, seed: int) -> None:
        """Permute the numbers below ``size``, 1 to 2**32."""
        if not 0 < size <= MAX_SIZE:
            raise ValueError(f"{size} is not from 1 to 2^32")
        self.size = size
        half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._half, self._mask = np.uint32(half), np.uint32((1 << half) - 1)
        self._whole = size == 1 << 2 * half  # nothing to walk
        digest = blake2b(f"{size}:{seed}".encode(), digest_size=4 * ROUNDS, person=b"targets").digest()
        self._keys = np.frombuffer(digest, "<u4").astype(np.uint32)

    def at(self, indices: Numbers) -> Numbers:
        """Return the number at each index."""
        return self._walk(indices, self._keys, swapped=False)

    def index_of(self, numbers: Numbers) -> Numbers:
        """Return the index of each number: the inverse of :meth:`at`."""
        return self._walk(numbers, self._keys[::-1], swapped=True)

    def _walk(self, numbers: Numbers, keys: Numbers, *, swapped: bool) -> Numbers:
        out = np.empty(len(numbers), np.uint32)
        for start in range(0, len(numbers), _PIECE):
            piece = self._network(numbers[start : start + _PIECE], keys, swapped=swapped)
            if not self._whole:
                outside = np.flatnonzero(piece >= self.size)
                while len(outside):
                    piece[outside] = self._network(piece[outside], keys, swapped=swapped)
                    outside = outside[piece[outside] >= self.size]
            out[start : start + _PIECE] = piece
        return out

    def _network(self, numbers: Numbers, keys: Numbers, *, swapped: bool) -> Numbers:
        """Run the rounds; backwards is the same with the keys reversed and the halves swapped before and after."""
        left, right = numbers >> self._half, numbers & self._mask
        if swapped:
            left, right = right, left
        for key in keys:
            mixed = (right ^ key) * _FIRST
            mixed ^= mixed >> np.uint32(15)
            mixed *= _SECOND
            mixed >>= np.uint32(16)  # the high bits are the best mixed
            mixed ^= left
            left, right = right, mixed & self._mask
        if swapped:
            left, right = right, left
        return (left << self._half) | right
