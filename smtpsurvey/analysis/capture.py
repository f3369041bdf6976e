"""How many servers no technique found: capture-recapture over the techniques that found the others."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import exp, log, sqrt
from typing import TYPE_CHECKING

from smtpsurvey.analysis.sampling import Z95, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping

Found = frozenset[str]
"""The techniques that found a host."""

ASSUMPTIONS = (
    "The population did not change while it was searched; a host is the same in every list; every host can be found "
    "by every technique; and (for two lists) finding it by one makes finding it by the other neither likelier nor less "
    "likely. Lists that feed on the same sources break the last, and then the estimate is too low."
)
"""What the estimates rest on, for whoever reads them."""


def chapman(first: int, second: int, both: int, z: float = Z95) -> Interval:
    """Estimate the size of a population from two lists (Chapman 1951), with a log-transformed interval.

    ``first`` and ``second`` are the hosts on each list, ``both`` those on the two. The variance is that of Seber
    (1970); the interval is reckoned on the logarithm of the hosts not found (Chao 1987), so that it never goes below
    what was found.
    """
    seen = first + second - both
    size = (first + 1) * (second + 1) / (both + 1) - 1
    variance = (first + 1) * (second + 1) * (first - both) * (second - both) / ((both + 1) ** 2 * (both + 2))
    return _above(seen, size, variance, z)


def chao(found: Mapping[Found, int], z: float = Z95) -> Interval | None:
    """Estimate the size of a population from several lists (Chao 1987, the lower bound); ``None`` below two lists.

    ``found`` counts hosts by the lists they are on. Unlike Chapman's it allows that some hosts are easier to find than
    others, and then it is a lower bound. The form with the bias corrected (Chao 1989) is defined also where no host is
    on exactly two lists.
    """
    lists = len(frozenset().union(*found)) if found else 0
    if lists < 2:  # noqa: PLR2004 - one list says nothing about what it lacks
        return None
    times: Counter[int] = Counter()
    for names, hosts in found.items():
        if names:
            times[len(names)] += hosts
    seen, once, twice = times.total(), times[1], times[2]
    factor = (lists - 1) / lists
    missed = factor * once * (once - 1) / (2 * (twice + 1))
    variance = (
        missed
        + factor**2 * once * (2 * once - 1) ** 2 / (4 * (twice + 1) ** 2)
        + factor**2 * once**2 * twice * (once - 1) ** 2 / (4 * (twice + 1) ** 4)
    )
    return _above(seen, seen + missed, variance, z)


def estimate(found: Mapping[Found, int], z: float = Z95) -> tuple[str, Interval] | None:
    """Estimate by the method that fits the number of lists: its name, and the size with its interval."""
    names = sorted(frozenset().union(*found)) if found else []
    if len(names) == 2:  # noqa: PLR2004 - Chapman's case
        first, second = (sum(hosts for lists, hosts in found.items() if name in lists) for name in names)
        both = sum(hosts for lists, hosts in found.items() if len(lists) > 1)
        return "chapman", chapman(first, second, both, z)
    size = chao(found, z)
    return None if size is None else ("chao", size)


def overlaps(found: Mapping[Found, int]) -> dict[tuple[str, str], int]:
    """Count the hosts that each two lists have in common."""
    names = sorted(frozenset().union(*found)) if found else []
    return {
        pair: sum(hosts for lists, hosts in found.items() if lists.issuperset(pair)) for pair in combinations(names, 2)
    }


def _above(seen: int, size: float, variance: float, z: float) -> Interval:
    """Put a log-normal interval around the hosts not seen, above those that were."""
    missed = size - seen
    if missed <= 0 or variance <= 0:
        return Interval(size, size, size)
    spread = exp(z * sqrt(log(1 + variance / missed**2)))
    return Interval(size, seen + missed / spread, seen + missed * spread)
