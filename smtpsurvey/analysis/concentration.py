"""How unequally something is spread: many domains on few servers, or a few on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.table import Table, share

if TYPE_CHECKING:
    from collections.abc import Mapping

RANKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
"""Where the cumulative curve is read."""


class Concentration(NamedTuple):
    """Two numbers for a distribution. Both are ``None`` where there is nothing to share.

    ``gini`` is 0 where all have the same and nears 1 where one has everything; ``hhi``, the Herfindahl-Hirschman
    index, is the sum of the squared shares, from 1/n to 1.
    """

    gini: float | None
    hhi: float | None


def concentration(sizes: Mapping[int, int]) -> Concentration:
    """Measure a distribution given as holders by what each has (``{domains: servers with that many}``)."""
    holders = sum(sizes.values())
    total = sum(size * count for size, count in sizes.items())
    if not total:
        return Concentration(None, None)
    below, weighted, squares = 0, 0, 0
    for size in sorted(sizes):
        count = sizes[size]
        # The sum of the ranks (from 1, smallest first) of this size's holders, doubled.
        weighted += size * count * (2 * below + count + 1)
        below += count
        squares += size * size * count
    return Concentration(weighted / (holders * total) - (holders + 1) / holders, squares / total**2)


def curve(name: str, sizes: Mapping[int, int]) -> Table:
    """Cumulative share of what the largest holders have: the first 1, 2, 3, 5, 10 … and all of them."""
    total = sum(size * count for size, count in sizes.items())
    holders = sum(sizes.values())
    rows, ranks = [], [rank for rank in RANKS if rank < holders] + ([holders] if holders else [])
    taken, held = 0, 0
    largest = iter(sorted(sizes.items(), reverse=True))
    size, left = 0, 0
    for rank in ranks:
        while taken < rank:
            if not left:
                size, left = next(largest)
                continue
            step = min(left, rank - taken)
            taken, left, held = taken + step, left - step, held + step * size
        rows.append((rank, held, share(held, total)))
    return Table(name, ("largest",), ("domains", "share_of_domains"), tuple(rows))
