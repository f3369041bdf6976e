"""Targets, observations and items: what flows from the target list to the store.

:class:`Target` goes in, :class:`Observation` is the fact that comes out of a probe, and
:class:`SmtpItem` is that fact with what pipelines add to it, in the shape of the feeds
(``docs/reference/items.md``).
"""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

from smtpsurvey.outcomes import Dane, Flag, Outcome, StartTls, TlsSecond
from smtpsurvey.smtp.capabilities import extensions
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.smtp.reply import Reply, text_of
from smtpsurvey.smtp.tls import TlsFacts

DEFAULT_PORT = 25


@attrs.define(eq=False)
class Target:
    """One address to probe, with what admission learns about it on the way.

    ``ip`` is a canonical IPv4 or IPv6 address, ``position`` counts the targets of the list from 0
    (a CIDR counts once for each address). ``asn``, ``prefix`` and ``country`` are filled by
    admission (the AS filter), ``None`` where no map is loaded or it does not know the address. ``domain`` is one whose
    mail it takes, where that led to it.
    """

    ip: str
    port: int = DEFAULT_PORT
    name: str | None = None
    tag: str | None = None
    source: str | None = None
    position: int = 0
    asn: int | None = None
    prefix: str | None = None
    country: str | None = None
    domain: str | None = None


@attrs.frozen(eq=False)
class Interruption:
    """Where (:class:`~smtpsurvey.outcomes.Stage`) and how (``Trouble``) a conversation broke off."""

    stage: str
    reason: str


@attrs.frozen(eq=False)
class SecondHandshake:
    """What another connection showed: ``offers`` says what was different (:class:`~smtpsurvey.outcomes.TlsSecond`)."""

    offers: TlsSecond
    facts: TlsFacts


@attrs.frozen(eq=False)
class Observation:
    """What one probe saw: a fact, never changed afterwards.

    ``time`` is the start in seconds since the epoch, ``duration`` in seconds. The replies keep
    their raw bytes. ``reason`` goes with ``excluded`` and ``local_error``.
    """

    target: Target
    time: float
    duration: float
    outcome: Outcome
    reason: str | None = None
    greeting: Reply | None = None
    ehlo: Reply | None = None
    extensions: dict[str, str] | None = None
    helo: Reply | None = None
    starttls: StartTls | None = None
    starttls_reply: Reply | None = None
    tls: TlsFacts | None = None
    tls_ehlo: Reply | None = None
    quit: Reply | None = None
    interrupted: Interruption | None = None
    flags: tuple[Flag, ...] = ()
    second: SecondHandshake | None = None
    dane: Dane | None = None


@attrs.define(eq=False, slots=False)
class ReplyItem:
    """A reply in a feed: ``code`` (``None`` when the bytes were no reply) and escaped ``text``."""

    code: int | None
    text: str


@attrs.define(eq=False, slots=False)
class EhloItem:
    """A reply to EHLO in a feed, with its extensions in the order sent."""

    code: int | None
    text: str
    extensions: dict[str, str] | None = None


@attrs.define(eq=False, slots=False)
class SecondTlsItem:
    """A second handshake in a feed, with what the second connection ``offers`` that the first did not."""

    offers: str
    version: str | None = None
    cipher: str | None = None
    chain: list[str] | None = None
    error: str | None = None


@attrs.define(eq=False, slots=False)
class TlsItem:
    """The TLS facts of a feed; ``chain`` holds the SHA-256 of each certificate's DER, in hex."""

    version: str | None = None
    cipher: str | None = None
    chain: list[str] | None = None
    certificate: Certificate | None = None
    trusted: bool | None = None
    trust_error: str | None = None
    matches_name: bool | None = None
    ehlo: EhloItem | None = None
    error: str | None = None
    stray_plaintext: str | None = None
    group: str | None = None
    sni: bool | None = None
    matches_domain: bool | None = None
    staple: str | None = None
    second: SecondTlsItem | None = None
    dane: str | None = None


