import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.targets.address import BadTargetError
from smtpsurvey.targets.names import host_name

LONG = ".".join(["a" * 63] * 3 + ["b" * 61])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mx.example.org", "mx.example.org"),
        ("MX.Example.ORG.", "mx.example.org"),
        ("localhost", "localhost"),
        ("_smtp._tcp.mail_1.example.org", "_smtp._tcp.mail_1.example.org"),
        ("192.0.2.1-static.example.net", "192.0.2.1-static.example.net"),
        ("3com.com", "3com.com"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("MÜNCHEN.DE", "xn--mnchen-3ya.de"),
        ("_mx.münchen.de", "_mx.xn--mnchen-3ya.de"),
        ("почта.рф", "xn--80a1acny.xn--p1ai"),
        ("例え。テスト。", "xn--r8jz45g.xn--zckzah"),
        ("\uff45\uff58.org", "ex.org"),
        (LONG, LONG),
        (LONG + ".", LONG),
    ],
)
def test_a_host_name_becomes_lower_case_a_labels_without_the_last_dot(text: str, name: str) -> None:
    assert host_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "a..b", ".a", "a.org..", "-a.org", "a-.org", "a b.org", "*.example.org", "a@b.org", "a\0.org",
        "example.org\n", "a" * 64 + ".org", LONG + "b", "1.2.3.4", "example.123", "25", "a/b", "ü" * 64 + ".de",
        "ü" * 300, "\u202eorg", "a\u2028.org", "xn--ü.de", "ü..de", "�.org", "‍.org",
    ],
)  # fmt: skip
def test_what_is_no_host_name_is_refused(text: str) -> None:
    with pytest.raises(BadTargetError, match="is no host name"):
        host_name(text)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("aü-_.1。ß\u200d"))
def test_any_text_is_a_host_name_of_ldh_and_underscore_or_refused_in_one_line(text: str) -> None:
    name, reason = None, ""
    try:
        name = host_name(text)
    except BadTargetError as bad:
        reason = str(bad)
    assert name is None or re.fullmatch(r"[a-z0-9_.-]{1,253}", name)
    assert name is None or host_name(name) == name
    assert reason.isprintable()
