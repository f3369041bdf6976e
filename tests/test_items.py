"""From fact to item: every field in its place, nothing invented."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.items import Interruption, Observation, SmtpItem, Target, iso_time
from smtpsurvey.outcomes import Flag, Outcome, Stage, StartTls, Trouble
from smtpsurvey.smtp.reply import complete, unfinished
from smtpsurvey.smtp.tls import TlsFacts

TARGET = Target("192.0.2.1", 2525, "mx.example.org", "t", "list", 7, 64500, "192.0.2.0/24", "NL")


def test_a_bare_outcome_has_nothing_but_nulls() -> None:
    item = SmtpItem.from_observation(Observation(Target("192.0.2.1"), 0, 0.5, Outcome.TIMEOUT), "s")
    fields = json.loads(msgspec.json.encode(item))
    assert {name: value for name, value in fields.items() if value is not None} == {
        "survey": "s",
        "ip": "192.0.2.1",
        "port": 25,
        "time": "1970-01-01T00:00:00.000Z",
        "duration": 0.5,
        "outcome": "timeout",
    }


def test_every_field_has_its_place_and_order() -> None:
    ehlo = complete(b"250", b"250-mx\r\n250-SIZE 10\r\n250 STARTTLS\r\n")
    seen = Observation(
        TARGET,
        1_795_568_523.456,
        1.25,
        Outcome.OK,
        None,
        complete(b"220", b"220-a\r\n220 b\xff\r\n"),
        ehlo,
        {"SIZE": "10", "STARTTLS": ""},
        complete(b"250", b"250 helo\r\n"),
        StartTls.FAILED,
        complete(b"220", b"220 go\r\n"),
        TlsFacts(error="closed", stray_plaintext=b"\x00stray\xfe"),
        ehlo,
        complete(b"221", b"221 bye\r\n"),
        Interruption(Stage.TLS, Trouble.CLOSED),
        (Flag.EARLY_REPLY,),
    )
    item = SmtpItem.from_observation(seen, "2026-11")
    assert item.observation is seen
    fields = json.loads(msgspec.json.encode(item))
    assert list(fields)[:9] == ["survey", "ip", "port", "name", "tag", "source", "time", "duration", "outcome"]
    assert fields["time"] == "2026-11-25T01:02:03.456Z"
    assert fields["greeting"] == {"code": 220, "text": "a\nb\\xff"}
    assert fields["ehlo"] == {
        "code": 250,
        "text": "mx\nSIZE 10\nSTARTTLS",
        "extensions": {"SIZE": "10", "STARTTLS": ""},
    }
    assert fields["helo"]["text"] == "helo"
    assert (fields["starttls"], fields["starttls_reply"]["code"], fields["quit"]["code"]) == ("failed", 220, 221)
    assert fields["tls"]["error"] == "closed"
    assert fields["tls"]["stray_plaintext"] == "\0stray\\xfe"
    assert fields["tls"]["ehlo"]["extensions"] == {"SIZE": "10", "STARTTLS": ""}
    assert fields["interrupted"] == {"stage": "tls", "reason": "closed"}
    assert fields["flags"] == ["early_reply"]
    assert (fields["asn"], fields["prefix"], fields["country"]) == (64500, "192.0.2.0/24", "NL")
    assert "_observation" not in fields
    assert "observation" not in fields


def test_an_imported_item_has_no_observation() -> None:
    item = SmtpItem("s", "192.0.2.1", 25, None, None, None, iso_time(0), 0, "ok")
    assert item.observation is None


@given(st.binary(max_size=300))
def test_any_bytes_of_a_server_survive_as_json(data: bytes) -> None:
    seen = Observation(TARGET, 0, 0, Outcome.NOT_SMTP, greeting=unfinished(data))
    line = msgspec.json.encode(SmtpItem.from_observation(seen, "s"))
    assert b"\n" not in line
    assert isinstance(json.loads(line)["greeting"]["text"], str)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (1.9999, "1970-01-01T00:00:01.999Z"), (4102444800, "2100-01-01T00:00:00.000Z")],
)
def test_times_are_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert iso_time(seconds) == text
