"""The AS map: which AS announces an address, from a MaxMind DB file (MMDB).

Reads what ``scrapy asmap build`` writes, and GeoLite2-ASN, IPinfo and DB-IP files as they are.
"""

from __future__ import annotations

import os
from ipaddress import IPv6Network
from typing import TYPE_CHECKING, Any, NamedTuple

import maxminddb

from smtpsurvey.admission import MAX_ASN, AdmissionError
from smtpsurvey.admission.ranges import covering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.admission.ranges import Network


DATABASE_TYPE = "smtpsurvey-AS"
"""What the metadata of a map made by ``scrapy asmap build`` say that it is."""

Origin = int | tuple[int, ...]
"""Who originates a route: an AS, or the AS set that an aggregated route ends with (RFC 4271 section 5.1.2)."""

Origins = tuple[Origin, ...]


_COUNTRY = 2  # letters (ISO 3166-1 alpha-2)
IPV4_IN_MMDB = IPv6Network("::/96")  # where an MMDB file of both families keeps IPv4


class AsMapError(AdmissionError):
    """The AS map cannot be read; the message names the file and the reason."""


class Announcement(NamedTuple):
    """What the map knows of an address.

    ``asn`` is the (most frequent) origin, ``prefix`` the announced CIDR, ``country`` two letters,
    ``origins`` every AS that originates the prefix, those of AS sets too, ``asn`` first. ``None`` and ``()`` where
    unknown.
    """

    asn: int | None
    prefix: str | None
    country: str | None
    origins: tuple[int, ...]


UNKNOWN = Announcement(None, None, None, ())


class Details(NamedTuple):
    """What the map knows beside that: ``origins`` with AS sets kept together, and the holder (``apnic:A91872ED``)."""

    origins: Origins
    holder: str | None


def check_mappable(network: Network) -> None:
    """Raise ValueError for a network that no map holds: a default route, or what covers the place of IPv4."""
    if not network.prefixlen:
        raise ValueError(f"{network} is a default route")
    if isinstance(network, IPv6Network) and network.overlaps(IPV4_IN_MMDB):
        raise ValueError(f"{network} overlaps {IPV4_IN_MMDB}, where the map keeps IPv4")


class AsMap:
    """An MMDB file, mapped into memory: opens at once, shared by all processes of a machine."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the map; raises AsMapError."""
        self._path = os.fspath(path)
        try:
            self._reader = maxminddb.open_database(self._path)
        except (OSError, maxminddb.InvalidDatabaseError) as error:
            raise AsMapError(f"{self._path}: {getattr(error, 'strerror', None) or error}") from None
        self._get = self._reader.get_with_prefix_len
        metadata = self._reader.metadata()
        self._ipv6 = metadata.ip_version == 6  # noqa: PLR2004 -- IPv6
        self._ours = metadata.database_type == DATABASE_TYPE  # which names the prefix wherever there is one

    def lookup(self, ip: str) -> Announcement:
        """Return what the map says of ``ip`` (canonical text); raises AsMapError when the file is corrupt."""
        record, length = self._find(ip)
        if record is None:
            return UNKNOWN
        asn = record.get("autonomous_system_number")
        if type(asn) is not int or not 0 < asn <= MAX_ASN:
            asn = _asn(record.get("autonomous_system_number", record.get("asn")))
        prefix = record.get("prefix")
        if not isinstance(prefix, str):
            prefix = None if self._ours else covering(ip, length)
        country = record.get("country")
        if type(country) is not str or len(country) != _COUNTRY:
            country = _country(record)
        if "origins" in record and asn is not None:
            return Announcement(asn, prefix, country, (asn, *_others(record["origins"], asn)))
        return Announcement(asn, prefix, country, () if asn is None else (asn,))

    def details(self, ip: str) -> Details:
        """Return what else the map says of ``ip`` (canonical text); raises AsMapError when the file is corrupt."""
        record = self._find(ip)[0] or {}
        first, holder = record.get("autonomous_system_number", record.get("asn")), record.get("holder")
        groups = [tuple(_ases([each])) for each in _items(record.get("origins")) or [first]]
        origins = tuple(group if len(group) > 1 else group[0] for group in groups if group)
        return Details(origins, holder if isinstance(holder, str) else None)

    def _find(self, ip: str) -> tuple[dict[str, Any] | None, int]:
        if ":" in ip and not self._ipv6:
            return None, 0
        try:
            record, length = self._get(ip)
        except maxminddb.InvalidDatabaseError as error:
            raise AsMapError(f"{self._path}: {error}") from None
        return record if isinstance(record, dict) else None, length


def _asn(value: Any) -> int | None:
    if isinstance(value, str):
        digits = value.removeprefix("AS")
        value = int(digits) if digits.isdecimal() and len(digits) <= len(str(MAX_ASN)) else None
    return value if isinstance(value, int) and 0 < value <= MAX_ASN else None


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _ases(origins: Any) -> Iterator[int]:
    """Yield the ASes of a list, and of the lists in it, which are AS sets."""
    for each in _items(origins):
        for found in map(_asn, _items(each) or (each,)):
            if found is not None:
                yield found


def _others(origins: Any, asn: int) -> list[int]:
    return [origin for origin in dict.fromkeys(_ases(origins)) if origin != asn]


def _country(record: dict[str, Any]) -> str | None:
    for value in (record.get("country_code"), record.get("country")):
        code = value.get("iso_code") if isinstance(value, dict) else value
        if isinstance(code, str) and len(code) == _COUNTRY:
            return code
    return None
