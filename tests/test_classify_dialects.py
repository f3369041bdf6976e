"""Patterns of Ruby and PCRE in RE2's words: what means the same, what does not, and what cannot be said."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpsurvey.classify.dialects import MAX_PATTERN, Dialect, PatternError, compile_re2, translate

RUBY, PCRE = Dialect.RUBY, Dialect.PCRE


def found(pattern: str, dialect: Dialect, text: bytes, *, relaxed: bool = False, **flags: bool) -> bytes | None:
    options = {"ignore_case": False, "dot_all": False} | flags
    match = compile_re2(translate(pattern, dialect, relaxed=relaxed), dialect, **options).search(text)
    return None if match is None else match.group()


@pytest.mark.parametrize(
    ("pattern", "dialect", "text", "expected"),
    [
        (r"^b$", RUBY, b"a\nb\nc", b"b"),  # Ruby's anchors are those of lines
        (r"^b$", PCRE, b"a\nb\nc", None),
        (r"b$", PCRE, b"ab\n", b"b\n"),  # the end, or before the line feed there
        (r"b$", PCRE, b"ab\nc", None),
        (r"b\Z", RUBY, b"ab\n", b"b\n"),
        (r"b\z", RUBY, b"ab\n", None),
        (r"\h+", RUBY, b"xyz09afAFg", b"09afAF"),
        (r"[\h-]+", RUBY, b"x0-f", b"0-f"),
        (r"\H", RUBY, b"0ag", b"g"),
        (r"\h+", PCRE, b"a \t\xa0\n", b" \t\xa0"),
        (r"\s", RUBY, b"\x0b", b"\x0b"),
        (r"[\s-]+", PCRE, b"a\x0b-.", b"\x0b-"),
        (r"\S", PCRE, b"\x0ba", b"a"),
        (r"\v", PCRE, b"a\x85", b"\x85"),
        (r"\V", PCRE, b"\n\x85a", b"a"),
        (r"\e\_", RUBY, b"\x1b_", b"\x1b_"),
        (r"(?m)a.b", RUBY, b"a\nb", b"a\nb"),  # Ruby's m is everyone else's s
        (r"(?m:a.)b", RUBY, b"a\nb", b"a\nb"),
        (r"(?-m:a.)b", RUBY, b"a\nb", None),
        (r"(?i)A(?-i:b)", PCRE, b"aBab", b"ab"),
        (r"[]a]+", PCRE, b"x]a", b"]a"),
        (r"[^]a]", RUBY, b"]ax", b"x"),
        (r"[[]", PCRE, b"x[", b"["),
        (r"[[:digit:]x]+", RUBY, b"a1x", b"1x"),
        (r"a{,2}b", RUBY, b"aab", b"aab"),
        (r"a{,2}", PCRE, b"a{,2}", b"a{,2}"),
        (r"{}", PCRE, b"{}", b"{}"),
        (r"x{", RUBY, b"x{", b"x{"),
        ("\\é", RUBY, "é".encode(), "é".encode()),
        ("é", PCRE, b"\xe9", b"\xe9"),  # a file of nmap's is bytes
        (r"\xff.", PCRE, b"\xff\xfe", b"\xff\xfe"),
        (r"[^a]", RUBY, "é".encode(), "é".encode()),
    ],
)
def test_a_pattern_matches_what_it_was_written_for(
    pattern: str, dialect: Dialect, text: bytes, expected: bytes | None
) -> None:
    assert found(pattern, dialect, text) == expected


def test_flags_are_those_of_the_file() -> None:
    assert found("a.B", PCRE, b"A\nb") is None
    assert found("a.B", PCRE, b"A\nb", ignore_case=True, dot_all=True) == b"A\nb"


@pytest.mark.parametrize(
    ("pattern", "dialect", "reason"),
    [
        (r"(?=a)", PCRE, r"RE2 cannot compile it: invalid perl operator: \(\?="),
        (r"(?<!a)b", RUBY, "RE2 cannot compile it: invalid perl operator: "),
        (r"(?>a)", PCRE, "RE2 cannot compile it: invalid perl operator: "),
        (r"(a)\1", PCRE, "RE2 cannot compile it: invalid escape sequence: "),
        (r"a++", RUBY, "RE2 cannot compile it: bad repetition operator: "),
        (r"a)(b", RUBY, r"RE2 cannot compile it: unexpected \)"),
        ("a\\", PCRE, "RE2 cannot compile it: trailing "),
        ("[a\\", PCRE, r"RE2 cannot compile it: "),
        ("[a", PCRE, "RE2 cannot compile it: missing ]"),
        (r"a{2000}", RUBY, "RE2 cannot compile it: invalid repetition size"),
        (r"\Qa.b\E", PCRE, r"\\Q is not supported"),
        (r"[\H]", RUBY, r"\\H within brackets is not supported"),
        (r"[a[b]]", RUBY, r"\[ within brackets is not supported"),
        (r"[a&&b]", RUBY, "&& within brackets is not supported"),
        (r"(?m)^a", PCRE, "the flag m is not supported"),
        ("Ā", PCRE, "it has a character that no text can have: 'Ā'"),
        ("\ud800", RUBY, r"it has a character that no text can have: '\\ud800'"),
        ("a" * (MAX_PATTERN + 1), PCRE, "longer than 16,384 characters"),
    ],
)
def test_what_re2_cannot_say_is_refused_with_the_reason(pattern: str, dialect: Dialect, reason: str) -> None:
    with pytest.raises(PatternError, match=f"^{reason}"):
        found(pattern, dialect, b"")


@pytest.mark.parametrize(
    ("pattern", "relaxed"),
    [
        (r"^([^ ]{1,512}) x{0,99}y{2,3}z{10}\{1,99}[{1,99}]a{9,}", r"^([^ ]+) x*y{2,3}z+\{1,99}[{1,99}]a+"),
        (r"a{3}b{8}c{1,}", r"a{3}b{8}c{1,}"),
    ],
)
def test_a_relaxed_pattern_does_not_count_many_repetitions(pattern: str, relaxed: str) -> None:
    assert translate(pattern, PCRE, relaxed=True) == relaxed


@given(
    st.text(st.sampled_from("ab1 .*+?()[]{},^$|\\-_:&hHsSvdwQZzim0\n"), max_size=20),
    st.sampled_from(Dialect),
    st.text(st.sampled_from("ab1 -_\n[]{},"), max_size=10),
)
@example("a{1,99}", PCRE, "a")
def test_whatever_a_file_holds_a_pattern_compiles_or_is_refused_and_relaxing_loses_no_match(
    pattern: str, dialect: Dialect, text: str
) -> None:
    try:
        match = found(pattern, dialect, text.encode())
    except PatternError:
        return
    assert match is None or found(pattern, dialect, text.encode(), relaxed=True) is not None
