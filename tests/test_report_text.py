from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.report.text import LONGEST, cell, shown, visible
from smtpsurvey.report.words import heading, percent, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Postfix", "Postfix"),
        ("\x1b[31mred\x07\r\n\x00\x7f", r"\x1b[31mred\x07\x0d\x0a\x00\x7f"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b\N{RIGHT-TO-LEFT MARK}", r"a\u202eb\u200f"),
        ("\N{LINE SEPARATOR}\N{ZERO WIDTH SPACE}\x9b", r"\u2028\u200b\x9b"),
        ("\ud800\U000e0001", r"\ud800\U000e0001"),
        ("Größe 日本", "Größe 日本"),
    ],
)
def test_what_has_no_glyph_is_written_as_an_escape(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(st.text(st.characters(exclude_categories=[])))
def test_no_control_character_or_mark_of_direction_is_ever_shown(text: str) -> None:
    for safe in (visible(text), shown(text), cell(text)):
        assert not {unicodedata.category(c) for c in safe} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
        safe.encode()
    assert len(shown(text)) <= LONGEST


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shown("x" * LONGEST) == "x" * LONGEST
    assert shown("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"
    assert len(shown("\x00" * LONGEST)) == LONGEST


@pytest.mark.parametrize(
    "text",
    ["=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\N{FULLWIDTH EQUALS SIGN}1"],
)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert cell(text) == "'" + visible(text)


def test_plain_text_stays_as_it_is_in_a_cell() -> None:
    assert [cell(text) for text in ("", "4.97", "a=b", "Exchange Server")] == ["", "4.97", "a=b", "Exchange Server"]


@given(st.text())
def test_no_cell_of_a_csv_file_begins_as_a_formula(text: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerow([cell(text), "end"])
    ((read, end),) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert end == "end"
    assert not read.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("hosts", 1234567, "1,234,567"),
        ("share_of_answering", 0.30441, "30.44 %"),
        ("share_of_answering", 0.0, "0.00 %"),
        ("share_of_answering", 0.00001, "< 0.01 %"),
        ("share_of_answering", 1.0, "100.00 %"),
        ("share_of_identified", None, "—"),
        ("asn", 64500, "AS64500"),
        ("asn", None, "unknown"),
        ("product", None, "not identified"),
        ("trusted", True, "yes"),
        ("matches_name", False, "no"),
        ("started", "2026-11-25T01:02:03.456Z", "2026-11-25 01:02"),
        ("version", "4\x1b", r"4\x1b"),
    ],
)
def test_cells_read_to_people(column: str, value: str | float | bool | None, expected: str) -> None:  # noqa: FBT001 - a cell
    assert words(column, value) == expected


def test_headings_are_those_of_the_field() -> None:
    assert [heading(name) for name in ("asn", "share_of_answering", "starttls")] == [
        "AS",
        "Share of answering",
        "STARTTLS",
    ]


def test_a_share_is_in_percent() -> None:
    assert percent(0.5) == "50.00 %"
