"""Questions are the bytes that dnspython makes of them."""

from __future__ import annotations

import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.dns.query import PAYLOAD, query, question


def by_dnspython(name: str, kind: str, number: int) -> bytes:
    flags = dns.flags.RD | dns.flags.AD
    return dns.message.make_query(name, kind, use_edns=0, payload=PAYLOAD, flags=flags, id=number).to_wire()


@given(
    st.lists(st.text("abcXYZ019-_", min_size=1, max_size=63), min_size=1, max_size=6)
    .map(".".join)
    .filter(lambda n: len(n) <= 253),
    st.sampled_from(["A", "AAAA", "MX", "PTR", "TXT", "TLSA", "TYPE65280"]),
    st.integers(0, 65535),
)
def test_plain_names(name: str, kind: str, number: int) -> None:
    assert query(number, question(name, kind)) == by_dnspython(name, kind, number)


@pytest.mark.parametrize(
    "name", [".", "example.org.", "a\\.b.example", "*.example", "münchen.example", "a\\000b.example"]
)
def test_other_names(name: str) -> None:
    assert query(7, question(name, "MX")) == by_dnspython(
        name.replace("ü", "ü") if name.isascii() else "xn--mnchen-3ya.example", "MX", 7
    )


def test_without_edns() -> None:
    plain = dns.message.make_query("a.example", "A", flags=dns.flags.RD | dns.flags.AD, id=1).to_wire()
    assert query(1, question("a.example", "A"), edns=False) == plain


@pytest.mark.parametrize(
    "name",
    ["", "..", "a..example", f"{'x' * 64}.example", "y." * 127 + "yy", ".a", "a\\", "\\256.example", "\udc80.example"],
)
def test_no_names(name: str) -> None:
    with pytest.raises(ValueError, match="MX: "):
        question(name, "MX")


def test_the_longest_name_and_one_more() -> None:
    longest = ".".join(["x" * 63] * 3 + ["y" * 61])
    assert len(question(longest, "A")) == 255 + 4
    with pytest.raises(ValueError, match="A: "):
        question(f"{longest}z", "A")


def test_no_type() -> None:
    with pytest.raises(ValueError, match="NOTYPE"):
        question("a.example", "NOTYPE")


@given(st.text(max_size=300), st.text(max_size=10))
def test_any_text_is_a_question_or_a_value_error(name: str, kind: str) -> None:
    try:
        asked = question(name, kind)
    except ValueError:
        return
    assert 5 <= len(asked) <= 259
