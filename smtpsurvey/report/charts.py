"""Charts as inline SVG. Positions are percentages, so that a chart is as wide as its page and its text never shrinks.

Colours and dashes are classes of the style sheet: the page's policy allows no style attributes. Each chart stands
beside the table with its numbers.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.report.words import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

SERIES = 5
"""Kinds of lines and slices that the style sheet tells apart."""

_TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # ends of the vertical axis
_STEPS = 4  # grid lines above the zero line
_LEFT, _RIGHT, _UPPER, _LOWER = 12.0, 94.0, 8.0, 88.0  # of the plot, in percent
_LABELS = 4  # labels under the axis that a phone has room for
_LABEL_LENGTH = 12
# Around the origin; drawn where a point is.
_MARKS = (
    '<circle r="4.5"/>',
    '<path d="M-4-4H4V4H-4z"/>',
    '<path d="M0-5 5 4H-5z"/>',
    '<path d="M0-6 5 0 0 6-5 0z"/>',
    '<path d="M0 5-5-4H5z"/>',
)

_SQUARE = '<path d="M-6-6H6V6H-6z"/>'


class Slice(NamedTuple):
    """A part of a whole: its name, how much of it (0 to 1), and the class of its colour."""

    name: str
    share: float
    kind: str


class Line(NamedTuple):
    """A series: its name, and a share (0 to 1) or ``None`` for each position."""

    name: str
    shares: Sequence[float | None]


def bar(share: float) -> str:
    """Draw a share as a bar, for the cell that its number stands beside."""
    return f'<svg class="bar" aria-hidden="true"><rect width="{share:.2%}" height="100%"/></svg>'


def ring(slices: Sequence[Slice], says: str) -> str:
    """Draw a whole as a ring, with a legend; ``says`` describes it to those who cannot see it."""
    parts = []
    begin = 0.0
    for part in slices:
        length = 100 * part.share
        gap = min(0.4, length / 2)
        parts.append(
            f'<circle class="{part.kind}" r="42" cx="60" cy="60" pathLength="100" '
            f'stroke-dasharray="{length - gap:.3f} {100 - length + gap:.3f}" stroke-dashoffset="{-begin:.3f}"/>'
        )
        begin += length
    legend = "".join(
        f"<li>{_swatch(part.kind, _SQUARE)}{escape(part.name)} <b>{percent(part.share)}</b></li>" for part in slices
    )
    return (
        f'<figure class="ring"><svg viewBox="0 0 120 120" role="img" aria-label="{escape(says)}">'
        f'<g transform="rotate(-90 60 60)">{"".join(parts)}</g></svg><ul class="legend">{legend}</ul></figure>'
    )


def lines(labels: Sequence[str], series: Sequence[Line], says: str) -> str:
    """Draw up to five series over labelled positions, evenly spaced in their order, with a legend."""
    highest = max((share for line in series for share in line.shares if share is not None), default=0.0)
    top = next(end for end in _TOPS if end >= highest)
    drawn = "".join(_line(number, line.shares, top) for number, line in enumerate(series[:SERIES]))
    legend = "".join(
        f"<li>{_swatch(f's{number}', _MARKS[number])}{escape(line.name)}</li>"
        for number, line in enumerate(series[:SERIES])
    )
    return (
        f'<figure><ul class="legend row">{legend}</ul><svg class="lines" role="img" aria-label="{escape(says)}">'
        f"{_grid(top)}{_axis(labels)}{drawn}</svg></figure>"
    )


def _line(number: int, shares: Sequence[float | None], top: float) -> str:
    points = [
        None if share is None else (_x(position, len(shares)), _y(share, top)) for position, share in enumerate(shares)
    ]
    strokes = "".join(
        f'<line x1="{begin[0]:.2f}%" y1="{begin[1]:.2f}%" x2="{end[0]:.2f}%" y2="{end[1]:.2f}%"/>'
        for begin, end in pairwise(points)
        if begin and end
    )
    marks = "".join(
        f'<svg x="{point[0]:.2f}%" y="{point[1]:.2f}%" overflow="visible">{_MARKS[number]}</svg>'
        for point in points
        if point
    )
    return f'<g class="s{number}">{strokes}{marks}</g>'


def _grid(top: float) -> str:
    drawn = []
    for step in range(_STEPS + 1):
        share = top * step / _STEPS
        y = _y(share, top)
        drawn.append(
            f'<line class="grid" x1="{_LEFT - 4}%" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/>'
            f'<text x="0" y="{y:.2f}%" dy="4">{100 * share:.3g} %</text>'
        )
    return "".join(drawn)


def _axis(labels: Sequence[str]) -> str:
    every = -(-len(labels) // _LABELS)
    drawn = []
    for position, label in enumerate(labels):
        left = len(labels) - 1 - position
        if left % every == 0:  # the last one always, and with its end at the edge
            at = (
                ' class="last" x="100%"'
                if not left and position
                else f' class="x" x="{_x(position, len(labels)):.2f}%"'
            )
            drawn.append(f'<text{at} y="98%">{escape(_short(label))}</text>')
    return "".join(drawn)


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 1] + "…"


def _x(position: int, count: int) -> float:
    return (_LEFT + _RIGHT) / 2 if count == 1 else _LEFT + (_RIGHT - _LEFT) * position / (count - 1)


def _y(share: float, top: float) -> float:
    return _LOWER - (_LOWER - _UPPER) * share / top


def _swatch(kind: str, mark: str) -> str:
    return f'<svg class="swatch {kind}" viewBox="-8 -8 16 16" aria-hidden="true">{mark}</svg>'
