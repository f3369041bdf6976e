"""A conversation that somebody wrote down becomes the item of that server."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.classify.session import (
    MAX_SESSION,
    SessionError,
    item_of_greeting,
    item_of_text,
    item_of_transcript,
    read_text,
)

TRANSCRIPTS = Path(__file__).parent / "transcripts"


@pytest.mark.parametrize(
    ("text", "code", "greeting"),
    [
        ("mx ESMTP", 220, "mx ESMTP"),
        ("220 mx ESMTP\n", 220, "mx ESMTP"),
        ("554-mx\r\n554 Go away\r\n", 554, "mx\nGo away"),
        ("mx\nESMTP", 220, "mx\nESMTP"),
        ("220", 220, ""),
        ("", 220, ""),
        ("2200 hosts", 220, "2200 hosts"),
        ("S: 220 mx", 220, "S: 220 mx"),
        ("é \ud800", 220, "é ?"),
    ],
)
def test_a_greeting_alone_may_have_its_code_or_not(text: str, code: int, greeting: str) -> None:
    found = item_of_greeting(text).greeting
    assert found is not None
    assert (found.code, found.text) == (code, greeting)


@pytest.mark.parametrize(("server", "client"), [("S: ", "C: "), ("< ", "> "), ("S:", "C:")])
def test_a_transcript_gives_all_that_rules_read(server: str, client: str) -> None:
    lines = """* remark
        S: 220 mx ESMTP
        C: EHLO survey.example.org
        S: 250-mx
        S: 250-SIZE 1000
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go
        * TLS: TLSv1.3
        C: EHLO (in TLS)
        S: 250-mx
        S: 250 SIZE 1000
        C: QUIT
        S: 221 bye
        C: QUIT
        S: 221 twice"""
    text = "\r\n".join(line.strip().replace("S: ", server).replace("C: ", client) for line in lines.split("\n"))
    item = item_of_text(text)
    assert item.greeting is not None
    assert item.greeting.text == "mx ESMTP"
    assert item.ehlo is not None
    assert item.ehlo.text == "mx\nSIZE 1000\nSTARTTLS"
    assert item.ehlo.extensions == {"SIZE": "1000", "STARTTLS": ""}
    assert item.starttls_reply is not None
    assert item.starttls_reply.text == "go"
    assert item.tls is not None
    assert item.tls.ehlo is not None
    assert item.tls.ehlo.extensions == {"SIZE": "1000"}
    assert item.quit is not None
    assert item.quit.text == "bye"


def test_without_tls_a_second_ehlo_is_none_inside_it() -> None:
    item = item_of_transcript(
        "S: 220 a\nC: EHLO b\nS: 500 what\nC: HELO b\nS: 250 ok\nC: STARTTLS\nS: 454 no\nC: EHLO b\nS: 250 c"
    )
    assert item.tls is None
    assert item.ehlo is not None
    assert item.ehlo.code == 500
    assert item.helo is not None


def test_what_broke_a_conversation_off_is_left_out() -> None:
    item = item_of_transcript("S: 220 a\nC: EHLO b\nS: 250-c\nC: STARTTLS\nS: <resets>\nC: QUIT\nS: 221 d")
    assert item.ehlo is None
    assert item.starttls_reply is None
    assert item.quit is not None


def test_every_recorded_transcript_is_read() -> None:
    for path in TRANSCRIPTS.glob("*.txt"):
        if path.stem not in {"not_smtp", "blank_lines"}:
            assert item_of_text(path.read_text("utf-8")).greeting is not None, path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("C: QUIT\nS: 221 bye", "the transcript has no greeting: its lines begin with S: and C:, or < and >"),
        ("S: hello", r"the greeting is no reply of SMTP \(not_smtp\)"),
        ("S: 220-more", r"the greeting has no last line \(a code and a blank\)"),
        (f"S: 220 {'x' * 5000}", r"the greeting is no reply of SMTP \(oversize\)"),
    ],
)
def test_what_is_no_conversation_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SessionError, match=f"^{reason}"):
        item_of_text(text)


def test_a_text_is_read_up_to_a_bound_whatever_its_bytes() -> None:
    assert read_text(io.BytesIO(b"220 \xe9\n")) == "220 \\xe9\n"
    assert len(read_text(io.BytesIO(b"x" * MAX_SESSION))) == MAX_SESSION
    with pytest.raises(SessionError, match=r"^more than 1,048,576 bytes: no transcript of a session$"):
        read_text(io.BytesIO(b"x" * (MAX_SESSION + 1)))


@given(st.text(st.sampled_from("SC:<> 205-\r\nEHLOax"), max_size=80))
def test_whatever_is_written_it_is_read_or_refused(text: str) -> None:
    try:
        item = item_of_text(text)
    except SessionError:
        return
    assert item.greeting is not None
