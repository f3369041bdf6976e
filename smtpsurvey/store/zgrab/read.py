"""Reads zgrab2's results.

Something is lost: zgrab2 writes bytes that are not UTF-8 as U+FFFD, knows no duration, and does
not always tell a connection that was closed from one that timed out; what its ``error`` says helps.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING

import certifi
import msgspec

from smtpsurvey.items import DEFAULT_PORT, Interruption, Observation, Target
from smtpsurvey.outcomes import Outcome, Stage, StartTls, TlsError, Trouble, TrustError
from smtpsurvey.smtp.capabilities import extensions
from smtpsurvey.smtp.certificate import Examiner
from smtpsurvey.smtp.reply import Limits, NotAReplyError, Reply, ReplyReader, unfinished
from smtpsurvey.smtp.tls import TlsFacts
from smtpsurvey.store.checks import BadItemError, address, timestamp
from smtpsurvey.store.zgrab.format import (
    Certificates,
    Handshake,
    Line,
    Named,
    Result,
    Scan,
    ServerHello,
    TlsLog,
    Validation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_READY = 220
_DONE = frozenset(("success", "application-error"))  # the second is what an SMTP server said
_CHAIN = 100  # certificates of a chain that are looked at


_decode = msgspec.json.Decoder(Line).decode
_decode_result = msgspec.json.Decoder(Result | None).decode

# What never got as far as a greeting, by the status of the scan.
_OUTCOMES = {
    "connection-refused": Outcome.REFUSED,
    "connection-timeout": Outcome.TIMEOUT,
    "connection-closed": Outcome.CLOSED,
    "io-timeout": Outcome.SILENT,
    "protocol-error": Outcome.NOT_SMTP,
}
# What Go says of sockets; zgrab2's status is often the same for several of these.
_ERRORS = (
    ("connection refused", Outcome.REFUSED),
    ("no route to host", Outcome.UNREACHABLE),
    ("network is unreachable", Outcome.UNREACHABLE),
    ("connection reset", Outcome.RESET),
    ("broken pipe", Outcome.CLOSED),
    ("EOF", Outcome.CLOSED),
    ("too many open files", Outcome.LOCAL_ERROR),
    ("cannot assign requested address", Outcome.LOCAL_ERROR),
)
_TROUBLES = {
    Outcome.CLOSED: Trouble.CLOSED,
    Outcome.RESET: Trouble.RESET,
    Outcome.NOT_SMTP: Trouble.NOT_SMTP,
}
_TLS_VERSIONS = {"TLSv1.0": "TLSv1"}  # OpenSSL's name


def observations(line: bytes) -> list[Observation]:
    """Give the observation of each scan of SMTP in a line.

    Raises ``msgspec.DecodeError``, and :class:`~smtpsurvey.store.checks.BadItemError` for values that cannot be.
    """
    found = _decode(line)
    return [_observation(found, scan) for scan in found.data.values() if scan.protocol == "smtp"]


def _observation(line: Line, scan: Scan) -> Observation:
    if not line.ip:
        raise BadItemError("no ip")
    target = Target(address(line.ip), DEFAULT_PORT if scan.port is None else scan.port, line.domain or None)
    if scan.timestamp is None:
        raise BadItemError("no timestamp")
    time = timestamp(scan.timestamp)
    result = _decode_result(scan.result) or Result()
    status, ended = scan.status, _ended(scan)
    greeting = _reply(result.banner)
    if greeting is None or greeting.code is None:
        if status in _DONE:
            ended = Outcome.NOT_SMTP if greeting else Outcome.LOCAL_ERROR
        elif ended is Outcome.SILENT and greeting:
            ended = Outcome.TOO_SLOW
        reason = status if ended is Outcome.LOCAL_ERROR else None
        return Observation(target, time, 0.0, ended, reason, greeting)
    ehlo, helo, begun, quit_ = map(_reply, (result.ehlo, result.helo, result.starttls, result.quit))
    tls = None if result.tls is None else _facts(result.tls, scan, established=result.implicit_tls or status in _DONE)
    interrupted = None
    if status not in _DONE and (tls is None or tls.error is None):
        interrupted = Interruption(_stage(result), _TROUBLES.get(ended, Trouble.TOO_SLOW))
    positive = ehlo is not None and ehlo.code is not None and ehlo.code // 100 == 2  # noqa: PLR2004 - RFC 5321 4.2.1
    return Observation(
        target,
        time,
        0.0,
        Outcome.OK,
        greeting=greeting,
        ehlo=ehlo,
        extensions=extensions(ehlo.lines) if ehlo and positive else None,
        helo=helo,
        starttls=_starttls(begun, tls, result, interrupted),
        starttls_reply=begun,
        tls=tls,
        quit=quit_,
        interrupted=interrupted,
    )


def _ended(scan: Scan) -> Outcome:
    """Say how the connection ended: the words of the error tell more than the status."""
    for words, outcome in _ERRORS:
        if scan.error and words in scan.error:
            return outcome
    return _OUTCOMES.get(scan.status, Outcome.LOCAL_ERROR)


def _reply(text: str) -> Reply | None:
    r"""Read a reply; one that is not complete has no code."""
    if not text:
        return None
    raw = text.encode("utf-8", "backslashreplace")
    reader = ReplyReader(Limits(len(raw), len(raw), len(raw)))
    reader.feed(raw if raw.endswith(b"\n") else raw + b"\r\n")
    try:
        reply = reader.next_reply()
    except NotAReplyError:
        return unfinished(raw)
    return unfinished(raw) if reply is None else reply


def _stage(result: Result) -> Stage:
    """Say where a scan broke off; which commands it would have sent is not told, so the first is EHLO."""
    if result.starttls:
        return Stage.TLS
    return Stage.STARTTLS if result.ehlo or result.helo else Stage.EHLO


def _starttls(
    reply: Reply | None, tls: TlsFacts | None, result: Result, interrupted: Interruption | None
) -> StartTls | None:
    if result.implicit_tls:
        return None
    if reply is None:
        if interrupted is not None:
            return StartTls.FAILED if interrupted.stage == Stage.STARTTLS else None
        return StartTls.NOT_ASKED
    if reply.code != _READY:
        return StartTls.REFUSED
    return StartTls.OK if tls is not None and tls.error is None else StartTls.FAILED


def _facts(log: TlsLog, scan: Scan, *, established: bool) -> TlsFacts:
    shake = log.handshake_log or Handshake()
    hello, sent = shake.server_hello or ServerHello(), shake.server_certificates or Certificates()
    error = None if established else _tls_error(scan)
    version = cipher = None
    if error is None:
        selected = hello.supported_versions and hello.supported_versions.selected_version
        name = (selected or hello.version or Named()).name
        version = name and _TLS_VERSIONS.get(name, name)
        cipher = _openssl_name(hello.cipher_suite)
    ders = tuple(each.raw for each in (sent.certificate, *(sent.chain or ())) if each is not None and each.raw)
    if not ders:
        return TlsFacts(version, cipher, error=error)
    chain, verdict = _examiner().chain(ders[:_CHAIN]), sent.validation or Validation()
    return TlsFacts(
        version,
        cipher,
        ders[:_CHAIN],
        chain.hashes,
        chain.certificate,
        verdict.browser_trusted,
        _trust_error(verdict),
        verdict.matches_domain,
        error,
    )


def _tls_error(scan: Scan) -> str:
    text = scan.error or scan.status
    for words, error in (
        ("protocol version not supported", TlsError.PROTOCOL_VERSION),
        ("unsupported protocol version", TlsError.PROTOCOL_VERSION),
        ("does not look like a TLS handshake", TlsError.NOT_TLS),
        ("connection reset", TlsError.RESET),
        ("EOF", TlsError.CLOSED),
        ("timeout", TlsError.TIMEOUT),
    ):
        if words in text:
            return error
    _, alert, name = text.partition("remote error: tls: ")
    return f"alert:{name.replace(' ', '_')}" if alert else f"other:{text}"


def _trust_error(verdict: Validation) -> str | None:
    text = verdict.browser_error
    if verdict.browser_trusted is not False or not text:
        return None
    for words, error in (
        ("unknown authority", TrustError.UNKNOWN_ISSUER),
        ("is before", TrustError.NOT_YET_VALID),
        ("is after", TrustError.EXPIRED),
    ):
        if words in text:
            return error
    return text if text in frozenset(TrustError) else f"other:{text}"  # the first where we have written it


@cache
def _examiner() -> Examiner:
    """Read certificates; the verdicts are zgrab2's, not of this one, which comes too late for them."""
    return Examiner(certifi.where())


@cache
def _suites() -> Mapping[int, str]:
    """Give OpenSSL's names of cipher suites by their numbers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {suite["id"] & 0xFFFF: suite["name"] for suite in context.get_ciphers()}


def _openssl_name(suite: Named | None) -> str | None:
    if suite is None:
        return None
    return suite.name if suite.value is None else _suites().get(suite.value, suite.name)
