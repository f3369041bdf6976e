"""Addresses as target lists write them: one address, a CIDR, an ``a-b`` range."""

from __future__ import annotations

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socket import AddressFamily

MAX_ADDRESSES = 1 << 32
"""The most addresses one line may stand for."""

_BITS = {AF_INET: 32, AF_INET6: 128}
_MAPPED_FIRST, _MAPPED_LAST = 0xFFFF << 32, (0xFFFF << 32) + 0xFFFFFFFF  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
_LIKE_ADDRESS = re.compile(r"[0-9.]+|.*[:\[].*", re.DOTALL)
_SHOWN = 60
_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}")


class BadTargetError(ValueError):
    """Text that is no target; the message is the reason, the text quoted in it and cut short."""


@attrs.frozen
class Span:
    """The addresses ``first`` to ``last`` (as integers) of a family, both included."""

    family: AddressFamily
    first: int
    last: int

    def __iter__(self) -> Iterator[str]:
        """Yield each address in canonical text, lazily."""
        family, width = self.family, _BITS[self.family] // 8
        return (inet_ntop(family, number.to_bytes(width, "big")) for number in range(self.first, self.last + 1))


def shown(text: str) -> str:
    """Quote hostile text for a message: escaped, and no more than its first 60 characters."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def read_number(text: str, low: int, high: int, what: str) -> int:
    """Read a decimal number from ``low`` to ``high``, or raise :class:`BadTargetError`."""
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise BadTargetError(f"{what} {shown(text)} is no number from {low} to {high}")
    return int(text)


def read_span(text: str) -> Span | None:
    """Read one address, ``address/length`` (its host bits do not matter) or ``first-last``.

    Returns ``None`` for text that cannot be meant as an address: a host name, if anything. Raises
    :class:`BadTargetError` for what is meant as one and is none, an IPv4-mapped IPv6 address, and more
    than 2**32 addresses.
    """
    ends = [end.strip() for end in text.split("-", 1)]
    if "/" in text:
        span = _cidr(*text.split("/", 1))
    elif len(ends) > 1 and all(map(_LIKE_ADDRESS.fullmatch, ends)):
        span = _range(*ends)
    elif _LIKE_ADDRESS.fullmatch(text):
        family, address = _address(text)
        span = Span(family, address, address)
    else:
        return None
    if span.last - span.first >= MAX_ADDRESSES:
        raise BadTargetError(f"{shown(text)} is more than 2^32 addresses")
    if span.family == AF_INET6 and span.first <= _MAPPED_LAST and span.last >= _MAPPED_FIRST:
        raise BadTargetError(f"{shown(text)} is IPv4-mapped: give it as IPv4")
    return span


def _cidr(start: str, length: str) -> Span:
    family, address = _address(start)
    bits = _BITS[family]
    hosts = (1 << bits - read_number(length, 0, bits, "prefix length")) - 1
    return Span(family, address & ~hosts, address | hosts)


def _range(first: str, last: str) -> Span:
    family, low = _address(first)
    other, high = _address(last)
    if family != other:
        raise BadTargetError(f"the range {shown(f'{first}-{last}')} mixes IPv4 and IPv6")
    if high < low:
        raise BadTargetError(f"the range {shown(f'{first}-{last}')} ends before it starts")
    return Span(family, low, high)


def _address(text: str) -> tuple[AddressFamily, int]:
    family = AF_INET6 if ":" in text or "[" in text else AF_INET
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return family, int.from_bytes(inet_pton(family, bare), "big")
    except (OSError, ValueError):  # ValueError: a NUL
        raise BadTargetError(_what_is_wrong(text, family)) from None


def _what_is_wrong(text: str, family: AddressFamily) -> str:
    if "%" in text:
        return f"{shown(text)} has a zone: link-local addresses are no targets"
    if family == AF_INET6:
        return f"{shown(text)} is no IPv6 address (a port goes into column 4)"
    if re.search(r"(^|\.)0[0-9]", text):
        return f"{shown(text)} is no IPv4 address: a leading zero may mean octal"
    return f"{shown(text)} is no IPv4 address"
