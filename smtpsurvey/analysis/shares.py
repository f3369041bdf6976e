"""Market shares, by address: who makes the software of the hosts that answered, what it is, which version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.table import Row, Table, ranked, regroup, share

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

_FAMILY = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?![0-9])")
_MEASURES = ("hosts", "share_of_answering", "share_of_identified")
TOP = 5
"""Products of the history, as in the surveys' published chart."""


class Verdict(NamedTuple):
    """What was found to run on a host that answered; ``product`` is ``None`` where it was not identified."""

    vendor: str | None
    product: str | None
    version: str | None


class Round(NamedTuple):
    """A survey in the history: its label, when it started (ISO 8601), and hosts that answered by verdict."""

    label: str
    started: str
    software: Counter[Verdict]


def shares_product(software: Counter[Verdict]) -> Table:
    """Shares of products among the hosts that answered."""
    return _shares("shares_product", ("product", "vendor"), software, lambda verdict: (verdict.product, verdict.vendor))


def shares_vendor(software: Counter[Verdict]) -> Table:
    """Shares of vendors; a product whose vendor no rule names stands for itself."""
    return _shares("shares_vendor", ("vendor",), software, lambda verdict: (verdict.vendor or verdict.product,))


def shares_version(software: Counter[Verdict]) -> Table:
    """Shares of versions, each with the family it belongs to."""
    return _shares(
        "shares_version",
        ("product", "family", "version"),
        software,
        lambda verdict: (verdict.product, verdict.version and family(verdict.version), verdict.version),
    )


def history(rounds: Sequence[Round], current: str) -> Table:
    """Shares of the five products that lead in the survey labelled ``current``, in every round by its start."""
    by_product = {
        round_.label: regroup(round_.software, lambda verdict: verdict.product)
        for round_ in sorted(rounds, key=lambda round_: round_.started)
    }
    started = {round_.label: round_.started for round_ in rounds}
    top = [product for product, _ in ranked(by_product[current]) if product is not None][:TOP]
    rows: list[Row] = []
    for label, counts in by_product.items():
        answering = counts.total()
        for product in top:
            hosts = counts[product]
            part = share(hosts, answering), share(hosts, answering - counts[None])
            rows.append((label, started[label], product, hosts, *part))
    return Table("history", ("survey", "started", "product"), _MEASURES, tuple(rows))


def family(version: str) -> str:
    """Give the family of a version: its first two numbers (``4.97.1`` is of ``4.97``), else the version itself."""
    match = _FAMILY.match(version)
    return match[0] if match else version


def _shares(
    name: str, labels: tuple[str, ...], software: Counter[Verdict], label: Callable[[Verdict], tuple[str | None, ...]]
) -> Table:
    answering = software.total()
    identified = sum(count for verdict, count in software.items() if verdict.product is not None)
    # Whether it was identified is part of the key: a label alone may not tell.
    counts = regroup(software, lambda verdict: (label(verdict), verdict.product is not None))
    rows = tuple(
        (*key, hosts, share(hosts, answering), share(hosts, identified) if known else None)
        for (key, known), hosts in ranked(counts)
    )
    return Table(name, labels, _MEASURES, rows)
