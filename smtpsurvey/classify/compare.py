"""Where two rule sets differ on the same observations."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import attrs

from smtpsurvey.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpsurvey.classify.foreign import RuleSet
    from smtpsurvey.items import SmtpItem, Software


class Relation(StrEnum):
    """What two rule sets, A and B, say of one server."""

    SAME = "same"  # both name the same product, in the same version
    VERSION = "version"  # the same product, but not the same version
    DIFFERENT = "different"  # two products
    ONLY_A = "only_a"
    ONLY_B = "only_b"
    NEITHER = "neither"


class Pair(NamedTuple):
    """What one says and what the other: products, or under :attr:`Relation.VERSION` the product and its versions."""

    relation: Relation
    a: str | None
    b: str | None


@attrs.frozen(eq=False)
class Row:
    """A pair, how many servers got it, and the address and the greeting of the first."""

    pair: Pair
    count: int
    ip: str
    greeting: str


@attrs.define(eq=False)
class Comparison:
    """Counts by relation, and what differs, most frequent first."""

    observations: int = 0
    counts: Counter[Relation] = attrs.field(factory=Counter)
    rows: list[Row] = attrs.field(factory=list)


def compare(a: RuleSet, b: RuleSet, items: Iterable[SmtpItem]) -> Comparison:
    """Classify each server that answered by both, and count; servers that both name alike get no row."""
    counts: Counter[Pair] = Counter()
    examples: dict[Pair, tuple[str, str]] = {}
    for item in items:
        if item.outcome != Outcome.OK:
            continue
        pair = _pair(a.classify_item(item), b.classify_item(item))
        counts[pair] += 1
        if pair not in examples:
            examples[pair] = item.ip, item.greeting.text if item.greeting else ""
    made = Comparison(counts.total())
    for pair, count in counts.most_common():
        made.counts[pair.relation] += count
        if pair.relation not in {Relation.SAME, Relation.NEITHER}:
            made.rows.append(Row(pair, count, *examples[pair]))
    return made


def _pair(a: Software | None, b: Software | None) -> Pair:
    if a is None or b is None:
        relation = Relation.ONLY_A if a else Relation.ONLY_B if b else Relation.NEITHER
        return Pair(relation, a.product if a else None, b.product if b else None)
    if a.product.casefold() != b.product.casefold():
        return Pair(Relation.DIFFERENT, a.product, b.product)
    if a.version == b.version:
        return Pair(Relation.SAME, None, None)
    return Pair(Relation.VERSION, _versioned(a), _versioned(b))


def _versioned(software: Software) -> str:
    return software.product if software.version is None else f"{software.product} {software.version}"
