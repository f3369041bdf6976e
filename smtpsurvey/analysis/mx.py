"""Where the mail of domains goes: who has an MX, what is wrong with it, and how few take the mail of most."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.concentration import concentration, curve
from smtpsurvey.analysis.table import Row, Table, ranked, share
from smtpsurvey.outcomes import DnsOutcome, MxFlag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ANSWERS = frozenset((DnsOutcome.OK, DnsOutcome.NXDOMAIN, DnsOutcome.NO_DATA))
TOP = 1000
"""The leading exchanges and addresses that a table lists."""


class Looked(NamedTuple):
    """What the MX look-up of a domain gave. ``flags`` are those of any of its exchanges."""

    outcome: str
    implicit: bool
    null_mx: bool
    flags: frozenset[str]


def mx_summary(domains: Counter[Looked], tuples: int, addresses: int) -> Table:
    """Domains by what became of their look-up (``hosts`` counts domains; the last two rows pairs and addresses).

    ``tuples`` counts different pairs of address and domain, ``addresses`` different addresses. A domain can be in
    several rows: those below ``answered`` are parts of it.
    """
    whole = domains.total()
    ok = {looked: count for looked, count in domains.items() if looked.outcome == DnsOutcome.OK}
    with_mx = sum(count for looked, count in ok.items() if not looked.implicit and not looked.null_mx)
    facts: list[tuple[str, int]] = [
        ("domains", whole),
        ("answered", sum(domains[looked] for looked in domains if looked.outcome in _ANSWERS)),
        ("with_mx", with_mx),
        ("implicit_mx", sum(count for looked, count in ok.items() if looked.implicit)),
        ("null_mx", sum(count for looked, count in ok.items() if looked.null_mx)),
    ]
    facts += [(f"flag_{flag}", sum(count for looked, count in ok.items() if flag in looked.flags)) for flag in MxFlag]
    for outcome in DnsOutcome:
        if outcome != DnsOutcome.OK:
            count = sum(count for looked, count in domains.items() if looked.outcome == outcome)
            facts.append((f"outcome_{outcome}", count))
    rows: list[Row] = [(name, count, share(count, whole)) for name, count in facts]
    rows += [("address_domain_pairs", tuples, None), ("addresses", addresses, None)]
    return Table("mx_summary", ("fact",), ("hosts", "share_of_domains"), tuple(rows))


def mx_top(serving: Mapping[tuple[str, str], int], domains: int) -> Table:
    """Who takes the mail of most domains; ``serving`` counts domains by kind (``address``, ``provider`` …) and name."""
    places: Counter[str] = Counter()
    rows: list[Row] = []
    for (kind, name), count in ranked(serving):
        places[kind] += 1
        if places[kind] <= TOP:
            rows.append((kind, places[kind], name, count, share(count, domains)))
    return Table("mx_top", ("kind", "place", "name"), ("hosts", "share_of_domains"), tuple(rows))


def mx_curve(sizes: Mapping[int, int]) -> Table:
    """Cumulative share of the domains that the largest addresses serve (``{domains: addresses}``)."""
    return curve("mx_curve", sizes)


def mx_concentration(spread: Sequence[tuple[str, Mapping[int, int]]]) -> Table:
    """Gini and Herfindahl-Hirschman of how domains are spread, for each of several kinds of holder."""
    rows = tuple(
        (kind, sum(sizes.values()), sum(size * count for size, count in sizes.items()), *concentration(sizes))
        for kind, sizes in spread
    )
    return Table("mx_concentration", ("kind",), ("hosts", "domains", "gini", "hhi"), rows)
