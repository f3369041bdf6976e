"""TXT records of MTA-STS and TLSRPT: which count, and what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.policy.records import STS, TLSRPT, of_version, policy_id, report_targets, txt


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"v=STSv1; id=1;"', "v=STSv1; id=1;"),
        ('"v=STS" "v1; id=1;"', "v=STSv1; id=1;"),  # strings are joined without a blank (RFC 8461 section 3.1)
        (r'"a\"b\065"', 'a"bA'),
        (r'"\255"', None),
        ('"open', None),
        ("", None),
    ],
)
def test_the_strings_of_a_record_are_joined(value: str, text: str | None) -> None:
    assert txt(value) == text


def test_records_of_other_versions_are_left_out() -> None:
    values = [
        '"v=STSv1; id=1"',
        '"v=STSv10; id=1"',
        '"v=STSv1"',
        '"v=spf1 -all"',
        '"x; v=STSv1; id=2"',
        '"V=STSv1; id=3"',
    ]
    assert of_version(STS, values) == ["v=STSv1; id=1"]
    assert of_version(TLSRPT, ['"v=TLSRPTv1;rua=mailto:a@example.org"']) == ["v=TLSRPTv1;rua=mailto:a@example.org"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("v=STSv1; id=20160831085700Z;", "20160831085700Z"),
        ("v=STSv1;id=1", "1"),
        ("v=STSv1 ;\tid=1 ; ", "1"),
        ("v=STSv1; x=y; id=1;", "1"),
        ("v=STSv1; id=1; id=2;", "1"),
        ("v=STSv1;", None),
        ("v=STSv1; x=y", None),
        ("v=STSv1; id=", None),
        ("v=STSv1; id=a-b;", None),
        (f"v=STSv1; id={'1' * 33};", None),
        ("v=STSv1; ID=1;", None),
        ("v=STSv1; id=1;; x=y", None),
        ("v=STSv1; id=1; nothing", None),
    ],
)
def test_the_id_of_a_valid_record(text: str, found: str | None) -> None:
    assert policy_id(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("v=TLSRPTv1; rua=mailto:a@example.org", ["mailto:a@example.org"]),
        ("v=TLSRPTv1;rua=mailto:a@b.c , https://b.c/r?d=1;", ["mailto:a@b.c", "https://b.c/r?d=1"]),
        ("v=TLSRPTv1; rua=mailto:a@b.c; x=y;", ["mailto:a@b.c"]),
        ("v=TLSRPTv1; rua=a@b.c", None),
        ("v=TLSRPTv1; rua=http://b.c", None),
        ("v=TLSRPTv1; rua=", None),
        ("v=TLSRPTv1; rua=mailto:a@b.c,", None),
        ("v=TLSRPTv1; x=y; rua=mailto:a@b.c", None),
        ("v=TLSRPTv1; rua=mailto:a@b.c; nothing", None),
        ("v=TLSRPTv1;", None),
    ],
)
def test_where_a_valid_record_wants_reports(text: str, found: list[str] | None) -> None:
    assert report_targets(text) == found


@given(st.text(max_size=100))
def test_no_text_makes_an_error(text: str) -> None:
    assert txt(text) is None or isinstance(txt(text), str)
    for record in of_version(STS, [text]):
        policy_id(record)
    found = policy_id(f"{STS};{text}")
    assert found is None or (found.isalnum() and len(found) <= 32)
    targets = report_targets(f"{TLSRPT};{text}")
    assert targets is None or all(target.startswith(("mailto:", "https:")) for target in targets)
