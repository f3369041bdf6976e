"""Answers from bytes: a fast reader of what is common, and dnspython for everything else.

The fast reader knows the types that surveys ask for, and names of letters, digits, hyphens and underscores. Whatever
else it meets, well-formed or not, it leaves to dnspython, which alone decides what is no message. Both give the same.
"""

from __future__ import annotations

import re
import struct
from socket import AF_INET6, inet_ntoa, inet_ntop
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from smtpsurvey.kinds import DnsRecord

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_IN = 1
_QR, _TC, _AD = 0x8000, 0x0200, 0x0020
_OPCODE = 0xF800  # the opcode, and QR before it
_KIND, _RESPONSE = _OPCODE >> 8, _QR >> 8  # in the third byte
_RCODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}
_POINTER = 0xC0
_HEAD = 12  # bytes of the header
_MAX_LABELS = 64  # of one name, pointers included; more is for dnspython
_MAX_NAME = 250  # characters; longer is for dnspython
_MAX_TTL = 0x7FFFFFFF  # RFC 2181 section 8
_LABEL = re.compile(rb"[A-Za-z0-9_-]+")
_STRING = re.compile(rb"[ !#-\[\]-~]*")  # printable, without quote and backslash
_A, _NS, _CNAME, _SOA, _PTR, _MX, _TXT, _AAAA = 1, 2, 5, 6, 12, 15, 16, 28
_TYPES = {_A: "A", _NS: "NS", _CNAME: "CNAME", _PTR: "PTR", _MX: "MX", _TXT: "TXT", _AAAA: "AAAA"}
_NAMED = frozenset((_NS, _CNAME, _PTR))
_V4, _V6 = 4, 16  # bytes of addresses
_SIZES = {_A: _V4, _AAAA: _V6}
# Without more of an RCODE, another version or options; with or without DO.
_PLAIN_OPT = (b"\0\0\0\0\0\0", b"\0\0\x80\0\0\0")
_SOA_NUMBERS = 20  # bytes behind the two names of a SOA


class BadMessageError(Exception):
    """Bytes that are no answer that anyone could read."""


class Read(NamedTuple):
    """What a message says: RCODE, the TC and AD flags, and the records of its answer section."""

    rcode: str
    truncated: bool
    ad: bool
    records: tuple[DnsRecord, ...]


class _UnusualError(Exception):
    """Something for dnspython."""


def is_answer(wire: bytes, asked: bytes) -> bool:
    """Tell whether a message with the right number is a response to our question.

    Some servers answer errors without the question; those count too, as only an address and a number are compared
    for them anyway.
    """
    if len(wire) < _HEAD or wire[2] & _KIND != _RESPONSE:
        return False
    count = wire[4] << 8 | wire[5]
    if count == 1:
        sent = wire[_HEAD : _HEAD + len(asked)]
        return sent == asked or (sent[-4:] == asked[-4:] and sent.lower() == asked.lower())  # only names have a case
    return not count and bool(wire[3] & 0x0F) and wire[3] & 0x0F != dns.rcode.NXDOMAIN


def read(wire: bytes) -> Read:
    """Read a response; raises :class:`BadMessageError`."""
    try:
        return read_fast(wire)
    except (_UnusualError, IndexError, struct.error):
        return read_slowly(wire)


def read_slowly(wire: bytes) -> Read:
    """Read any response, with dnspython; raises :class:`BadMessageError`."""
    try:
        message = dns.message.from_wire(wire, one_rr_per_rrset=True, raise_on_truncation=False)
        records = tuple(
            DnsRecord(
                _text(rrset.name.to_text()), dns.rdatatype.to_text(rrset.rdtype), int(rrset.ttl), rrset[0].to_text()
            )
            for rrset in message.answer
            if rrset
        )
        code = dns.rcode.to_text(message.rcode())
    # dnspython's readers of rare types raise more than its own exceptions.
    except (dns.exception.DNSException, ValueError, IndexError, struct.error, UnicodeError) as error:
        raise BadMessageError(str(error)) from None
    flags = message.flags
    return Read(code, bool(flags & dns.flags.TC), bool(flags & dns.flags.AD), records)


