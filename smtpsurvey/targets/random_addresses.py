"""Random addresses without replacement: ``random:N``, ``random:P%``, of all public IPv4 or of given prefixes.

As the surveys of random addresses since 1996 and as ZMap: uniform, reproducible by its seed, and any index can be
asked for at once. Nothing is kept but the ranges.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import numpy as np

from smtpsurvey.admission.exclusions import networks_of
from smtpsurvey.errors import SurveyError
from smtpsurvey.targets.bulk import Ranked
from smtpsurvey.targets.permutation import Permutation
from smtpsurvey.targets.sieve import Sieve
from smtpsurvey.targets.sources import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from smtpsurvey.targets.sources import Report

AT_ONCE = 1 << 20
_ARGUMENT = re.compile(
    r"(?:(?P<number>\d{1,10})|(?P<percent>\d{1,3}(?:\.\d{1,12})?)%)(?:@(?P<prefixes>[^+]+))?(?:\+(?P<start>\d{1,10}))?"
)


class RandomAddresses:
    """The IPv4 addresses of disjoint ranges ``(first, last)`` in a random order, each once."""

    def __init__(self, ranges: Sequence[tuple[int, int]], seed: int) -> None:
        """Take the ranges, in order; raises ValueError when there is no address in them."""
        self._ranked = Ranked(ranges)
        self.size = self._ranked.size
        self._order = Permutation(self.size, seed)

    def at(self, start: int, count: int) -> NDArray[np.uint32]:
        """Return the addresses from index ``start`` on; fewer than ``count`` where they end."""
        indices = np.arange(start, min(start + count, self.size), dtype=np.int64).astype(np.uint32)
        return self._ranked.at(self._order.at(indices).astype(np.int64))


class RandomSource:
    """``random:N``, ``random:N@CIDR,CIDR`` or ``random:P%``; ``+START`` goes on with the same addresses from there."""

    def __init__(self, argument: str, report: Report) -> None:
        """Read the argument; raises SurveyError."""
        self.label = f"random:{argument}"
        match = _ARGUMENT.fullmatch(argument)
        if match is None:
            raise SurveyError(f"{self.label} is not random:N, N@CIDR,CIDR or P%, with +START or without")
        options = report.options
        within = networks_of(self.label, match["prefixes"].split(",")) if match["prefixes"] else None
        ranges = Sieve(networks_of("SMTPSURVEY_ALLOW", options.allow)).spans()
        if within is not None:
            if not all(isinstance(network, IPv4Network) for network in within):
                raise SurveyError(f"{self.label}: random addresses are IPv4")
            ranges = _common(ranges, _merged([(int(net[0]), int(net[-1])) for net in within]))
        if not ranges:
            raise SurveyError(f"{self.label}: every address there is reserved")
        self.addresses = RandomAddresses(ranges, options.seed)
        size = self.addresses.size
        self.count = int(match["number"]) if match["number"] else round(size * float(match["percent"]) / 100)
        self.start = int(match["start"] or 0)
        if self.count > size:
            raise SurveyError(f"{self.label}: there are {size:,} addresses that are not reserved")
        if self.start > self.count:
            raise SurveyError(f"{self.label}: nothing is left at {self.start:,} of {self.count:,}")

    def blocks(self) -> Iterator[Block]:
        """Yield the addresses, a million at a time, in an order that the seed decides."""
        for start in range(self.start, self.count, AT_ONCE):
            yield Block(v4=self.addresses.at(start, min(AT_ONCE, self.count - start)))


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put overlapping ranges together."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _common(some: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is in both; either is disjoint and in order."""
    found = []
    at = 0
    for first, last in some:
        while at < len(others) and others[at][1] < first:
            at += 1
        here = at
        while here < len(others) and others[here][0] <= last:
            found.append((max(first, others[here][0]), min(last, others[here][1])))
            here += 1
    return found
