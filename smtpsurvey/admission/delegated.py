"""What the RIRs have delegated to whom: rows of their delegated-extended files.

``registry|cc|type|start|value|date|status|opaque-id`` (RIR statistics exchange format with the extensions of the NRO).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.admission.ranges import Network

MAX_HOLDER = 128  # characters of an opaque-id
_FIELDS = 7  # of an IP row without the extensions
_DELEGATED = ("allocated", "assigned")
_UNKNOWN_COUNTRY = "ZZ"


class Holding(NamedTuple):
    """Where and whose a range is: a country (two letters) and a holder (``apnic:A91872ED``); ``None``: not given.

    Ranges with the same holder belong to the same organisation, which the registry does not name.
    """

    country: str | None
    holder: str | None


class Allocation(NamedTuple):
    """One row: the addresses ``first`` to ``last``, both included, and whose they are."""

    first: IPv4Address | IPv6Address
    last: IPv4Address | IPv6Address
    holding: Holding

    def networks(self) -> Iterator[Network]:
        """Yield the CIDRs of the range: several where the number of addresses is no power of two."""
        return summarize_address_range(self.first, self.last)


def read_row(text: str) -> Allocation | None:
    """Read a line without white space around it; ``None`` for one that delegates no addresses.

    These are comments, the header, summaries, AS numbers, and what is available or reserved. Raises ValueError.
    """
    if not text or text.startswith("#"):
        return None
    fields = text.split("|")
    registry, country, kind = (*fields, "", "", "")[:3]
    if registry[:1].isdigit() or kind == "asn" or fields[-1] == "summary":
        return None
    if len(fields) < _FIELDS or kind not in {"ipv4", "ipv6"}:
        raise ValueError(f"{text[:80]!r} is no row of a delegated-extended file")
    if fields[6] not in _DELEGATED:
        return None
    first = ip_address(fields[3])
    if (kind == "ipv4") != isinstance(first, IPv4Address):
        raise ValueError(f"{fields[3]!r} is no {kind} address")
    last = type(first)(int(first) + _size(first, fields[4]) - 1)
    return Allocation(first, last, Holding(_country(country), _holder(registry, fields)))


def _size(first: IPv4Address | IPv6Address, value: str) -> int:
    """Read what an IPv4 row counts, an IPv6 row gives as prefix length."""
    if not (value.isascii() and value.isdecimal() and len(value) <= first.max_prefixlen.bit_length() + 4):
        raise ValueError(f"{value[:80]!r} is no number")
    size = int(value)
    if isinstance(first, IPv6Address):
        if not 0 < size <= first.max_prefixlen:
            raise ValueError(f"{value!r} is no prefix length from 1 to 128")
        size = 1 << first.max_prefixlen - size
        if int(first) % size:
            raise ValueError(f"{first}/{value} has host bits set")
    if not 0 < size <= (1 << first.max_prefixlen) - int(first):
        raise ValueError(f"{value} addresses from {first} on are more than there are, or none")
    return size


def _country(text: str) -> str | None:
    code = text.upper()
    return code if len(code) == 2 and code.isascii() and code.isalpha() and code != _UNKNOWN_COUNTRY else None  # noqa: PLR2004 -- ISO 3166-1 alpha-2


def _holder(registry: str, fields: list[str]) -> str | None:
    opaque = fields[_FIELDS] if len(fields) > _FIELDS else ""
    if len(opaque) > MAX_HOLDER or not (registry + opaque).isprintable():
        raise ValueError(f"{opaque[:80]!r} is no opaque-id")
    return f"{registry}:{opaque}" if opaque else None
