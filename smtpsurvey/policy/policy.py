"""The policy of MTA-STS, as its file has it (RFC 8461 section 3.2), and which hosts it lets take mail (section 4.1)."""

from __future__ import annotations

import re

import attrs

from smtpsurvey.outcomes import MtaSts
from smtpsurvey.policy import PolicyError

MODES = ("enforce", "testing", "none")
MAX_AGE = 31_557_600
"""Seconds that a policy may hold, at most: a year."""

_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:[ \t]*(.*?)[ \t]*")
_AGE = re.compile(r"[0-9]{1,10}")
_PATTERN = re.compile(r"(?:\*\.)?(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9-]{1,63}\.?")
_SHOWN = 40  # characters of what is wrong


@attrs.frozen
class Policy:
    """A valid policy; ``max_age`` in seconds, ``patterns`` in lower case without a last dot, in the file's order."""

    mode: str
    max_age: int
    patterns: tuple[str, ...]

    def covers(self, exchange: str) -> bool:
        """Tell whether a host (lower case, without a last dot) matches: ``*.`` stands for exactly one label."""
        _, _, parent = exchange.partition(".")
        return exchange in self.patterns or (bool(parent) and f"*.{parent}" in self.patterns)


def read_policy(body: bytes) -> Policy:
    """Read the file; raises :class:`PolicyError`. Unknown fields are left out, and repeated ones but ``mx``."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _bad("not UTF-8") from None
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in text.removesuffix("\n").removesuffix("\r").split("\n"):
        match = _FIELD.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise _bad(f"no field: {line[:_SHOWN]!r}")
        if match[1] == "mx":
            patterns.append(match[2])
        else:
            fields.setdefault(match[1], match[2])
    return _checked(fields, patterns)


def _checked(fields: dict[str, str], patterns: list[str]) -> Policy:
    if fields.get("version") != "STSv1":
        raise _bad("version is not STSv1")
    mode, age = fields.get("mode", ""), fields.get("max_age", "")
    if mode not in MODES:
        raise _bad(f"mode: {mode[:_SHOWN]!r}")
    if not _AGE.fullmatch(age) or int(age) > MAX_AGE:
        raise _bad(f"max_age: {age[:_SHOWN]!r}")
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise _bad(f"mx: {pattern[:_SHOWN]!r}")
    if not patterns and mode != "none":
        raise _bad("no mx")
    return Policy(mode, int(age), tuple(pattern.lower().removesuffix(".") for pattern in patterns))


def _bad(reason: str) -> PolicyError:
    return PolicyError(MtaSts.BAD_POLICY, reason)
