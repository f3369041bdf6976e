"""What each way of finding targets contributed, and how many servers none of them found."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.capture import estimate
from smtpsurvey.analysis.table import Row, Table, ranked, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpsurvey.analysis.capture import Found

JOINED = " + "
"""Between the names of techniques that found the same hosts."""


class Yield(NamedTuple):
    """Of the addresses that the same techniques found: how many there are, and how many answered SMTP."""

    targets: int
    live: int


def techniques(found: Mapping[Found, Yield]) -> Table:
    """Tell what each technique found: live hosts (``hosts``), those of nobody else, and targets tried for each.

    ``found`` has one entry for each set of techniques that found the same addresses.
    """
    live, unique, targets = Counter[str](), Counter[str](), Counter[str]()
    for names, each in found.items():
        for name in names:
            targets[name] += each.targets
            live[name] += each.live
            unique[name] += each.live if len(names) == 1 else 0
    every = sum(each.live for names, each in found.items() if names)
    rows = tuple(
        (
            name,
            hosts,
            share(hosts, every),
            unique[name],
            share(unique[name], every),
            targets[name],
            share(hosts, targets[name]),
            share(targets[name], hosts),
        )
        for name, hosts in ranked({name: live[name] for name in targets})
    )
    measures = (
        "hosts",
        "share_of_live",
        "unique",
        "unique_share_of_live",
        "targets",
        "share_of_targets",
        "targets_per_host",
    )
    return Table("techniques", ("technique",), measures, rows)


def technique_overlap(found: Mapping[Found, Yield]) -> Table:
    """Live hosts by exactly which techniques found them, the largest sets first."""
    live = {JOINED.join(sorted(names)): each.live for names, each in found.items() if names and each.live}
    every = sum(live.values())
    rows = tuple((names, names.count(JOINED) + 1, hosts, share(hosts, every)) for names, hosts in ranked(live))
    return Table("technique_overlap", ("techniques", "number"), ("hosts", "share_of_live"), rows)


def technique_population(found: Mapping[Found, Yield]) -> Table:
    """Estimate how many live hosts there are, those included that no technique found, with a 95 % interval.

    One row, or none where there are not two techniques to compare (:mod:`smtpsurvey.analysis.capture`).
    """
    live = {names: each.live for names, each in found.items() if names and each.live}
    size = estimate(live)
    rows: tuple[Row, ...] = ()
    if size is not None:
        method, interval = size
        seen = sum(live.values())
        numbers = [round(value) for value in interval]
        rows = ((method, seen, *numbers, numbers[0] - seen),)
    measures = ("hosts", "population", "population_low", "population_high", "missed")
    return Table("technique_population", ("method",), measures, rows)
