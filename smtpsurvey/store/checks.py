"""What an item of a file has to be before it is stored: the types have been decoded, the values are hostile."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import isfinite
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING

from smtpsurvey.items import iso_time
from smtpsurvey.outcomes import Certainty, Evidence, Flag, Outcome, Stage, StartTls, TlsError, Trouble, TrustError
from smtpsurvey.store import StoreError
from smtpsurvey.store.writer import beginning
from smtpsurvey.targets.address import shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from smtpsurvey.items import SmtpItem, Software, TlsItem

_MAPPED = b"\0" * 10 + b"\xff\xff"  # RFC 4291 section 2.5.5.2
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CPE = re.compile(r"cpe:2\.3:[aho](:(\\[!-~]|[^:\\\s])+){10}")  # NIST IR 7695 section 6.2
_CLAIMS = {"greeting", "behaviour"}
_MAX_CODE = 999
_MAX_PORT = 0xFFFF
_MAX_ASN = 0xFFFFFFFF
_OUTCOMES, _STARTTLS, _STAGES, _TROUBLES, _FLAGS, _TLS, _TRUST, _EVIDENCE, _CERTAINTY = (
    frozenset(map(str, closed))
    for closed in (Outcome, StartTls, Stage, Trouble, Flag, TlsError, TrustError, Evidence, Certainty)
)


class BadItemError(ValueError):
    """An item that cannot be stored; the message is the reason."""


def checked(item: SmtpItem) -> SmtpItem:
    """Give an item back with its address and time in canonical form; raises :class:`BadItemError`."""
    item.ip = address(item.ip)
    item.time = canonical(item.time)
    need(0 <= item.port <= _MAX_PORT, "port", item.port)
    need(isfinite(item.duration) and item.duration >= 0, "duration", item.duration)
    need(item.asn is None or 0 <= item.asn <= _MAX_ASN, "asn", item.asn)
    one_of(_OUTCOMES, "outcome", item.outcome)
    one_of(_STARTTLS, "starttls", item.starttls)
    for flag in item.flags or ():
        one_of(_FLAGS, "flags", flag)
    if item.interrupted is not None:
        one_of(_STAGES, "interrupted.stage", item.interrupted.stage)
        one_of(_TROUBLES, "interrupted.reason", item.interrupted.reason)
    if item.software is not None:
        _check_software(item.software)
    ehlo_in_tls = None
    if item.tls is not None:
        _check_tls(item.tls)
        ehlo_in_tls = item.tls.ehlo
    for reply in (item.greeting, item.ehlo, item.helo, item.starttls_reply, item.quit, ehlo_in_tls):
        need(reply is None or reply.code is None or 0 <= reply.code <= _MAX_CODE, "code", reply and reply.code)
    return item


def label(text: str) -> str:
    """Give a survey's label back; raises :class:`BadItemError` for one that cannot be a key."""
    try:
        beginning(text, "", {})
    except StoreError as error:
        raise BadItemError(f"survey {shown(text)}: {error}") from None
    return text


def address(text: str) -> str:
    """Give an address in canonical text, an IPv4-mapped one as IPv4; raises :class:`BadItemError`."""
    try:
        inet_pton(AF_INET, text)  # accepts the canonical text and nothing else
    except (OSError, ValueError):  # ValueError: a NUL
        try:
            packed = inet_pton(AF_INET6, text)
        except (OSError, ValueError):
            raise BadItemError(f"ip {shown(text)} is no IPv4 or IPv6 address") from None
        mapped = packed.startswith(_MAPPED)
        return inet_ntop(AF_INET, packed[-4:]) if mapped else inet_ntop(AF_INET6, packed)
    return text


def timestamp(text: str) -> float:
    """Read an ISO 8601 time, UTC unless it says otherwise, as seconds since the epoch; raises :class:`BadItemError`."""
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadItemError(f"time {shown(text)} is no ISO 8601 time") from None


def canonical(time: str) -> str:
    """Give a time as items have it; raises :class:`BadItemError`."""
    seconds = timestamp(time)
    return time if _TIME.fullmatch(time) else iso_time(seconds)


def _check_software(software: Software) -> None:
    one_of(_EVIDENCE, "software.evidence", software.evidence)
    one_of(_CERTAINTY, "software.certainty", software.certainty)
    need(software.cpe is None or _CPE.fullmatch(software.cpe), "software.cpe", software.cpe)
    need(software.claims is None or set(software.claims) == _CLAIMS, "software.claims", software.claims)


def _check_tls(tls: TlsItem) -> None:
    if tls.error is not None and not tls.error.startswith(("alert:", "other:")):
        one_of(_TLS, "tls.error", tls.error)
    if tls.trust_error is not None and not tls.trust_error.startswith("other:"):
        one_of(_TRUST, "tls.trust_error", tls.trust_error)
    for digest in tls.chain or ():
        need(_DIGEST.fullmatch(digest), "tls.chain", digest)
    if tls.certificate is not None:
        need(_DIGEST.fullmatch(tls.certificate.sha256), "tls.certificate.sha256", tls.certificate.sha256)


def one_of(closed: Collection[str], name: str, value: str | None) -> None:
    """Raise :class:`BadItemError` for a value that is none of these."""
    need(value is None or value in closed, name, value)


def need(fits: object, name: str, value: object) -> None:
    """Raise :class:`BadItemError` unless a value fits."""
    if not fits:
        raise BadItemError(f"{name} cannot be {shown(str(value))}")
