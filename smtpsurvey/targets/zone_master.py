"""Zone files in master-file format (RFC 1035 section 5.1), line by line, and on behind what is wrong.

dnspython reads whole zones into memory and stops at the first error, so records are put together from their lines here;
those with quotes, parentheses, comments or escapes are parted by its tokenizer.
"""

from __future__ import annotations

import re
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING, NamedTuple

import dns.exception
import dns.name
import dns.rdatatype
import dns.tokenizer
import dns.ttl

from smtpsurvey.targets.address import BadTargetError, shown
from smtpsurvey.targets.line_blocks import LONGEST
from smtpsurvey.targets.names import host_name

if TYPE_CHECKING:
    from collections.abc import Callable

_UNUSUAL = re.compile(r'["();\\]')
# What parentheses do not count in: quoted strings, escapes, comments. A quote that nothing closes stands alone.
_PARENTHESES = re.compile(r'"(?:[^"\\]|\\.)*"|\\.|;.*|([()"])')
_WORD = re.compile(r"[^ \t]+")
_ABSOLUTE = re.compile(r"(?:[^\\]|\\.)*\.")
_TTL = re.compile(r"[0-9]+(?:[wdhms][0-9wdhms]*)?", re.IGNORECASE)
_CLASSES = frozenset({"CH", "HS", "CS", "ANY", "NONE"})
_SOA_FIELDS = 7


class ZoneRecord(NamedTuple):
    """A record of a type that matters here: ``SOA``, ``NS``, ``A``, ``AAAA``.

    Names are in lower case and without the last dot (``""`` is the root). ``value`` is the name server, the canonical
    address, or the serial number.
    """

    type: str
    owner: str
    value: str


class MasterLines:
    """Reads the lines of a master file one by one."""

    def __init__(self, on_bad: Callable[[int, str], object]) -> None:
        """``on_bad`` gets the number of the line, from 1, and what is wrong with the record that begins there."""
        self.origin: str | None = None
        self.owner: str | None = None
        self._on_bad = on_bad
        self._open: list[str] = []  # the lines of a record whose parenthesis is not closed
        self._first = self._depth = self._size = 0

    @property
    def within(self) -> bool:
        """Whether the next line goes on with a record."""
        return bool(self._open)

    def read(self, line: bytes, number: int) -> ZoneRecord | None:
        """Take a line with its LF; returns a record that ends with it, if it is one that matters."""
        try:
            text = self._whole(line.rstrip(b"\r\n").decode("latin-1"), number)
            return None if text is None else self._record(text)
        except (BadTargetError, dns.exception.DNSException) as error:
            self._on_bad(self._first, _one_line(error))
            self._open = []
            return None

    def finish(self) -> None:
        """Tell of a record that the file ends in."""
        if self._open:
            self._on_bad(self._first, "the parenthesis is not closed")
            self._open = []

    def _whole(self, line: str, number: int) -> str | None:
        """Return the lines of a record once its last has come."""
        if not self._open:
            self._first, self._depth, self._size = number, 0, 0
        self._size += len(line)
        if self._size > LONGEST:
            raise BadTargetError(f"longer than {LONGEST:,} bytes")
        if _UNUSUAL.search(line):
            for found in _PARENTHESES.finditer(line):
                if found[1] == '"':
                    raise BadTargetError("the quote is not closed")
                self._depth += {"(": 1, ")": -1}.get(found[1], 0)
                if self._depth < 0:
                    raise BadTargetError("a parenthesis is closed that is not open")
        if self._open or self._depth:
            self._open.append(line)
            if self._depth:
                return None
            line, self._open = "\n".join(self._open), []
        return line

    def _record(self, text: str) -> ZoneRecord | None:
        words = _words(text) if _UNUSUAL.search(text) else _WORD.findall(text)
        if not words:
            return None
        if words[0].startswith("$") and text[0] == "$":
            self._directive(words)
            return None
        if text[0] in " \t":
            if self.owner is None:
                raise BadTargetError("no owner, and no record before to take it from")
        else:
            # An owner that is no name must not leave its records to the one before it.
            self.owner, first = None, words.pop(0)
            self.owner = self._name(first)
        type_, data = _type_and_data(words)
        return None if type_ is None else self._matters(type_, self.owner, data)

    def _directive(self, words: list[str]) -> None:
        directive = words[0].upper()
        if directive == "$ORIGIN" and len(words) > 1:
            self.origin = self._name(words[1])
        elif directive == "$TTL" and len(words) > 1:
            dns.ttl.from_text(words[1])
        else:  # $INCLUDE would read files that a hostile zone names; $GENERATE makes up records
            raise BadTargetError(f"{shown(words[0])} is not followed")

    def _matters(self, type_: str, owner: str, data: list[str]) -> ZoneRecord:
        if len(data) != (_SOA_FIELDS if type_ == "SOA" else 1):
            raise BadTargetError(f"{type_} with {len(data)} fields")
        if type_ == "SOA":
            if not data[2].isascii() or not data[2].isdecimal() or int(data[2][:11]) >= 1 << 32:
                raise BadTargetError(f"serial number {shown(data[2])}")
            return ZoneRecord(type_, owner and host_name(owner), data[2])
        value = self._name(data[0]) if type_ == "NS" else _address(type_, data[0])
        return ZoneRecord(type_, owner and host_name(owner), value)

    def _name(self, word: str) -> str:
        """Make a name absolute, in lower case, without the last dot; escapes as dnspython writes them."""
        if not word.isascii():
            raise BadTargetError(f"{shown(word)} is no name: not ASCII")
        if not _ABSOLUTE.fullmatch(word):
            if self.origin is None:
                raise BadTargetError(f"{shown(word)} is relative, and no $ORIGIN came before")
            word = f"{self.origin}." if word == "@" else f"{word}.{self.origin}." if self.origin else f"{word}."
        return _canonical(word)


