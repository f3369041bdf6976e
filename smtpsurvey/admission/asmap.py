"""The AS map: which AS announces an address, from a MaxMind DB file (MMDB).

Reads what ``scrapy asmap build`` writes, and GeoLite2-ASN, IPinfo and DB-IP files as they are.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import maxminddb

from smtpsurvey.admission import MAX_ASN, AdmissionError
from smtpsurvey.admission.ranges import covering


class AsMapError(AdmissionError):
    """The AS map cannot be read; the message names the file and the reason."""


class Announcement(NamedTuple):
    """What the map knows of an address.

    ``asn`` is the (most frequent) origin, ``prefix`` the announced CIDR, ``country`` two letters,
    ``origins`` every AS that originates the prefix, ``asn`` first. ``None`` and ``()`` where unknown.
    """

    asn: int | None
    prefix: str | None
    country: str | None
    origins: tuple[int, ...]


UNKNOWN = Announcement(None, None, None, ())


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
        self._ipv6 = self._reader.metadata().ip_version == 6  # noqa: PLR2004 -- IPv6

    def lookup(self, ip: str) -> Announcement:
        """Return what the map says of ``ip`` (canonical text); raises AsMapError when the file is corrupt."""
        if ":" in ip and not self._ipv6:
            return UNKNOWN
        try:
            record, length = self._get(ip)
        except maxminddb.InvalidDatabaseError as error:
            raise AsMapError(f"{self._path}: {error}") from None
        if not isinstance(record, dict):
            return UNKNOWN
        asn = _asn(record.get("autonomous_system_number", record.get("asn")))
        prefix = record.get("prefix")
        if not isinstance(prefix, str):
            prefix = covering(ip, length)
        origins = record.get("origins")
        return Announcement(
            asn,
            prefix,
            _country(record),
            () if asn is None else (asn,) if origins is None else (asn, *_others(origins, asn)),
        )


def _asn(value: Any) -> int | None:
    if isinstance(value, str):
        digits = value.removeprefix("AS")
        value = int(digits) if digits.isdecimal() and len(digits) <= len(str(MAX_ASN)) else None
    return value if isinstance(value, int) and 0 < value <= MAX_ASN else None


def _others(origins: Any, asn: int) -> list[int]:
    found = map(_asn, origins) if isinstance(origins, list) else ()
    return [origin for origin in found if origin is not None and origin != asn]


def _country(record: dict[str, Any]) -> str | None:
    for value in (record.get("country_code"), record.get("country")):
        code = value.get("iso_code") if isinstance(value, dict) else value
        if isinstance(code, str) and len(code) == 2:  # noqa: PLR2004 -- ISO 3166-1 alpha-2
            return code
    return None
