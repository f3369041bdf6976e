"""A table: label columns first, then hosts, then shares (fractions of one)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Cell = str | int | float | bool | None
Row = tuple[Cell, ...]
Key = TypeVar("Key")
Old = TypeVar("Old")


@attrs.frozen
class Table:
    """One table of a report. ``name`` is also that of its files.

    A label that is ``None`` stands for hosts of which it is not known; a share that is ``None`` has
    no whole that it could be a part of.
    """

    name: str
    labels: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in order."""
        return self.labels + self.measures

    def records(self) -> Iterator[dict[str, Cell]]:
        """Give each row as a record of its columns."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)


def share(part: int, whole: int) -> float | None:
    """Give a part as a fraction of the whole; ``None`` where there is no whole."""
    return part / whole if whole else None


def regroup(counts: Mapping[Old, int], key: Callable[[Old], Key]) -> Counter[Key]:
    """Add counts up under another key."""
    found: Counter[Key] = Counter()
    for old, count in counts.items():
        found[key(old)] += count
    return found


def ranked(counts: Mapping[Key, int]) -> list[tuple[Key, int]]:
    """Order counts by size; equal ones by their key as text, so that a report comes out the same each time."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
