"""What an item of a file has to be before it is stored."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from feeds import full, items
from hypothesis import HealthCheck, given, settings

from smtpsurvey.items import Interruption, ReplyItem, SmtpItem, Software
from smtpsurvey.store.checks import BadItemError, address, checked, label, timestamp


@given(items())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_item_as_it_should_be_is_not_touched(item: SmtpItem) -> None:
    before = attrs.asdict(item)
    assert checked(item) is item
    assert attrs.asdict(item) == before


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("ip", "mx.example.org", "ip 'mx.example.org' is no IPv4 or IPv6 address"),
        ("ip", "1.2.3.4\0", r"ip '1.2.3.4\x00' is no"),
        ("ip", "fe80::1%eth0", "is no IPv4 or IPv6 address"),
        ("port", -1, "port cannot be '-1'"),
        ("port", 65536, "port cannot be '65536'"),
        ("duration", float("inf"), "duration cannot be 'inf'"),
        ("duration", float("nan"), "duration cannot be 'nan'"),
        ("duration", -0.1, "duration cannot be '-0.1'"),
        ("time", "", "time '' is no ISO 8601 time"),
        ("time", "2026-13-25T01:02:03Z", "time '2026-13-25T01:02:03Z' is no"),
        ("time", "x" * 1000, "…' is no ISO 8601 time"),
        ("asn", 2**32, "asn cannot be '4294967296'"),
        ("outcome", "OK", "outcome cannot be 'OK'"),
        ("starttls", "maybe", "starttls cannot be 'maybe'"),
        ("flags", ["early_reply", "late"], "flags cannot be 'late'"),
        ("interrupted", Interruption("hello", "reset"), "interrupted.stage cannot be 'hello'"),
        ("interrupted", Interruption("quit", "bored"), "interrupted.reason cannot be 'bored'"),
        ("software", Software(None, "Postfix", evidence="smell"), "software.evidence cannot be 'smell'"),
        ("software.certainty", "sure", "software.certainty cannot be 'sure'"),
        ("software.cpe", "cpe:2.3:a:x", "software.cpe cannot be 'cpe:2.3:a:x'"),
        ("software.claims", {"greeting": "Exim"}, "software.claims cannot be"),
        ("greeting", ReplyItem(1000, ""), "code cannot be '1000'"),
        ("quit", ReplyItem(-1, ""), "code cannot be '-1'"),
        ("tls.error", "bad", "tls.error cannot be 'bad'"),
        ("tls.trust_error", "alert:x", "tls.trust_error cannot be 'alert:x'"),
        ("tls.chain", ["ab" * 32, "AB" * 32], "tls.chain cannot be 'ABAB"),
        ("tls.certificate.sha256", "ab", "tls.certificate.sha256 cannot be 'ab'"),
        ("tls.ehlo.code", 12345, "code cannot be '12345'"),
    ],
)
def test_a_value_that_cannot_be_is_named(field: str, value: Any, reason: str) -> None:
    item = full()
    owner: Any = item
    *path, last = field.split(".")
    for name in path:
        owner = getattr(owner, name)
    setattr(owner, last, value)
    with pytest.raises(BadItemError) as told:
        checked(item)
    assert reason in str(told.value)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("192.0.2.1", "192.0.2.1"), ("2001:DB8:0::1", "2001:db8::1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("::", "::")],
)
def test_addresses_become_canonical_so_that_a_host_is_one_row(text: str, canonical: str) -> None:
    item = full()
    item.ip = text
    assert checked(item).ip == address(text) == canonical


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-11-25T01:02:03Z", "2026-11-25T01:02:03Z"),
        ("2026-11-25T01:02:03.456789Z", "2026-11-25T01:02:03.456Z"),
        ("2026-11-25T01:02:03+02:00", "2026-11-24T23:02:03.000Z"),
        ("2026-11-25 01:02:03", "2026-11-25T01:02:03.000Z"),
    ],
)
def test_times_become_utc_as_feeds_have_them(text: str, stored: str) -> None:
    item = full()
    item.time = text
    assert checked(item).time == stored


def test_a_time_without_zone_is_utc() -> None:
    assert timestamp("1970-01-01T00:00:01") == 1


@pytest.mark.parametrize("text", ["", " a", "a ", "x" * 256])
def test_a_label_that_cannot_be_a_key_is_refused(text: str) -> None:
    with pytest.raises(BadItemError, match="1 to 255 characters and no blank at its ends"):
        label(text)


def test_any_other_label_will_do() -> None:
    assert label("2026-11 'x' \N{SNOWMAN}") == "2026-11 'x' \N{SNOWMAN}"


def test_a_disputed_verdict_is_one() -> None:
    item = full()
    assert item.software is not None
    item.software.cpe = r"cpe:2.3:a:post\:fix:postfix:3.8:*:*:*:*:*:*:*"
    item.software.certainty, item.software.claims = "disputed", {"greeting": "Exim", "behaviour": "Postfix"}
    assert checked(item) is item
