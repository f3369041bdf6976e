"""What the smtp:// handler shows, and whom its gate lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred

from smtpsurvey.admission import Exclude
from smtpsurvey.errors import SurveyError
from smtpsurvey.items import Interruption, Observation, Target
from smtpsurvey.outcomes import Outcome, Reason, Stage, Trouble
from smtpsurvey.probe.handler import SmtpDownloadHandler, SmtpResponse, transcript
from smtpsurvey.smtp.reply import complete
from smtpsurvey.smtp.tls import TlsFacts

if TYPE_CHECKING:
    from smtpsurvey.admission.gate import Hook

HERE, ABROAD = Target("127.0.0.1"), Target("192.0.2.1")


def test_a_transcript_of_everything() -> None:
    ok = complete(b"250", b"250-a\r\n250 b\r\n")
    seen = Observation(
        HERE,
        0,
        0,
        Outcome.OK,
        None,
        complete(b"220", b"220 \x1b]0;x\x07 \xff\r\n"),
        ok,
        {},
        complete(b"250", b"250 h\r\n"),
        None,
        complete(b"220", b"220 go\r\n"),
        TlsFacts(version="TLSv1.3", cipher="X"),
        ok,
        complete(b"221", b"221 bye\r\n"),
        Interruption(Stage.QUIT, Trouble.CLOSED),
    )
    assert transcript(seen).splitlines() == [
        "< 220 \\x1b]0;x\\x07 \\xff",
        "> EHLO",
        "< 250-a",
        "< 250 b",
        "> HELO",
        "< 250 h",
        "> STARTTLS",
        "< 220 go",
        "* TLS: TLSv1.3 X",
        "> EHLO (in TLS)",
        "< 250-a",
        "< 250 b",
        "> QUIT",
        "< 221 bye",
        "* ok",
        "* interrupted in quit: closed",
    ]


def test_a_transcript_of_nothing_gives_the_reason() -> None:
    assert transcript(Observation(HERE, 0, 0, Outcome.LOCAL_ERROR, "EPERM")) == "* local_error (EPERM)"


def test_a_failed_handshake_shows_its_error() -> None:
    go = complete(b"220", b"220 go\r\n")
    seen = Observation(HERE, 0, 0, Outcome.OK, starttls_reply=go, tls=TlsFacts(error="closed"))
    assert "* TLS: closed" in transcript(seen)


def raising(error: Exception) -> Hook:
    def admit(_: Target) -> None:
        raise error

    return admit


@pytest.fixture
def handler() -> SmtpDownloadHandler:
    """Make a handler without a reactor: only what its gate needs."""
    handler = SmtpDownloadHandler.__new__(SmtpDownloadHandler)
    handler._waiting = {}
    return handler


def test_loopback_is_not_refused_as_reserved_and_everybody_else_is(handler: SmtpDownloadHandler) -> None:
    admit = handler._one_by_one(raising(Exclude(Reason.RESERVED)))
    assert admit(HERE) is None
    with pytest.raises(Exclude):
        admit(ABROAD)


def test_loopback_can_opt_out(handler: SmtpDownloadHandler) -> None:
    with pytest.raises(Exclude):
        handler._one_by_one(raising(Exclude(Reason.OPT_OUT)))(HERE)


def test_hooks_that_let_pass_or_wait_are_passed_on(handler: SmtpDownloadHandler) -> None:
    waiting: Deferred[None] = Deferred()
    assert handler._one_by_one(lambda _: None)(ABROAD) is None
    assert handler._one_by_one(lambda _: waiting)(ABROAD) is waiting


@pytest.mark.parametrize("error", [SurveyError("nobody said who we are"), ValueError("broken hook")])
def test_an_error_of_a_hook_is_that_of_the_request(handler: SmtpDownloadHandler, error: Exception) -> None:
    failures: list[BaseException] = []
    waiting: Deferred[Observation] = Deferred()
    waiting.addErrback(lambda failure: failures.append(failure.value))
    handler._waiting[ABROAD] = waiting
    with pytest.raises(type(error)):
        handler._one_by_one(raising(error))(ABROAD)
    handler._fail(ABROAD, error)  # which the prober does with it
    assert failures == [error]
    assert handler._waiting == {}


def test_a_response_can_be_copied_with_its_observation() -> None:
    seen = Observation(HERE, 0, 0, Outcome.OK)
    response = SmtpResponse("smtp://127.0.0.1", body=b"* ok", encoding="utf-8", observation=seen)
    assert response.replace(body=b"x").observation is seen
    assert response.text == "* ok"
