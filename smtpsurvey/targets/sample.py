"""``--sample``: how many of the targets, or which share of them."""

from __future__ import annotations

import re

import attrs

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,12})?)%")
_WHOLE = 100.0


@attrs.frozen
class Sample:
    """Either ``number`` of targets, or ``share`` of them (0 to 1)."""

    number: int | None = None
    share: float | None = None

    def of(self, count: int) -> int:
        """Return how many of ``count`` that are."""
        if self.share is not None:
            return round(count * self.share)
        return count if self.number is None else min(count, self.number)


def read_sample(text: str) -> Sample:
    """Read ``N`` or ``P%``; raises ValueError."""
    match = _PERCENT.fullmatch(text)
    if match and float(match[1]) <= _WHOLE:
        return Sample(share=float(match[1]) / _WHOLE)
    if text.isascii() and text.isdecimal():
        return Sample(int(text))
    raise ValueError(f"{text!r} is neither a number of targets nor a percentage, like 1000 or 0.5%")
