r"""Patterns written for Ruby (Recog) and PCRE (nmap), in RE2's words.

Most of the syntax is the same; what is written alike and means something else is rewritten, and what
RE2 does not have (look-around, back-references, atomic groups) is left for RE2 to refuse.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

import re2

from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MAX_PATTERN = 16_384
"""Characters of a pattern."""
FEW = 8
"""Repetitions up to which a relaxed pattern counts them."""

_TOKEN = re.compile(
    r"""\\Q|\\.|\\\Z                     # escapes
    |\[\^?\]?|\]                         # brackets; one right after the opening stands for itself
    |\{\d*,?\d*\}                        # repetition
    |\(\?(?P<flags>[a-z]*(?:-[a-z]*)?)(?P<end>[:)])
    |.""",
    re.VERBOSE | re.DOTALL,
)
_CLASS_TOKEN = re.compile(r"\\.|\\\Z|\[:\^?\w+:\]|&&|.", re.DOTALL)
_AT_END = r"(?:\n?\z)"


class PatternError(SurveyError):
    """A pattern that RE2 cannot take; the message is the reason."""


class Dialect(Enum):
    r"""Where a pattern was written for, and what its classes of characters are in RE2.

    ``\s`` holds the vertical tab in both, and not in RE2. A class may be followed by a hyphen that
    stands for itself, so none ends with a character that could begin a range.
    """

    RUBY = {"s": r"\x0b\s", "h": "0-9a-fA-F", "v": r"\x0b", "e": r"\x1b"}  # noqa: RUF012 - a value, never changed
    PCRE = {"s": r"\x0b\s", "h": r"\xa0 \t-\t", "v": r"\x85\n-\r", "e": r"\x1b"}  # noqa: RUF012 - the same


def translate(pattern: str, dialect: Dialect, *, relaxed: bool = False) -> str:
    r"""Write a pattern for RE2; ``relaxed``: one that matches all it did and perhaps more, with a small automaton.

    A greeting's host name is ``[^ ]{1,512}`` in Recog, which makes hundreds of states. Raises
    :class:`PatternError`.
    """
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"longer than {MAX_PATTERN:,} characters")
    made = "".join(_rewritten(pattern, dialect, relaxed))
    # Ruby's anchors are those of lines, always.
    return f"(?m){made}" if dialect is Dialect.RUBY else made


def compile_re2(pattern: str, dialect: Dialect, *, ignore_case: bool, dot_all: bool) -> re2._Regexp:
    """Compile what :func:`translate` wrote: on UTF-8 for Ruby's, on bytes for PCRE's. Raises :class:`PatternError`."""
    try:
        return re2.compile(encoded(pattern, dialect), options(dialect, ignore_case=ignore_case, dot_all=dot_all))
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(f"RE2 cannot compile it: {text}") from None


def encoded(pattern: str, dialect: Dialect) -> bytes:
    """Give the bytes of a pattern as RE2 wants them for the dialect's texts."""
    try:
        return pattern.encode("utf-8" if dialect is Dialect.RUBY else "latin-1")
    except UnicodeEncodeError as error:
        raise PatternError(f"it has a character that no text can have: {error.object[error.start]!r}") from None


def options(dialect: Dialect, *, ignore_case: bool = False, dot_all: bool = False) -> re2.Options:
    """Give RE2's options; it logs nothing."""
    made = re2.Options()
    made.log_errors = False
    made.case_sensitive = not ignore_case
    made.dot_nl = dot_all
    if dialect is Dialect.PCRE:
        made.encoding = re2.Options.Encoding.LATIN1
    return made


def _rewritten(pattern: str, dialect: Dialect, relaxed: bool) -> Iterator[str]:  # noqa: FBT001 - passed on
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        assert token is not None  # noqa: S101 - the last alternative takes any character
        text, at = token[0], token.end()
        if text[0] == "\\":
            yield _escape(text, dialect)
        elif text[0] == "[":
            at = yield from _class(pattern, text, at, dialect)
        elif text[0] == "{" and len(text) > 1:
            yield _repetition(text, dialect, relaxed)
        elif token["end"] is not None:
            yield _flags(token["flags"], token["end"], dialect)
        elif text == "$" and dialect is Dialect.PCRE:
            yield _AT_END
        else:
            yield text


def _escape(text: str, dialect: Dialect) -> str:
    """Rewrite an escape outside of brackets."""
    letter = text[1:]
    if letter == "Z":
        return _AT_END
    if letter == "Q":
        raise PatternError(r"\Q is not supported")
    if letter in dialect.value:
        return f"[{dialect.value[letter]}]"
    if letter in {"S", "H", "V"}:
        return f"[^{dialect.value[letter.lower()]}]"
    return _plain(text)


def _plain(text: str) -> str:
    """RE2 has no escapes of the underscore and of other scripts."""
    return text[1:] if text[1:] == "_" or not text.isascii() else text


def _class(pattern: str, opening: str, at: int, dialect: Dialect) -> Generator[str, None, int]:
    r"""Rewrite what is in brackets; returns where they end."""
    yield opening.replace("]", r"\]")
    while at < len(pattern):
        token = _CLASS_TOKEN.match(pattern, at)
        assert token is not None  # noqa: S101 - the last alternative takes any character
        text, at = token[0], token.end()
        if text == "]":
            yield text
            return at
        if dialect is Dialect.RUBY and text in {"[", "&&"}:
            raise PatternError(f"{text} within brackets is not supported")
        if text in {r"\H", r"\V"}:
            raise PatternError(f"{text} within brackets is not supported")
        if text[0] == "\\":
            yield dialect.value.get(text[1:], _plain(text))
        else:
            yield r"\[" if text == "[" else text
    return at


def _repetition(text: str, dialect: Dialect, relaxed: bool) -> str:  # noqa: FBT001 - passed on
    low, comma, high = text[1:-1].partition(",")
    if not low and not (high and dialect is Dialect.RUBY):
        return rf"\{text}"  # stands for itself
    low = low or "0"
    if relaxed and int(high or low) > FEW:
        return "+" if int(low) else "*"
    return f"{{{low}{comma}{high}}}"


def _flags(flags: str, end: str, dialect: Dialect) -> str:
    """Rewrite flags: Ruby's m is everyone else's s."""
    if dialect is Dialect.RUBY:
        return f"(?{flags.replace('m', 's')}{end}"
    if "m" in flags:
        raise PatternError("the flag m is not supported")
    return f"(?{flags}{end}"