@attrs.define(eq=False, slots=False)
class Software:
    """A verdict of the fingerprints: what runs there, by which rule, on which evidence, how surely.

    ``edition`` is also the name of the release (``2019 CU12``). ``cpe`` is a CPE 2.3 formatted string.
    ``certainty`` is one of :class:`smtpsurvey.outcomes.Certainty`; ``claims`` goes with
    ``disputed`` and says which product the ``greeting`` names and which the ``behaviour``.
    """

    vendor: str | None
    product: str
    version: str | None = None
    rule: str | None = None
    evidence: str | None = None
    edition: str | None = None
    os: str | None = None
    cpe: str | None = None
    certainty: str | None = None
    claims: dict[str, str] | None = None


class _Carrier:
    """Keeps the observation beside the fields, so that no feed writes it and the store can."""

    _observation: Observation | None = None

    @property
    def observation(self) -> Observation | None:
        """The fact this item was made from, raw bytes included (``None`` for an imported item)."""
        return self._observation


@attrs.define(eq=False, slots=False)
class SmtpItem(_Carrier):
    """One probed target, in the shape of the feeds. ``time`` is ISO 8601 in UTC, milliseconds.

    A plain ``__dict__`` class: msgspec then writes the fields in this order.
    """

    survey: str
    ip: str
    port: int
    name: str | None
    tag: str | None
    source: str | None
    time: str
    duration: float
    outcome: str
    reason: str | None = None
    greeting: ReplyItem | None = None
    ehlo: EhloItem | None = None
    helo: ReplyItem | None = None
    starttls: str | None = None
    starttls_reply: ReplyItem | None = None
    quit: ReplyItem | None = None
    tls: TlsItem | None = None
    interrupted: Interruption | None = None
    flags: list[str] | None = None
    asn: int | None = None
    prefix: str | None = None
    country: str | None = None
    software: Software | None = None
    domain: str | None = None

    @classmethod
    def from_observation(cls, seen: Observation, survey: str) -> SmtpItem:
        """Put a fact into the shape of the feeds, under a survey's label."""
        target, ehlo = seen.target, seen.ehlo
        item = cls(
            survey,
            target.ip,
            target.port,
            target.name,
            target.tag,
            target.source,
            iso_time(seen.time),
            seen.duration,
            seen.outcome,
            seen.reason,
            _reply_item(seen.greeting),
            None if ehlo is None else EhloItem(ehlo.code, ehlo.text, seen.extensions),
            _reply_item(seen.helo),
            seen.starttls,
            _reply_item(seen.starttls_reply),
            _reply_item(seen.quit),
            None if seen.tls is None else _tls_item(seen.tls, seen),
            seen.interrupted,
            list(seen.flags) or None,
            target.asn,
            target.prefix,
            target.country,
            None,
            target.domain,
        )
        item._observation = seen
        return item


def _reply_item(reply: Reply | None) -> ReplyItem | None:
    return None if reply is None else ReplyItem(reply.code, reply.text)


def _tls_item(facts: TlsFacts, seen: Observation) -> TlsItem:
    ehlo, second = seen.tls_ehlo, seen.second
    return TlsItem(
        facts.version,
        facts.cipher,
        list(facts.hashes) or None,
        facts.certificate,
        facts.trusted,
        facts.trust_error,
        facts.matches_name,
        None if ehlo is None else EhloItem(ehlo.code, ehlo.text, extensions(ehlo.lines)),
        facts.error,
        None if facts.stray_plaintext is None else text_of(facts.stray_plaintext),
        facts.group,
        facts.sni,
        facts.matches_domain,
        facts.staple,
        None if second is None else _second_item(second.offers, second.facts),
        seen.dane,
    )


def _second_item(offers: TlsSecond, facts: TlsFacts) -> SecondTlsItem:
    return SecondTlsItem(offers, facts.version, facts.cipher, list(facts.hashes) or None, facts.error)


def iso_time(seconds: float) -> str:
    """Seconds since the epoch as ``2026-11-25T01:02:03.456Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
