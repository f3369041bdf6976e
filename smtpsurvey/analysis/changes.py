"""What changed between two surveys, host by host; a host is an address and a port that answered."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.table import Table, ranked, regroup, share

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping


class Change(StrEnum):
    """What became of a host from one survey to the next."""

    APPEARED = "appeared"  # answers now, did not then
    VANISHED = "vanished"  # answered then, does not now
    PRODUCT_CHANGED = "product_changed"  # identified both times, as different products
    VERSION_CHANGED = "version_changed"  # the same product, its version known both times and different


class Pair(NamedTuple):
    """A host in two surveys: whether it answered in each, and what was identified there."""

    asn: int | None
    before: bool
    now: bool
    old_product: str | None
    old_version: str | None
    product: str | None
    version: str | None


def change(pair: Pair) -> Change | None:
    """Tell what changed, ``None`` if nothing did. A host that was identified in one survey only has not changed."""
    if not pair.before:
        return Change.APPEARED
    if not pair.now:
        return Change.VANISHED
    if pair.old_product is None or pair.product is None:
        return None
    if pair.old_product != pair.product:
        return Change.PRODUCT_CHANGED
    if pair.old_version is None or pair.version is None or pair.old_version == pair.version:
        return None
    return Change.VERSION_CHANGED


def changes(since: Mapping[str, Counter[Pair]]) -> Table:
    """Hosts by change since each compared survey; the share is of the hosts that answered in either."""
    rows = []
    for label, pairs in since.items():
        counts = regroup(pairs, change)
        rows += [(label, str(kind), counts[kind], share(counts[kind], pairs.total())) for kind in Change]
    return Table("changes", ("since", "change"), ("hosts", "share_of_either"), tuple(rows))


def changes_by_as(since: Mapping[str, Counter[Pair]]) -> Table:
    """Hosts by change in each AS; the share is of the hosts there that answered in either survey."""
    rows: list[tuple[str, int | None, str, int, float | None]] = []
    for label, pairs in since.items():
        totals = regroup(pairs, lambda pair: pair.asn)
        for (asn, kind), hosts in ranked(regroup(pairs, lambda pair: (pair.asn, change(pair)))):
            if kind is not None:
                rows.append((label, asn, str(kind), hosts, share(hosts, totals[asn])))
    return Table("changes_by_as", ("since", "asn", "change"), ("hosts", "share_of_either"), tuple(rows))
