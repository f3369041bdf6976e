"""The TXT records of MTA-STS (RFC 8461 section 3.1) and TLSRPT (RFC 8460 section 3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dns.exception import DNSException
from dns.rdata import from_text
from dns.rdtypes.txtbase import TXTBase

if TYPE_CHECKING:
    from collections.abc import Iterable

STS, TLSRPT = "v=STSv1", "v=TLSRPTv1"
"""What the records begin with."""

_DELIMITER = re.compile(r"[ \t]*;[ \t]*")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([!-:<>-~]+)")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_TARGETS = re.compile(r"[ \t]*,[ \t]*")
_TARGET = re.compile(r"(?:mailto|https):[!-+\--:<-~]+")


def txt(value: str) -> str | None:
    """Join the strings of a TXT record, given as in a zone file; ``None`` for what is none or no ASCII."""
    try:
        read = from_text("IN", "TXT", value)
        return b"".join(read.strings).decode("ascii") if isinstance(read, TXTBase) else None
    except (DNSException, UnicodeDecodeError):
        return None


def of_version(version: str, values: Iterable[str]) -> list[str]:
    """Give the texts of the records of this version; all others are to be left out."""
    texts = filter(None, map(txt, values))
    return [text for text in texts if _DELIMITER.split(text, maxsplit=1)[0] == version and ";" in text]


def policy_id(text: str) -> str | None:
    """Read the id of an MTA-STS record; ``None`` if it is not valid."""
    fields = _fields(text)
    found = dict(reversed(fields)).get("id") if fields else None
    return found if found is not None and _ID.fullmatch(found) else None


def report_targets(text: str) -> list[str] | None:
    """Read where a TLSRPT record wants reports (``mailto:`` and ``https:`` URIs); ``None`` if it is not valid."""
    _, *fields = _DELIMITER.split(text)
    name, _, value = fields[0].partition("=")
    targets = _TARGETS.split(value)
    if name != "rua" or not all(map(_TARGET.fullmatch, targets)):
        return None
    return targets if all(map(_FIELD.fullmatch, _unended(fields[1:]))) else None


def _fields(text: str) -> list[tuple[str, str]] | None:
    """Give names and values after the version; ``None`` unless all are well made."""
    _, *fields = _DELIMITER.split(text)
    matches = [_FIELD.fullmatch(field) for field in _unended(fields)]
    return [(match[1], match[2]) for match in matches if match] if all(matches) else None


def _unended(fields: list[str]) -> list[str]:
    """Leave out what is behind the last delimiter when that is nothing."""
    return fields[:-1] if fields and not fields[-1].strip() else fields
