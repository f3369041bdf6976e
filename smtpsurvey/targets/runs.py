"""Keys of 32 bits in sorted runs on disk, read back in order a piece at a time: any number in little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Numbers = NDArray[np.uint32]

RUN = 1 << 22  # keys sorted at a time
PIECE = 1 << 20  # keys read back at a time, about
SLOTS = 1 << 12  # parts of the range of keys; where each begins is kept for every run
_WIDTH = (1 << 32) // SLOTS
_EDGES = np.arange(1, SLOTS, dtype=np.uint32) * np.uint32(_WIDTH)
_BYTES = 4


class Piece(NamedTuple):
    """The keys from ``low`` to ``high``, both included, of each source that has any: sorted, each once."""

    low: int
    high: int
    keys: dict[int, Numbers]


@attrs.frozen
class _Run:
    source: int
    offset: int  # in keys
    slots: NDArray[np.int64]  # where each slot begins in the run, and the end


class Runs:
    """Takes keys in any order; gives them back sorted. Keys are as good as random, or pieces come out uneven."""

    def __init__(self, path: Path) -> None:
        """Write to ``path``, which the caller removes."""
        self._path = path
        self._file = path.open("wb")
        self._runs: list[_Run] = []
        self._waiting: list[Numbers] = []
        self._count = 0  # of keys waiting
        self._source = 0
        self._written = 0

    def add(self, keys: Numbers, source: int) -> None:
        """Take keys that a source gives."""
        if source != self._source:
            self.flush()
            self._source = source
        self._waiting.append(keys)
        self._count += len(keys)
        if self._count >= RUN:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._count:
            run = sorted_once(np.concatenate(self._waiting))
            self._waiting, self._count = [], 0
            slots = np.concatenate(([0], np.searchsorted(run, _EDGES), [len(run)])).astype(np.int64)
            run.tofile(self._file)
            self._runs.append(_Run(self._source, self._written, slots))
            self._written += len(run)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def pieces(self, others: int = 0) -> Iterator[Piece]:
        """Yield everything that has been flushed, in order; ``others`` keys besides wait elsewhere."""
        step = max(1, min(SLOTS, SLOTS * PIECE // max(1, self._written + others)))
        for slot in range(0, SLOTS, step):
            behind = min(slot + step, SLOTS)
            found: dict[int, list[Numbers]] = {}
            for run in self._runs:
                first, last = run.slots[slot], run.slots[behind]
                if last > first:
                    keys = np.fromfile(
                        self._path, np.uint32, int(last - first), offset=_BYTES * (run.offset + int(first))
                    )
                    found.setdefault(run.source, []).append(keys)
            keys_of = {source: sorted_once(np.concatenate(parts)) for source, parts in found.items()}
            yield Piece(slot * _WIDTH, behind * _WIDTH - 1, keys_of)


def sorted_once(keys: Numbers) -> Numbers:
    """Return the keys in order, each once."""
    keys = np.sort(keys)
    return keys[np.concatenate(([True], keys[1:] != keys[:-1]))] if len(keys) else keys
