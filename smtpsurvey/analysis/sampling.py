"""Shares and totals of a population, estimated from a random sample, with intervals.

An interval is right only where the targets are a random sample of the population it speaks of; whether they are is
for the caller to know.
"""

from __future__ import annotations

from math import erfc, sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Z95 = 1.959963984540054
"""The quantile of the normal distribution that leaves 2.5 % on either side."""


class Interval(NamedTuple):
    """An estimate, and the ends of its interval at 95 % confidence."""

    estimate: float
    low: float
    high: float

    def times(self, whole: float) -> Interval:
        """Scale a share to a total."""
        return Interval(self.estimate * whole, self.low * whole, self.high * whole)


class Stratum(NamedTuple):
    """A part of the population: its size, how many of it were sampled, and how many of those have the property."""

    population: int
    sample: int
    hits: int


def wilson(hits: int, sample: int, z: float = Z95) -> Interval | None:
    """Give a share with Wilson's score interval (1927); ``None`` for an empty sample.

    It keeps its coverage for shares near 0 and 1, where the textbook interval does not (Brown, Cai and DasGupta,
    Statistical Science 16(2), 2001).
    """
    if not sample:
        return None
    return _score(hits / sample, sample, z)


def _score(share: float, size: float, z: float) -> Interval:
    """Wilson's interval around a share, for a sample of a size that need not be a whole number."""
    square = z * z / size
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * sqrt(share * (1 - share) / size + square / (4 * size))
    # Rounding must not put the estimate outside: at 0 and at 1 the interval ends there.
    return Interval(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def stratified(strata: Sequence[Stratum], z: float = Z95) -> Interval | None:
    """Give the share of a population sampled in strata at different rates; ``None`` where a stratum has no sample.

    The estimate weighs each stratum by its size (Cochran, Sampling Techniques, 1977, section 5.3). The interval is
    Wilson's for the effective sample size: that of a simple random sample with the same variance, each stratum's
    variance being reckoned at its share shrunk by z²/2 pseudo-observations either way, so that strata without a hit
    do not claim to be certain. Strata of size 0 do not count.
    """
    parts = [stratum for stratum in strata if stratum.population]
    whole = sum(stratum.population for stratum in parts)
    if not whole or not all(stratum.sample for stratum in parts):
        return None
    share = sum(part.population * part.hits / part.sample for part in parts) / whole
    variance = 0.0
    shrunk = 0.0
    for part in parts:
        weight = part.population / whole
        near = (part.hits + z * z / 2 * share) / (part.sample + z * z / 2)
        shrunk += weight * near
        variance += weight * weight * near * (1 - near) / part.sample
    if not variance:  # every stratum is all hits, or has none
        return _score(share, sum(part.sample for part in parts), z)
    return _score(share, shrunk * (1 - shrunk) / variance, z)


def differ(one: tuple[int, int], other: tuple[int, int]) -> float | None:
    """Give the two-sided p-value of two shares (hits, sample) being the same, by the pooled z-test, or ``None``."""
    hits, sizes = (one[0], other[0]), (one[1], other[1])
    if not all(sizes):
        return None
    pooled = sum(hits) / sum(sizes)
    error = sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
    if not error:
        return None
    return erfc(abs(hits[0] / sizes[0] - hits[1] / sizes[1]) / error / sqrt(2))
