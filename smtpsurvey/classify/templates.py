"""Groups greetings that no rule knows by their wording, so that the next fingerprint to write is the first line.

What each server puts in of its own (host names, addresses, dates, ids, numbers) is masked; what is left is a template.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs

from smtpsurvey.classify.classifier import MAX_TEXT

if TYPE_CHECKING:
    from smtpsurvey.items import SmtpItem

MAX_TEMPLATES = 20_000
"""Distinct templates kept; when there are more, the rarer half is forgotten."""
MAX_COMPANIONS = 8
"""Distinct lists of extensions, and replies to QUIT, kept of each template."""
MAX_SHOWN = 300
"""Characters kept of one of these."""
_CACHED = 4096

_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_DAY = "(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}"
_YEAR = "(?:19|20)[0-9]{2}"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:\s?[ap]m\b)?"
_ZONE = r"\s?(?:[+-][0-9]{2}:?[0-9]{2}|(?-i:Z|UTC|GMT|[A-Z]{2,4}T)\b)(?:\s\([^()\n]{1,40}\))?"
_DATE = rf"""(?:
    {_YEAR}(?P<a>[-/.])[0-9]{{1,2}}(?P=a)[0-9]{{1,2}}
    |[0-9]{{1,2}}(?P<b>[-/.])[0-9]{{1,2}}(?P=b){_YEAR}
    |[0-9]{{1,2}}(?P<c>[-/])[0-9]{{1,2}}(?P=c)[0-9]{{2}}
    |[0-9]{{1,2}}[\s-]{_MONTH}[\s-](?:{_YEAR}|[0-9]{{2}})
    |{_MONTH}\s{{1,2}}[0-9]{{1,2}}(?:,?\s{_YEAR})?
)"""
_WHEN = rf"(?:{_DAY},?\s)?(?:{_DATE}(?:(?:,?\s|T){_CLOCK}(?:{_ZONE})?(?:\s{_YEAR})?)?|{_CLOCK}(?:{_ZONE})?)"
_IPV4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
_IPV6 = rf"(?:ipv6:)?(?=:*[0-9a-f])(?:[0-9a-f]{{0,4}}:){{2,7}}(?:{_IPV4}|[0-9a-f]{{0,4}})"
_TOKEN = re.compile(
    rf"""(?P<kept><(?:date|mail|ip|host|id|n)>|^[245]\.[0-9]{{1,3}}\.[0-9]{{1,3}}(?!\S))
    |(?<![\w.-])(?P<date>{_WHEN})(?!\w)
    |(?P<mail>[\w.+=-]{{1,64}}@\w+(?:[.-]+\w+)*)
    |(?<![\w:.-])(?P<ip>{_IPV6}(?![\w:])|{_IPV4}(?![\w.-]*\w))
    |(?P<word>\w+(?:[.-]+\w+)*)
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_BARE = re.compile(r"[\w-]+(?=\s+E?SMTP\b)", re.IGNORECASE)
_HOST = re.compile(r"(?:[\w-]+\.)+(?:[^\W\d_]{2,63}|xn--[\w-]+)", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_PIECE = re.compile(r"[^\W_]+")
# Letters and digits that change three times, or six hexadecimal digits of both kinds, or eight that are all letters.
_ID = re.compile(r"(?:\d++|[^\W\d_]++){4,}|(?=[a-f]*+\d)(?=\d*+[a-f])[0-9a-f]{6,}|[a-f]{8,}", re.IGNORECASE)
_IDS = re.compile(r"<id>(?:[-._]+<id>)+")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")


def template(text: str) -> str:
    """Mask what servers put in of their own by ``<host>``, ``<mail>``, ``<ip>``, ``<date>``, ``<id>`` and ``<n>``.

    Enhanced status codes (RFC 3463) at the beginning of a line are wording, and stay.
    A host's name without a dot is known by its place, before ``ESMTP`` or ``SMTP`` at the beginning (RFC 5321 section
    4.2). The template of a template is itself.
    """
    bare = _BARE.match(text)
    if bare and bare[0].upper() not in {"SMTP", "ESMTP"}:
        text = f"<host>{text[bare.end() :]}"
    while (masked := _TOKEN.sub(_masked, text)) != text:  # ends: each time less is left outside of masks
        text = masked
    return text


@attrs.define(eq=False)
class Group:
    """Greetings of one template: how many, the first one, and what goes with them most often."""

    code: int | None
    template: str
    ip: str
    greeting: str
    count: int = 0
    extensions: Counter[str] = attrs.field(factory=Counter)
    quits: Counter[str] = attrs.field(factory=Counter)


class Templates:
    """Counts templates, in bounded memory.

    When there are more than :data:`MAX_TEMPLATES`, the rarer half is forgotten (lossy counting: Manku and Motwani,
    VLDB 2002), and the counts of all others may then be too low by up to ``missed``.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.observations = 0
        self.missed = 0
        self._groups: dict[tuple[int | None, str], Group] = {}
        self._template = lru_cache(_CACHED)(template)

    def __len__(self) -> int:
        """Count the templates."""
        return len(self._groups)

    def add(self, item: SmtpItem) -> None:
        """Count a server that no rule named."""
        code, text = (item.greeting.code, item.greeting.text[:MAX_TEXT]) if item.greeting else (None, "")
        key = code, self._template(text)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_TEMPLATES:
                self._forget()
            group = self._groups[key] = Group(*key, item.ip, text)
        self.observations += 1
        group.count += 1
        if item.ehlo and item.ehlo.extensions:
            _count(group.extensions, " ".join(item.ehlo.extensions))
        if item.quit:
            _count(group.quits, self._template(item.quit.text[:MAX_TEXT]))

    def top(self, number: int) -> list[Group]:
        """Give the most frequent ones, the most frequent first."""
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.template))[:number]

    def _forget(self) -> None:
        kept = self.top(MAX_TEMPLATES // 2 + 1)
        self.missed += kept.pop().count
        self._groups = {(group.code, group.template): group for group in kept}


def _masked(found: re.Match[str]) -> str:
    kind, text = found.lastgroup, found[0]
    if kind == "word":
        return _mask_word(text)
    return text if kind == "kept" else f"<{kind}>"


def _mask_word(word: str) -> str:
    if _HOST.fullmatch(word):
        return "<host>"
    word = _UUID.sub("<id>", word)
    pieces = _PIECE.findall(word)
    if any(map(_ID.fullmatch, pieces)):
        word = _IDS.sub("<id>", _PIECE.sub(_mask_piece, word))
    return _NUMBER.sub("<n>", word)


def _mask_piece(found: re.Match[str]) -> str:
    return "<id>" if _NUMBER.search(found[0]) or _ID.fullmatch(found[0]) else found[0]


def _count(counter: Counter[str], text: str) -> None:
    text = text[:MAX_SHOWN]
    if text in counter or len(counter) < MAX_COMPANIONS:
        counter[text] += 1
