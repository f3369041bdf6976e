"""Writes observations as zgrab2 would have."""

from __future__ import annotations

import re
import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from smtpsurvey.outcomes import Outcome, Stage, StartTls, TlsError, Trouble
from smtpsurvey.store.rows import from_row
from smtpsurvey.store.zgrab.format import (
    NOTHING,
    Certificates,
    Encoded,
    Handshake,
    Line,
    Named,
    Result,
    Scan,
    Selected,
    ServerHello,
    TlsLog,
    Validation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Row

    from smtpsurvey.items import SmtpItem, TlsItem
    from smtpsurvey.smtp.certificate import Certificate

_encode = msgspec.json.Encoder().encode
_PROTOCOL = "smtp"
_NUMBERS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
_TLS_1_2 = 0x0303
# Status and error, in Go's words.
_ENDED = {
    Outcome.REFUSED: ("connection-refused", "connect: connection refused"),
    Outcome.UNREACHABLE: ("connection-timeout", "connect: no route to host"),
    Outcome.TIMEOUT: ("connection-timeout", "i/o timeout"),
    Outcome.SILENT: ("io-timeout", "i/o timeout"),
    Outcome.TOO_SLOW: ("io-timeout", "i/o timeout"),
    Outcome.CLOSED: ("connection-closed", "EOF"),
    Outcome.RESET: ("connection-closed", "read: connection reset by peer"),
    Outcome.NOT_SMTP: ("protocol-error", "invalid response"),
    Outcome.OVERSIZE: ("protocol-error", "response too long"),
}
_BROKEN_OFF = {
    Trouble.CLOSED: _ENDED[Outcome.CLOSED],
    Trouble.RESET: _ENDED[Outcome.RESET],
    Trouble.TOO_SLOW: _ENDED[Outcome.TOO_SLOW],
    Trouble.NOT_SMTP: _ENDED[Outcome.NOT_SMTP],
    Trouble.OVERSIZE: _ENDED[Outcome.OVERSIZE],
}
_LATE = frozenset((Stage.EHLO_TLS, Stage.QUIT))  # by then zgrab2 has what it came for
_TLS_ERRORS = {
    TlsError.PROTOCOL_VERSION: "remote error: tls: protocol version not supported",
    TlsError.NOT_TLS: "tls: first record does not look like a TLS handshake",
    TlsError.RESET: "read: connection reset by peer",
    TlsError.CLOSED: "EOF",
    TlsError.TIMEOUT: "i/o timeout",
}
# OpenSSL's names of the suites before TLS 1.3: key exchange, authentication, cipher, mode, hash.
_SUITE = re.compile(
    r"(?:(ECDHE|DHE)-)?(?:(ECDSA|RSA|DSS|PSK)-)?(AES|CAMELLIA|ARIA)(128|256)(?:-(GCM|CCM8|CCM|CBC))?(?:-(SHA[0-9]*))?"
    r"|(ECDHE|DHE)-(ECDSA|RSA)-CHACHA20-POLY1305"
)


def line(row: Row[Any], ders: Mapping[str, bytes]) -> bytes | None:
    """Give the line of an observation, ``None`` for a target that was never contacted (``excluded``).

    ``ders`` has certificates by SHA-256; of one that it lacks only what is known is written.
    """
    item = from_row(row)
    if item.outcome == Outcome.EXCLUDED:
        return None
    status, error = _status(item)
    result = Result(
        banner=_text(row.greeting),
        helo=_text(row.helo),
        ehlo=_text(row.ehlo),
        starttls=_text(row.starttls_reply),
        quit=_text(row.quit),
        tls=None if item.tls is None else _log(item.tls, ders),
    )
    found = msgspec.Raw(_encode(result)) if item.greeting is not None else NOTHING
    scan = Scan(status, _PROTOCOL, item.port, item.time, found, error)
    return _encode(Line(item.ip, item.name or "", {_PROTOCOL: scan}))


def _status(item: SmtpItem) -> tuple[str, str | None]:
    outcome = Outcome(item.outcome)
    if outcome is not Outcome.OK:
        return _ENDED.get(outcome, ("unknown-error", item.reason))
    if item.interrupted is not None and item.interrupted.stage not in _LATE:
        return _BROKEN_OFF[Trouble(item.interrupted.reason)]
    if item.tls is not None and item.tls.error is not None:
        return "handshake-error", _tls_error(item.tls.error)
    for reply, fine in ((item.greeting, True), (item.starttls_reply, item.starttls != StartTls.REFUSED)):
        code = reply.code if reply else None
        if code is not None and not (200 <= code < 300 and fine):  # noqa: PLR2004 - RFC 5321 section 4.2.1
            return "application-error", f"SMTP error code {code}"
    return "success", None


def _tls_error(error: str) -> str:
    kind, _, name = error.partition(":")
    if kind == "alert":
        return f"remote error: tls: {name.replace('_', ' ')}"
    return name if kind == "other" else _TLS_ERRORS.get(error, error)  # type: ignore[call-overload]  # members are strings


def _log(tls: TlsItem, ders: Mapping[str, bytes]) -> TlsLog:
    hello = None
    if tls.version is not None:
        number = _NUMBERS.get(tls.version)
        version = Named("TLSv1.0" if tls.version == "TLSv1" else tls.version, number)
        late = number is not None and number > _TLS_1_2
        hello = ServerHello(
            Named("TLSv1.2", _TLS_1_2) if late else version,
            None if tls.cipher is None else _suite(tls.cipher),
            Selected(version) if late else None,
        )
    if tls.certificate is None:
        return TlsLog(Handshake(hello))
    leaf, chain = tls.certificate, [digest for digest in tls.chain or () if digest != tls.certificate.sha256]
    sent = Certificates(
        Encoded(ders.get(leaf.sha256), _parsed(leaf)),
        [Encoded(ders.get(digest), msgspec.Raw(_encode({"fingerprint_sha256": digest}))) for digest in chain] or None,
        Validation(tls.trusted, tls.trust_error, tls.matches_name),
    )
    return TlsLog(Handshake(hello, sent))


def _parsed(leaf: Certificate) -> msgspec.Raw:
    return msgspec.Raw(
        _encode(
            {
                "subject_dn": leaf.subject,
                "issuer_dn": leaf.issuer,
                "names": leaf.names,
                "validity": {"start": leaf.not_before, "end": leaf.not_after},
                "fingerprint_sha256": leaf.sha256,
            }
        )
    )


def _text(raw: bytes | None) -> str:
    """Decode as Go's JSON encoder does."""
    return "" if raw is None else raw.decode("utf-8", "replace")


@cache
def _numbers() -> Mapping[str, int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {suite["name"]: suite["id"] & 0xFFFF for suite in context.get_ciphers()}


def _suite(name: str) -> Named:
    number = _numbers().get(name)
    return Named(_standard_name(name), number, None if number is None else f"0x{number:04X}")


def _standard_name(name: str) -> str | None:
    """Give IANA's name of a cipher suite that OpenSSL calls so; ``None`` where there is no telling."""
    if name.startswith("TLS_"):
        return name
    found = _SUITE.fullmatch(name)
    if found is None:
        return None
    exchange, authentication, cipher, bits, mode, digest, exchange20, authentication20 = found.groups()
    if exchange20:
        return f"TLS_{exchange20}_{authentication20}_WITH_CHACHA20_POLY1305_SHA256"
    keys = "_".join(filter(None, (exchange, authentication or "RSA")))
    mode = {"CCM8": "CCM_8", None: "CBC"}.get(mode, mode)
    return "_".join(filter(None, ("TLS", keys, "WITH", cipher, bits, mode, digest)))
