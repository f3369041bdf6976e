r"""Text from the wire, made safe to look at. Whoever writes HTML escapes it as well.

Servers choose their greetings and certificates, so a product's version or a subject may hold markup,
terminal escapes, spreadsheet formulas, or marks that turn the direction of what stands beside it.
"""

from __future__ import annotations

import unicodedata

LONGEST = 80
"""Characters of a text that are shown."""

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))  # Unicode's categories of what has no glyph of its own
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - spreadsheets take the full-width forms for the same
_LATIN = 0xFF
_BASIC = 0xFFFF


def visible(text: str) -> str:
    r"""Write what has no glyph (control characters, marks of direction, lone surrogates) as ``\xNN``, ``\uNNNN``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def shown(text: str) -> str:
    """Make a text visible and cut it to what is worth showing."""
    seen = visible(text[: LONGEST + 1])
    return seen if len(seen) <= LONGEST else seen[: LONGEST - 1] + "…"


def cell(text: str) -> str:
    """Make a text visible and, with an apostrophe before it, keep a spreadsheet from taking it for a formula."""
    begin = text.lstrip(" ")[:1]
    return ("'" if begin and begin in _FORMULA else "") + visible(text)


def _escape(char: str) -> str:
    code = ord(char)
    if code <= _LATIN:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _BASIC else f"\\U{code:08x}"
