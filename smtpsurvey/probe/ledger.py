"""Which targets of a list are done: the base of taking up a survey where it was killed.

Everything below ``high`` is done, but for what stands in ``open``; that is bounded by what is in
flight and what waits at the gate, whatever the length of the list.
"""

from __future__ import annotations

import attrs


@attrs.define
class Mark:
    """A moment of a survey, as it is written down. Positions count the targets of the list from 0."""

    high: int = 0
    open: list[int] = attrs.field(factory=list)


class Ledger:
    """Keeps count. A position may stand for several targets (the addresses of a host name)."""

    def __init__(self, mark: Mark | None = None) -> None:
        """Begin where ``mark`` says."""
        mark = mark or Mark()
        self._before = mark.high
        self._todo = set(mark.open)
        self._high = mark.high
        self._open: dict[int, int] = {}

    def is_done(self, position: int) -> bool:
        """Tell whether an earlier run has done a target."""
        return position < self._before and position not in self._todo

    def take(self, position: int, targets: int = 1) -> None:
        """Take on so many targets more at a position."""
        self._open[position] = self._open.get(position, 0) + targets
        self._todo.discard(position)
        if position >= self._high:
            self._high = position + 1

    def done(self, position: int) -> None:
        """Take note that one target of a position is stored, or counted."""
        left = self._open.get(position, 0) - 1
        if left > 0:
            self._open[position] = left
        else:
            self._open.pop(position, None)

    def mark(self) -> Mark:
        """Give this moment; what an earlier run left open and this one has not come to is open still."""
        return Mark(self._high, sorted(self._todo.union(self._open)))