def read_fast(wire: bytes) -> Read:
    """Read a plain answer; raises for everything else, not only what is wrong."""
    _, flags, questions, answers, authorities, others = _HEADER.unpack_from(wire)
    code = _RCODES.get(flags & 0x0F)
    if flags & _OPCODE != _QR or questions != 1 or code is None:
        raise _UnusualError
    names: dict[int, str] = {}
    _, at = _name(wire, _HEAD, names)
    if wire[at + 2] or wire[at + 3] != _IN:
        raise _UnusualError
    at += 4
    found = []
    for _ in range(answers):
        record, at = _record(wire, at, names)
        found.append(record)
    for _ in range(authorities):
        at = _skip(wire, at, names)
    edns = False
    for _ in range(others):
        if wire[at : at + 3] != b"\0\0\x29":
            at = _skip(wire, at, names)
        elif edns or wire[at + 5 : at + 11] not in _PLAIN_OPT:
            raise _UnusualError
        else:
            edns, at = True, at + 11
    if at != len(wire):
        raise _UnusualError
    return Read(code, bool(flags & _TC), bool(flags & _AD), tuple(found))


def _record(wire: bytes, at: int, names: dict[int, str]) -> tuple[DnsRecord, int]:
    """Read a record of the answer section; give it and where the next begins."""
    owner, at = _name(wire, at, names)
    kind, class_, ttl, length = _RECORD.unpack_from(wire, at)
    at += 10
    end = at + length
    if class_ != _IN or ttl > _MAX_TTL or end > len(wire):
        raise _UnusualError
    if kind == _A and length == _V4:
        value = inet_ntoa(wire[at:end])
    elif kind == _MX:
        name, at = _name(wire, at + 2, names)
        value = f"{wire[end - length] << 8 | wire[end - length + 1]} {name}."
        if at != end:
            raise _UnusualError
    elif kind in _NAMED:
        name, at = _name(wire, at, names)
        value = f"{name}."
        if at != end:
            raise _UnusualError
    elif kind == _AAAA and length == _V6 and wire[at : at + 2] != b"\0\0":
        value = inet_ntop(AF_INET6, wire[at:end])
    elif kind == _TXT and length:
        value = _strings(wire, at, end)
    else:
        raise _UnusualError
    return DnsRecord(owner, _TYPES[kind], ttl, value), end


def _skip(wire: bytes, at: int, names: dict[int, str]) -> int:
    """Pass over a record of another section that dnspython would not object to."""
    _, at = _name(wire, at, names)
    kind, class_, ttl, length = _RECORD.unpack_from(wire, at)
    at += 10
    end: int = at + length
    if class_ != _IN or ttl > _MAX_TTL or end > len(wire):
        raise _UnusualError
    if kind == _SOA:
        _, at = _name(wire, at, names)
        _, at = _name(wire, at, names)
        if at + _SOA_NUMBERS != end:
            raise _UnusualError
    elif kind == _NS:
        _, at = _name(wire, at, names)
        if at != end:
            raise _UnusualError
    elif length != _SIZES.get(kind):
        raise _UnusualError
    return end


def _name(wire: bytes, at: int, names: dict[int, str]) -> tuple[str, int]:
    """Read a name; give its text without the last dot, and where what follows begins.

    ``names`` keeps those that were read, by where they begin.
    """
    size = wire[at]
    if size >= _POINTER:  # most names are nothing but a pointer to one that was read
        known = names.get((size & 0x3F) << 8 | wire[at + 1])
        if known is not None:
            return known, at + 2
    name, end = _spell(wire, at, names)
    if len(name) > _MAX_NAME or not name:
        raise _UnusualError
    names[at] = name
    return name, end


def _spell(wire: bytes, at: int, names: dict[int, str]) -> tuple[str, int]:
    """Put a name together. A pointer must lead back beyond all before it, as for dnspython."""
    end, lowest = 0, at
    labels: list[str] = []
    known = None
    for _ in range(_MAX_LABELS):
        size = wire[at]
        if not size:
            at += 1
            break
        if size < _POINTER:
            if size >= 0x40:  # noqa: PLR2004 - RFC 1035 section 4.1.4: two bits that are reserved
                raise _UnusualError
            label = wire[at + 1 : at + 1 + size]
            if len(label) != size or not _LABEL.fullmatch(label):
                raise _UnusualError
            labels.append(label.decode("ascii"))
            at += 1 + size
            continue
        target = (size & 0x3F) << 8 | wire[at + 1]
        end = end or at + 2
        if target >= lowest:
            raise _UnusualError
        known = names.get(target)
        if known is not None:
            break
        at = lowest = target
    else:
        raise _UnusualError
    if known:
        labels.append(known)
    return ".".join(labels), end or at


def _strings(wire: bytes, at: int, end: int) -> str:
    parts = []
    while at < end:
        stop = at + 1 + wire[at]
        text = wire[at + 1 : stop]
        if stop > end or not _STRING.fullmatch(text):
            raise _UnusualError
        parts.append(f'"{text.decode("ascii")}"')
        at = stop
    return " ".join(parts)


def _text(name: str) -> str:
    return name if name == "." else name.removesuffix(".")
