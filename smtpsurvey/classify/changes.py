"""What a new classification changed: from which product to which, how often, and a few examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smtpsurvey.items import SmtpItem, Software

EXAMPLES = 3
"""Examples kept of each change."""
MAX_KINDS = 1000
"""Kinds of changes told apart; names may be of servers' own making, so there is a bound."""
MAX_TEXT = 200
"""Characters of a text that an example keeps."""


class Example(msgspec.Struct):
    """An observation whose verdict changed; ``before`` and ``after`` are product and version, ``None`` if unknown."""

    ip: str
    port: int
    greeting: str
    before: str | None
    after: str | None


class Change(msgspec.Struct):
    """One kind of change: two products (``None``: not identified), or one and the ``fields`` that changed."""

    before: str | None
    after: str | None
    fields: tuple[str, ...]
    count: int = 0
    examples: list[Example] = []

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two changes the same kind."""
        return self.before, self.after, self.fields


class Changes(msgspec.Struct):
    """Changes by kind; ``others`` counts those of further kinds when there are :data:`MAX_KINDS`."""

    kinds: list[Change] = []
    others: int = 0

    @property
    def total(self) -> int:
        """All changes."""
        return self.others + sum(change.count for change in self.kinds)

    def ranked(self) -> list[Change]:
        """Most frequent first."""
        return sorted(self.kinds, key=lambda change: (-change.count, str(change.key)))

    def add(self, changed: Iterable[tuple[SmtpItem, Software | None]], fields: Sequence[str]) -> None:
        """Count observations that have their old verdict, with the new one, told apart by these fields."""
        known = {change.key: change for change in self.kinds}
        for item, verdict in changed:
            before, after = _product(item.software), _product(verdict)
            differing = () if before != after else _differing(item.software, verdict, fields)
            key = before, after, differing
            change = known.get(key)
            if change is None:
                if len(known) >= MAX_KINDS:
                    self.others += 1
                    continue
                change = known[key] = Change(before, after, differing)
                self.kinds.append(change)
            change.count += 1
            if len(change.examples) < EXAMPLES:
                change.examples.append(_example(item, verdict))

    def merge(self, other: Changes) -> None:
        """Add those of another database."""
        known = {change.key: change for change in self.kinds}
        self.others += other.others
        for change in other.kinds:
            mine = known.get(change.key)
            if mine is not None:
                mine.count += change.count
                mine.examples = (mine.examples + change.examples)[:EXAMPLES]
            elif len(self.kinds) < MAX_KINDS:
                self.kinds.append(change)
            else:
                self.others += change.count


def titled(software: Software | None) -> str | None:
    """Name product and version."""
    if software is None:
        return None
    return " ".join(filter(None, (software.product, software.version)))[:MAX_TEXT]


def _product(software: Software | None) -> str | None:
    return software.product[:MAX_TEXT] if software else None


def _differing(before: Software | None, after: Software | None, fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in fields if getattr(before, name, None) != getattr(after, name, None))


def _example(item: SmtpItem, verdict: Software | None) -> Example:
    greeting = item.greeting.text[:MAX_TEXT] if item.greeting else ""
    return Example(item.ip, item.port, greeting, titled(item.software), titled(verdict))
