"""The behaviours of the lab's hosts: what they do, and what a survey must find out about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from smtpsurvey.lab import nasty
from smtpsurvey.lab.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen(eq=False, kw_only=True)
class Behaviour:
    """How a host behaves.

    ``greeting`` replaces the product's (raw bytes; ``{host}`` is filled in), ``change`` transforms
    the product's replies. ``expect`` are the facts that differ from a polite host's; a fact that is
    absent there is left open. ``named`` says whether the session still shows the product's name,
    ``tls`` whether the host offers STARTTLS: always, or (None) as its product does.
    """

    name: str
    weight: float
    session: type[Session] = Session
    greeting: bytes | None = None
    change: str | None = None
    expect: Mapping[str, Any] = attrs.field(factory=dict)
    named: bool = True
    tls: bool | None = None


def _no_greeting(outcome: str) -> dict[str, Any]:
    return {"outcome": outcome, "greeting": None, "greeting_code": None, "starttls": None}


def _interrupted(stage: str, reason: str, **facts: Any) -> dict[str, Any]:
    return {"interrupted": {"stage": stage, "reason": reason}, **facts}


# A handshake that fails is told by starttls and tls_error; whether it is an interruption besides is left open.
def _tls_failed(error: str) -> dict[str, Any]:
    return {"starttls": "failed", "tls_error": error}


POLITE = Behaviour(name="polite", weight=0)

NASTY = (
    # Before a complete greeting.
    Behaviour(name="silent", weight=1, session=nasty.Silent, expect=_no_greeting("silent"), named=False),
    Behaviour(name="accept_close", weight=4, session=nasty.Closes, expect=_no_greeting("closed"), named=False),
    Behaviour(name="accept_reset", weight=4, session=nasty.Resets, expect=_no_greeting("reset"), named=False),
    Behaviour(
        name="endless_teaser",
        weight=0.5,
        session=nasty.EndlessTeaser,
        expect=_no_greeting("too_slow"),
        named=False,
    ),
    Behaviour(
        name="endless_lines",
        weight=1,
        session=nasty.EndlessLines,
        expect=_no_greeting("oversize"),
        named=False,
    ),
    Behaviour(
        name="long_line",
        weight=1,
        greeting=b"220 " + b"A" * 100_000 + b"\r\n",
        expect=_no_greeting("oversize"),
        named=False,
    ),
    Behaviour(
        name="binary",
        weight=2,
        greeting=b"J\x00\x00\x00\n5.7.42\x00\x1f\x8b\x08\xff\xfe\x80\r\n\x00\xde\xad\xbe\xef\r\n",
        expect=_no_greeting("not_smtp"),
        named=False,
    ),
    Behaviour(
        name="http",
        weight=3,
        greeting=b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nConnection: close\r\n\r\n",
        expect=_no_greeting("not_smtp"),
        named=False,
    ),
    Behaviour(
        name="ssh",
        weight=3,
        greeting=b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
        expect=_no_greeting("not_smtp"),
        named=False,
    ),
    # Odd greetings, complete all the same.
    Behaviour(
        name="busy_421",
        weight=5,
        session=nasty.Farewell,
        greeting=b"421 4.7.0 {host} Error: too many connections from your address\r\n",
        expect=_interrupted("quit", "closed", starttls=None),
        named=False,
    ),
    Behaviour(
        name="refuse_554",
        weight=5,
        session=nasty.Farewell,
        greeting=b"554 5.7.1 {host} You are not allowed to connect.\r\n",
        expect=_interrupted("quit", "closed", starttls=None),
        named=False,
    ),
    Behaviour(
        name="refuse_554_stay",
        weight=4,
        greeting=b"554-{host}\r\n554-Your access to this mail system has been rejected due to\r\n"
        b"554 the sending MTA's poor reputation.\r\n",
        expect={"starttls": None},
        named=False,
    ),
    Behaviour(name="teaser", weight=4, session=nasty.Teaser, change="teaser", named=False),
    Behaviour(name="drip", weight=2, session=nasty.Drip, greeting=b"220 {host} ESMTP\r\n", named=False),
    Behaviour(name="wordless", weight=2, greeting=b"220\r\n", named=False),
    Behaviour(
        name="not_ascii", weight=2, greeting=b"220 {host} ESMTP Bienvenue \xe0 la b\xeate \x00\x1b[1m\r\n", named=False
    ),
    Behaviour(name="bare_lf", weight=3, change="bare_lf"),
    Behaviour(name="lower_case", weight=3, change="lower_case", tls=True),
    # Trouble after the greeting.
    Behaviour(name="ehlo_refused", weight=4, session=nasty.EhloRefused, expect={"starttls": "not_offered"}, tls=False),
    Behaviour(
        name="ehlo_close", weight=3, session=nasty.EhloCloses, expect=_interrupted("ehlo", "closed", starttls=None)
    ),
    Behaviour(
        name="ehlo_reset", weight=3, session=nasty.EhloResets, expect=_interrupted("ehlo", "reset", starttls=None)
    ),
    Behaviour(
        name="ehlo_garbage", weight=1, session=nasty.EhloGarbage, expect=_interrupted("ehlo", "not_smtp", starttls=None)
    ),
    Behaviour(name="starttls_454", weight=5, session=nasty.StarttlsRefused, expect={"starttls": "refused"}, tls=True),
    Behaviour(name="starttls_close", weight=3, session=nasty.StarttlsCloses, expect=_tls_failed("closed"), tls=True),
    Behaviour(name="tls_garbage", weight=3, session=nasty.TlsGarbage, expect=_tls_failed("not_tls"), tls=True),
    Behaviour(name="tls_alert", weight=4, session=nasty.TlsAlert, expect=_tls_failed("alert:internal_error"), tls=True),
    Behaviour(name="tls_stall", weight=0.5, session=nasty.TlsStalls, expect=_tls_failed("timeout"), tls=True),
    Behaviour(
        name="stray_plaintext",
        weight=3,
        session=nasty.StrayPlaintext,
        expect={"stray_plaintext": nasty.STRAY.decode()},
        tls=True,
    ),
    Behaviour(
        name="tls_ehlo_close",
        weight=2,
        session=nasty.TlsEhloCloses,
        expect=_interrupted("ehlo_tls", "closed"),
        tls=True,
    ),
    Behaviour(name="quit_close", weight=4, session=nasty.QuitCloses, expect=_interrupted("quit", "closed")),
    Behaviour(name="quit_hang", weight=0.5, session=nasty.QuitHangs, expect=_interrupted("quit", "too_slow")),
)