def _words(text: str) -> list[str]:
    """Part a record into its words, without blank, quotes, parentheses and comments."""
    tokenizer = dns.tokenizer.Tokenizer(text)
    words = []
    while not (token := tokenizer.get()).is_eof():
        if not token.is_eol():
            words.append(token.value)
    return words


def _type_and_data(words: list[str]) -> tuple[str | None, list[str]]:
    """Part what follows the owner: TTL and class, in any order, then the type (``None``: another) and its data."""
    at = 0
    for word in words[:2]:
        if _TTL.fullmatch(word):
            dns.ttl.from_text(word)
        elif word.upper() in _CLASSES:
            raise BadTargetError(f"class {word.upper()}, not IN")
        elif word.upper() != "IN":
            break
        at += 1
    if at == len(words):
        raise BadTargetError("no type")
    return _type(words[at]), words[at + 1 :]


@lru_cache(maxsize=256)
def _type(word: str) -> str | None:
    if not word.isascii():
        raise BadTargetError(f"unknown type {shown(word)}")
    try:
        value = dns.rdatatype.from_text(word)
    except (dns.rdatatype.UnknownRdatatype, ValueError):
        raise BadTargetError(f"unknown type {shown(word)}") from None
    if dns.rdatatype.is_metatype(value):
        raise BadTargetError(f"type {shown(word)} stands in no zone")
    text = dns.rdatatype.to_text(value)
    return text if text in {"SOA", "NS", "A", "AAAA"} else None


def _canonical(name: str) -> str:
    try:
        return host_name(name)  # most are, and this is ten times as fast
    except BadTargetError:
        return dns.name.from_text(name, None).to_text(omit_final_dot=True).lower().removesuffix(".")


def _address(type_: str, word: str) -> str:
    family = AF_INET if type_ == "A" else AF_INET6
    try:
        return inet_ntop(family, inet_pton(family, word))
    except (OSError, ValueError):  # ValueError: a NUL
        raise BadTargetError(f"{shown(word)} is no address of type {type_}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
