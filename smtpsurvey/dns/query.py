"""Questions as bytes (RFC 1035 section 4; EDNS: RFC 6891)."""

from __future__ import annotations

import re
import struct

import dns.exception
import dns.name
import dns.rdatatype

PAYLOAD = 1232
"""Bytes of a UDP answer that we ask for: what gets through without fragments (DNS Flag Day 2020)."""

_IN = 1
# Recursion desired; and AD, by which one who does no validation asks to be told of it (RFC 6840 section 5.7).
_FLAGS = 0x0120
_HEADER = struct.Struct("!HHHHHH")
_OPT = b"\0" + struct.pack("!HHIH", 41, PAYLOAD, 0, 0)
_PLAIN = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}")
_MAX_PLAIN = 253  # characters; the root and the length of the first label make it 255 bytes


def question(name: str, type_: str) -> bytes:
    """Encode the question of a name (absolute, its last dot may be missing) and a type.

    Raises :class:`ValueError` for a text that is no name of the DNS (RFC 1035 section 2.3.4) or no type.
    """
    try:
        kind = dns.rdatatype.from_text(type_)
        wire = _plain(name) if _PLAIN.fullmatch(name) and len(name) <= _MAX_PLAIN else _any(name)
    except (dns.exception.DNSException, UnicodeError, ValueError) as error:
        raise ValueError(f"{name!r} {type_}: {error}") from None
    return wire + struct.pack("!HH", kind, _IN)


def query(number: int, asked: bytes, *, edns: bool = True) -> bytes:
    """Make the message that asks an encoded question."""
    header = _HEADER.pack(number, _FLAGS, 1, 0, 0, edns)
    return header + asked + _OPT if edns else header + asked


def _plain(name: str) -> bytes:
    """Encode a name of letters, digits, hyphens and underscores, which needs no library."""
    return b"".join([bytes((len(label),)) + label for label in name.encode().split(b".")]) + b"\0"


def _any(name: str) -> bytes:
    if not name:
        raise ValueError("an empty name")  # for dnspython the root
    return dns.name.from_text(name, dns.name.root, dns.name.IDNA_2008_UTS_46).to_wire() or b""
