"""The one table of a bench: a line a figure, with the bound it must keep and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

_LINE = "{:<9} {:<34} {:>16} {:>16} {:>11} {:>7} {:>7}  {}"


@dataclass(frozen=True)
class Row:
    """One figure. ``base`` and ``ours`` are shown as they are; ``figure`` is held against the bounds.

    ``must`` and ``aim`` are upper bounds, lower ones where ``at_least`` is set, and ``None`` where the
    figure is only reported.
    """

    case: str
    load: str
    base: str = ""
    ours: str = ""
    figure: float | None = None
    unit: str = "x"
    must: float | None = None
    aim: float | None = None
    at_least: bool = False

    @property
    def falls_short(self) -> bool:
        """Whether the figure misses its ``must``."""
        return self.must is not None and not self._within(self.must)

    def _within(self, bound: float) -> bool:
        if self.figure is None:
            return False
        return self.figure >= bound if self.at_least else self.figure <= bound

    @property
    def verdict(self) -> str:
        """``ok``, ``ok, aim met``, ``falls short``, or nothing where there is no bound."""
        if self.must is None:
            return ""
        if self.falls_short:
            return "falls short"
        return "ok, aim met" if self.aim is not None and self._within(self.aim) else "ok"


def print_head() -> None:
    """Print the heading."""
    print(_LINE.format("case", "load", "base", "ours", "figure", "must", "aim", "verdict").rstrip())


def print_row(row: Row) -> None:
    """Print one line, at once: a whole bench takes minutes."""
    figure = "" if row.figure is None else f"{_short(row.figure)} {row.unit}"
    bounds = ["" if bound is None else _short(bound) for bound in (row.must, row.aim)]
    print(_LINE.format(row.case, row.load, row.base, row.ours, figure, *bounds, row.verdict).rstrip(), flush=True)


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.2f}"  # noqa: PLR2004  # three digits say enough
