"""Addresses in the JSON lines of zgrab2 and zdns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from smtpsurvey.items import DEFAULT_PORT, Target
from smtpsurvey.targets.address import BadTargetError, read_span
from smtpsurvey.targets.line_blocks import LONGEST
from smtpsurvey.targets.lines import HostName
from smtpsurvey.targets.names import host_name

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FOUND = 10_000
"""Targets of a line at most."""


class Exchange(msgspec.Struct):
    """A mail exchanger, as ``zdns MXLOOKUP`` gives it."""

    name: str
    ipv4_addresses: list[str] | None = None
    ipv6_addresses: list[str] | None = None


class Record(msgspec.Struct):
    """A resource record, as the raw modules of zdns (``A``, ``MX``) give it."""

    type: str = ""
    answer: Any = None
    name: str = ""


class Found(msgspec.Struct):
    """What zdns found: exchangers (``MXLOOKUP``), addresses (``ALOOKUP``), or records."""

    exchanges: list[Exchange] | None = None
    ipv4_addresses: list[str] | None = None
    ipv6_addresses: list[str] | None = None
    answers: list[Record] | None = None


class Result(msgspec.Struct):
    """One look-up of zdns."""

    data: Found | None = None


class Line(msgspec.Struct):
    """A line of zgrab2 (``ip``, ``domain``) or of zdns (``name``, ``results``; of an older one ``data``)."""

    ip: str | None = None
    domain: str | None = None
    name: str | None = None
    results: dict[str, Result] | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(Line).decode
_decode_found = msgspec.json.Decoder(Found | None).decode


def read_json_line(line: bytes, number: int) -> list[Target | HostName]:
    """Return the targets of a line: its address, or what the look-up found; raises BadTargetError.

    ``number`` says which line it is. A look-up without addresses gives none.
    """
    if len(line) > LONGEST:
        raise BadTargetError(f"longer than {LONGEST:,} bytes")
    try:
        read = _decode(line)
        if read.ip is not None or (read.results is None and read.name is None):
            found = [_target(read.ip or "", read.domain, number)]
        else:
            results = [result.data for result in (read.results or {}).values()]
            if read.results is None:
                results = [_decode_found(read.data)]
            found = [target for data in results if data for target in _of(data, read.name, number)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadTargetError(f"no line of zgrab2 or zdns: {error}") from None
    if len(found) > MAX_FOUND:
        raise BadTargetError(f"more than {MAX_FOUND:,} addresses in a line")
    return found


def _of(data: Found, name: str | None, number: int) -> Iterator[Target | HostName]:
    for exchange in data.exchanges or ():
        addresses = [*(exchange.ipv4_addresses or ()), *(exchange.ipv6_addresses or ())]
        if exchange.name.rstrip("."):  # the null MX has none (RFC 7505)
            yield from (_target(address, exchange.name, number) for address in addresses or [""])
    for address in (*(data.ipv4_addresses or ()), *(data.ipv6_addresses or ())):
        yield _target(address, name, number)
    for record in data.answers or ():
        if record.type in {"A", "AAAA"} and isinstance(record.answer, str):
            yield _target(record.answer, name, number)


def _target(address: str, name: str | None, number: int) -> Target | HostName:
    label = host_name(name) if name else None
    span = read_span(address) if address else None
    if span is not None and span.first == span.last:
        return Target(next(iter(span)), DEFAULT_PORT, label)
    if address or label is None:
        raise BadTargetError(f"{address[:60]!r} is no address" if address else "neither address nor name")
    return HostName(label, None, DEFAULT_PORT, number, 0)
