"""The policy file of MTA-STS, and which exchanges it covers."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.outcomes import MtaSts
from smtpsurvey.policy import PolicyError
from smtpsurvey.policy.policy import MAX_AGE, MODES, Policy, read_policy

VALID = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 604800\n"


def test_the_example_of_the_rfc() -> None:
    text = VALID.replace("max_age", "mx: backupmx.example.com\nmax_age").rstrip()
    for body in (text, f"{text}\n", text.replace("\n", "\r\n") + "\r\n"):
        assert read_policy(body.encode()) == Policy(
            "enforce", 604_800, ("mail.example.com", "*.example.net", "backupmx.example.com")
        )


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (
            VALID.replace("mail.example.com", "MAIL.Example.COM."),
            Policy("enforce", 604_800, ("mail.example.com", "*.example.net")),
        ),
        ("version:STSv1\nmode : none \nmax_age: 0", Policy("none", 0, ())),
        ("x.y: z\nmax_age: 1\nmode: testing\nversion: STSv1\nmode: none\nmx: a", Policy("testing", 1, ("a",))),
        (f"version: STSv1\nmode: none\nmax_age: {MAX_AGE}\nünknown: no".replace("ü", "u"), Policy("none", MAX_AGE, ())),
    ],
)
def test_what_is_allowed(text: str, policy: Policy) -> None:
    assert read_policy(text.encode()) == policy


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("STSv1", "STSv2", "version is not STSv1"),
        ("version: STSv1\n", "", "version is not STSv1"),
        ("enforce", "report", "mode: 'report'"),
        ("mode: enforce\n", "", "mode: ''"),
        ("604800", "1 week", "max_age: '1 week'"),
        ("604800", "-1", "max_age: '-1'"),
        ("604800", "31557601", "max_age: '31557601'"),
        ("604800", "٣", "max_age: '٣'"),
        ("max_age: 604800\n", "", "max_age: ''"),
        ("mx: mail", "mx: a@mail", "mx: 'a@mail.example.com'"),
        ("*.example", "a.*.example", "mx: 'a.*.example.net'"),
        ("*.example.net", "*", "mx: '*'"),
        ("mx: mail.example.com\nmx: *.example.net\n", "", "no mx"),
        ("mode: enforce\n", "mode: enforce\n\n", "no field: ''"),
        ("mode: enforce", "mode enforce", "no field: 'mode enforce'"),
    ],
)
def test_what_is_not(old: str, new: str, reason: str) -> None:
    assert old in VALID
    with pytest.raises(PolicyError) as caught:
        read_policy(VALID.replace(old, new).encode())
    assert (caught.value.outcome, caught.value.reason) == (MtaSts.BAD_POLICY, reason)


def test_bytes_that_are_no_text_are_none() -> None:
    with pytest.raises(PolicyError, match="not UTF-8"):
        read_policy(b"version: STSv1\xff")


def test_a_wildcard_stands_for_one_label() -> None:
    policy = read_policy(VALID.encode())
    hosts = (
        "mail.example.com",
        "example.com",
        "a.mail.example.com",
        "mx.example.net",
        "example.net",
        "a.mx.example.net",
        "",
    )
    assert [host for host in hosts if policy.covers(host)] == ["mail.example.com", "mx.example.net"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (VALID + text).encode("utf-8", "replace")))
def test_whatever_comes_is_a_policy_or_an_error(body: bytes) -> None:
    with suppress(PolicyError):
        policy = read_policy(body)
        assert policy.mode in MODES
        assert 0 <= policy.max_age <= MAX_AGE
