"""One Received header (RFC 5321 section 4.4): who wrote it, with what, and who was the client.

Programs differ in where they put the client's address, and anybody can write a header of any shape, so nothing is
expected: what is not found is ``None``.
"""

from __future__ import annotations

import re
from email.utils import mktime_tz, parsedate_tz
from ipaddress import ip_address
from typing import NamedTuple

from smtpsurvey.targets.address import BadTargetError
from smtpsurvey.targets.names import host_name

MAX_HEADER = 2048
"""Characters of a header that count, white space made single blanks."""

_TOKEN = re.compile(r"[()]|[^\s()]+")
_CLAUSES = frozenset({"from", "by", "via", "with", "id", "for"})
# An address in brackets, as address literals are written (RFC 5321 section 4.1.3), with a port perhaps; else a whole
# word, as qmail and Exchange write it.
_LITERAL = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f.:]{2,45})(?:%[\w.-]*)?\]", re.IGNORECASE)
_PORT = re.compile(r"\[?([0-9.]{7,15})(?:\]?:[0-9]{1,5})?\]?")
_SERVER = re.compile(r"by (?:\S+ \()?\[?(?:IPv6:)?([0-9a-f.:]{2,45})(?:%[\w.-]*)?\]?(?:\)|\s|$)", re.IGNORECASE)
_SAID = re.compile(r"\A(?:helo|ehlo)(=|\Z)", re.IGNORECASE)  # what follows is the client's own word
_NO_NAMES = frozenset({"unknown", "localhost", "localhost.localdomain", "local"})


class Received(NamedTuple):
    """What a header says.

    ``by`` is the host that wrote it and ``by_address`` its address, where it says so; ``names`` are those of the
    client, what it called itself included, and ``address`` is its address. ``protocol`` is the first word of the
    with-clause. ``text`` is what tells of the software. Names are in lower case.
    """

    by: str | None
    by_address: str | None
    names: tuple[str, ...]
    address: str | None
    protocol: str | None
    text: str


def read_received(value: bytes) -> Received:
    """Read the value of a header; never fails."""
    text = " ".join(value[: 4 * MAX_HEADER].decode("latin-1").split())[:MAX_HEADER]
    text = text.rpartition(";")[0].rstrip() or text
    clauses, by_at = _clauses(text)
    client, server = clauses.get("from", []), clauses.get("by", [])
    protocol = clauses.get("with", [])
    server_address = _SERVER.match(text, by_at)
    return Received(
        _name(server[0]) if server else None,
        _canonical(server_address[1]) if server_address else None,
        _names(client),
        _address(client),
        protocol[0][:64] if protocol else None,
        text[by_at:],
    )


def received_time(value: bytes) -> float | None:
    """Return the time behind the last semicolon, in seconds since the epoch; ``None`` if there is none to read."""
    try:
        parsed = parsedate_tz(value[-200:].rpartition(b";")[2].decode("latin-1"))
        return None if parsed is None else float(mktime_tz(parsed))
    except (ValueError, OverflowError, TypeError, IndexError):  # what the library raises for dates that are none
        return None


def _clauses(text: str) -> tuple[dict[str, list[str]], int]:
    """Part a header into the words of its clauses, those in comments included; and where its by-clause begins."""
    clauses: dict[str, list[str]] = {}
    words: list[str] = []
    depth = by_at = 0
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word == "(":
            depth += 1
        elif word == ")":
            depth = max(0, depth - 1)
        elif not depth and word.lower() in _CLAUSES and word.lower() not in clauses:
            words = clauses[word.lower()] = []
            if word.lower() == "by":
                by_at = token.start()
        else:
            words.append(word)
    return clauses, by_at


def _names(words: list[str]) -> tuple[str, ...]:
    """Return the host names of a from-clause: the first word, those in its comments, what was said in HELO."""
    found = (_name(_SAID.sub("", word, count=1)) for word in words[:16])
    return tuple(dict.fromkeys(name for name in found if name is not None))


def _name(word: str) -> str | None:
    """Return a word as a host name of more than one label; ``None`` for what is none."""
    word = word.strip("[]<>,;").lower()
    if "." not in word or not word.isascii() or word in _NO_NAMES:
        return None
    try:
        return host_name(word)
    except BadTargetError:
        return None


def _address(words: list[str]) -> str | None:
    """Return the address that the server saw: one in brackets, the last; else the last that is a word."""
    seen = [word for before, word in zip(["", *words], words, strict=False) if not _is_said(before, word)]
    candidates = [found[1] for word in seen for found in _LITERAL.finditer(word)]
    candidates = candidates or [found[1] if (found := _PORT.fullmatch(word)) else word for word in seen]
    for text in reversed(candidates):
        canonical = _canonical(text)
        if canonical is not None:
            return canonical
    return None


def _is_said(before: str, word: str) -> bool:
    """Tell whether a word is what the client said of itself: ``HELO x``, ``helo=x``."""
    said = _SAID.match(word)
    return bool(said and said[1]) or bool((said := _SAID.match(before)) and not said[1])


def _canonical(text: str) -> str | None:
    if not text[:1].isalnum() and text[:1] != ":":
        return None
    try:
        address = ip_address(text.removeprefix("IPv6:").removeprefix("IPV6:"))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
