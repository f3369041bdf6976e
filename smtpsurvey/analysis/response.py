"""Who answered: targets by outcome, AS, country and source."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.table import Table, ranked, regroup, share
from smtpsurvey.outcomes import Outcome

if TYPE_CHECKING:
    from collections import Counter

NOT_CONTACTED = frozenset((Outcome.EXCLUDED, Outcome.LOCAL_ERROR))
"""Outcomes that say nothing about a host."""


class Fate(NamedTuple):
    """What became of a target, and where it came from. Targets that were only counted have one too."""

    source: str | None
    outcome: str
    reason: str | None


class Place(NamedTuple):
    """Where a recorded target is, by the AS map, and what became of it."""

    asn: int | None
    country: str | None
    outcome: str


def contacted(targets: Counter[Fate]) -> int:
    """Count the targets to which a connection was tried."""
    return sum(count for fate, count in targets.items() if fate.outcome not in NOT_CONTACTED)


def outcomes(targets: Counter[Fate]) -> Table:
    """Targets by outcome; what was never contacted has no share of the contacted."""
    total, tried = targets.total(), contacted(targets)
    rows = tuple(
        (outcome, hosts, share(hosts, total), None if outcome in NOT_CONTACTED else share(hosts, tried))
        for outcome, hosts in ranked(regroup(targets, lambda fate: fate.outcome))
    )
    return Table("outcomes", ("outcome",), ("hosts", "share_of_targets", "share_of_contacted"), rows)


def exclusions(targets: Counter[Fate]) -> Table:
    """Targets that were never contacted, by reason."""
    total = targets.total()
    skipped = {fate: count for fate, count in targets.items() if fate.outcome in NOT_CONTACTED}
    rows = tuple(
        (*key, hosts, share(hosts, total))
        for key, hosts in ranked(regroup(skipped, lambda fate: (fate.outcome, fate.reason)))
    )
    return Table("exclusions", ("outcome", "reason"), ("hosts", "share_of_targets"), rows)


def response_by_source(targets: Counter[Fate]) -> Table:
    """Hosts that answered (``hosts``), and targets contacted, by the list they came from."""
    tried = regroup(
        {fate: count for fate, count in targets.items() if fate.outcome not in NOT_CONTACTED}, lambda fate: fate.source
    )
    every = regroup(targets, lambda fate: fate.source)
    answered = dict.fromkeys(every, 0) | regroup(
        {fate: count for fate, count in targets.items() if fate.outcome == Outcome.OK}, lambda fate: fate.source
    )
    answering = sum(answered.values())
    rows = tuple(
        (source, hosts, share(hosts, answering), share(hosts, tried[source]), tried[source], every[source])
        for source, hosts in ranked(answered)
    )
    measures = ("hosts", "share_of_answering", "share_of_contacted", "contacted", "targets")
    return Table("response_by_source", ("source",), measures, rows)


def response_by_as(places: Counter[Place]) -> Table:
    """Hosts that answered (``hosts``), and targets recorded, by AS."""
    return _by_place("response_by_as", "asn", places)


def response_by_country(places: Counter[Place]) -> Table:
    """Hosts that answered (``hosts``), and targets recorded, by country of allocation."""
    return _by_place("response_by_country", "country", places)


def _by_place(name: str, label: str, places: Counter[Place]) -> Table:
    tried = {place: count for place, count in places.items() if place.outcome not in NOT_CONTACTED}
    recorded = regroup(tried, lambda place: getattr(place, label))
    answered = dict.fromkeys(recorded, 0) | regroup(
        {place: count for place, count in tried.items() if place.outcome == Outcome.OK},
        lambda place: getattr(place, label),
    )
    answering = sum(answered.values())
    rows = tuple(
        (key, hosts, share(hosts, answering), share(hosts, recorded[key]), recorded[key])
        for key, hosts in ranked(answered)
    )
    return Table(name, (label,), ("hosts", "share_of_answering", "share_of_recorded", "recorded"), rows)
