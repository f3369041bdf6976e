"""The mill: what all sources found goes in, unique targets come out in an order that depends on the seed alone.

The order is that of a key: for an IPv4 address at the default port its image under a keyed permutation of all 2**32
addresses, for anything else a keyed hash. So the first N targets are a uniform sample without replacement, the same for
the same seed and set, in whatever order the sources gave it.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from socket import AF_INET
from typing import TYPE_CHECKING

import attrs
import numpy as np

from smtpsurvey.items import Target
from smtpsurvey.targets.bulk import Ranked
from smtpsurvey.targets.mentions import GATHERED, Mentions, Named
from smtpsurvey.targets.permutation import MAX_SIZE, Permutation
from smtpsurvey.targets.runs import Runs
from smtpsurvey.targets.sieve import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb
    from numpy.typing import NDArray

    from smtpsurvey.targets.address import Span
    from smtpsurvey.targets.runs import Piece
    from smtpsurvey.targets.sieve import Sieve
    from smtpsurvey.targets.sources import Block

    Numbers = NDArray[np.uint32]

EXPANDED = 1 << 20  # addresses of spans at a time
NAMED_COST = 16  # a target with a name takes the memory of so many without
_SOURCE_BITS = np.uint64(16)


@attrs.define(eq=False)
class Batch:
    """Some unique targets, in order: IPv4 addresses (``numbers``, at their ``keys``) and others between them.

    ``named`` are those of the addresses that have a name or tag, ``others`` what is no plain IPv4 address.
    ``pairs`` has for each (address, source) pair the index in ``numbers`` and the source's number.
    ``removed`` counts what is no target, by reason; ``done`` is how far the list is with it, 0 to 1.
    """

    keys: Numbers
    numbers: Numbers
    named: list[Named]
    others: list[Named]
    pairs: tuple[NDArray[np.int64], NDArray[np.uint16]]
    removed: Counter[str]
    done: float

    def __len__(self) -> int:
        """Count the targets."""
        return len(self.numbers) + len(self.others)

    def first(self, count: int) -> Batch:
        """Return the first so many of them."""
        if count >= len(self):
            return self
        # Where two have the same key, plain addresses come first, as in the output.
        other_keys = np.array([other.key for other in self.others], np.uint32)
        places = np.searchsorted(self.keys, other_keys, "right") + np.arange(len(other_keys))
        others = int(np.searchsorted(places, count))
        plain = count - others
        at, sources = self.pairs
        kept = at < plain
        last = int(self.keys[plain - 1]) if plain else -1
        return Batch(
            self.keys[:plain],
            self.numbers[:plain],
            [named for named in self.named if named.key <= last],
            self.others[:others],
            (at[kept], sources[kept]),
            self.removed,
            self.done,
        )


class Mill:
    """Takes blocks of sources, then gives batches of targets. Memory does not grow with their number."""

    def __init__(self, folder: Path, database: duckdb.DuckDBPyConnection, seed: int, sieve: Sieve) -> None:
        """Keep what has come in a file in ``folder`` and in tables of ``database``."""
        self._sieve = sieve
        self._order = Permutation(MAX_SIZE, seed)
        self._runs = Runs(folder / "addresses.runs")
        self._mentions = Mentions(database, self._order, seed, sieve)

    def add(self, block: Block, source: int) -> int:
        """Take the targets of a block; returns how many, repeats included."""
        count = 0
        if block.v4 is not None:
            self._runs.add(self._order.at(block.v4), source)
            count += len(block.v4)
        if block.targets:
            self._runs.add(self._mentions.add(block.targets, source), source)
            count += len(block.targets)
        return count + self._expand(block.spans, source)

    def finish(self) -> None:
        """Say that all sources have ended."""
        self._runs.flush()
        self._mentions.finish()

    def close(self) -> None:
        """Close the file."""
        self._runs.close()

    def batches(self) -> Iterator[Batch]:
        """Yield all targets in order; may be asked again."""
        for piece in self._runs.pieces(NAMED_COST * self._mentions.unique):
            yield self._batch(piece, self._mentions.between(piece.low, piece.high))

    def _expand(self, spans: list[Span], source: int) -> int:
        ranked = Ranked((span.first, span.last) for span in spans if span.family == AF_INET)
        for start in range(0, ranked.size, EXPANDED):
            numbers = ranked.at(np.arange(start, min(start + EXPANDED, ranked.size)))
            self._runs.add(self._order.at(numbers), source)
        others = chain.from_iterable(span for span in spans if span.family != AF_INET)
        while some := [Target(ip) for ip in islice(others, GATHERED)]:
            self._runs.add(self._mentions.add(some, source), source)
        return sum(span.last - span.first + 1 for span in spans)

    def _batch(self, piece: Piece, named: list[Named]) -> Batch:
        keys, at, sources = _merged(piece.keys)
        numbers = self._order.index_of(keys)
        codes = self._sieve.codes(numbers)
        bare = [each for each in named if each.bare]
        others = [each for each in named if not each.bare]
        places = np.searchsorted(keys, np.array([each.key for each in bare], np.uint32))
        reasons = np.array([each.reason for each in bare], np.uint8)
        codes[places] = np.maximum(codes[places], reasons)  # opted out by name
        removed = Counter(_told(np.bincount(codes, minlength=len(REASONS)).tolist()))
        removed.update(str(REASONS[each.reason]) for each in others if each.reason)
        kept = codes == 0
        moved = np.cumsum(kept) - 1
        stays = kept[at]
        return Batch(
            keys[kept],
            numbers[kept],
            [each for each, place in zip(bare, places, strict=True) if kept[place] and (each.name or each.tag)],
            [each for each in others if not each.reason],
            (moved[at[stays]], sources[stays]),
            removed,
            (piece.high + 1) / MAX_SIZE,
        )


def _merged(found: dict[int, Numbers]) -> tuple[Numbers, NDArray[np.int64], NDArray[np.uint16]]:
    """Return the keys of all sources in order, each once; and for each pair the index of the key, and the source."""
    if len(found) == 1:
        ((source, keys),) = found.items()
        return keys, np.arange(len(keys)), np.full(len(keys), source, np.uint16)
    pairs = np.concatenate(
        [keys.astype(np.uint64) << _SOURCE_BITS | np.uint64(source) for source, keys in found.items()]
        or [np.array([], np.uint64)]
    )
    pairs.sort()
    of_pair = (pairs >> _SOURCE_BITS).astype(np.uint32)
    new = np.concatenate(([True], of_pair[1:] != of_pair[:-1])) if len(of_pair) else np.array([], bool)
    return of_pair[new], np.cumsum(new) - 1, (pairs & np.uint64(0xFFFF)).astype(np.uint16)


def _told(counts: Iterable[int]) -> dict[str, int]:
    return {str(reason): count for reason, count in zip(REASONS, counts, strict=True) if reason and count}
