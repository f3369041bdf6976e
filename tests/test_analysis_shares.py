"""Every number here is counted by hand: 20 hosts answered, 16 of them were identified."""

from __future__ import annotations

from collections import Counter

import pytest

from smtpsurvey.analysis.shares import (
    Round,
    Verdict,
    family,
    history,
    shares_product,
    shares_vendor,
    shares_version,
)
from smtpsurvey.analysis.table import Table, share

SOFTWARE = Counter(
    {
        Verdict("Postfix", "Postfix", None): 6,
        Verdict("Exim", "Exim", "4.97.1"): 3,
        Verdict("Exim", "Exim", "4.97"): 2,
        Verdict("Microsoft", "Exchange Server", "15.20.1"): 2,
        Verdict("Microsoft", "Microsoft 365", None): 2,
        Verdict(None, "Oddball", None): 1,
        Verdict(None, None, None): 4,
    }
)


def test_products_have_shares_of_all_that_answered_and_of_those_identified() -> None:
    table = shares_product(SOFTWARE)
    assert table.columns == ("product", "vendor", "hosts", "share_of_answering", "share_of_identified")
    assert table.rows == (
        ("Postfix", "Postfix", 6, 0.3, 0.375),
        ("Exim", "Exim", 5, 0.25, 0.3125),
        (None, None, 4, 0.2, None),
        ("Exchange Server", "Microsoft", 2, 0.1, 0.125),
        ("Microsoft 365", "Microsoft", 2, 0.1, 0.125),
        ("Oddball", None, 1, 0.05, 0.0625),
    )


def test_vendors_add_up_their_products_and_a_product_without_one_stands_for_itself() -> None:
    assert shares_vendor(SOFTWARE).rows == (
        ("Postfix", 6, 0.3, 0.375),
        ("Exim", 5, 0.25, 0.3125),
        ("Microsoft", 4, 0.2, 0.25),
        (None, 4, 0.2, None),
        ("Oddball", 1, 0.05, 0.0625),
    )


def test_versions_stand_with_their_family() -> None:
    table = shares_version(SOFTWARE)
    assert table.labels == ("product", "family", "version")
    assert table.rows[2:4] == (
        ("Exim", "4.97", "4.97.1", 3, 0.15, 0.1875),
        ("Exchange Server", "15.20", "15.20.1", 2, 0.1, 0.125),
    )
    assert ("Exim", "4.97", "4.97", 2, 0.1, 0.125) in table.rows
    assert sum(int(row["hosts"] or 0) for row in table.records()) == 20


@pytest.mark.parametrize("make", [shares_product, shares_vendor, shares_version])
def test_a_survey_that_nobody_answered_has_no_rows(make: object) -> None:
    assert callable(make)
    assert make(Counter()).rows == ()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("4.97.1", "4.97"),
        ("4.84_2", "4.84"),
        ("15", "15"),
        ("11.0.1FP5", "11.0"),
        ("2019", "2019"),
        ("4.", "4"),
        ("V6.2", "V6.2"),
        ("1234567890123", "1234567890123"),
        ("", ""),
    ],
)
def test_a_family_is_the_first_two_numbers_of_a_version(version: str, expected: str) -> None:
    assert family(version) == expected


def test_history_follows_the_five_leaders_of_the_current_survey_by_start() -> None:
    old = Counter({Verdict("E", "E", None): 3, Verdict("A", "A", "1"): 1, Verdict("Gone", "Gone", None): 5})
    new = Counter({Verdict(name, name, None): count for name, count in zip("ABCDEF", range(9, 3, -1), strict=True)})
    new[Verdict(None, None, None)] = 11  # 39 identified of 50
    table = history([Round("new", "2026-11", new), Round("old", "2026-08", old)], "new")
    assert table.columns == (
        "survey",
        "started",
        "product",
        "hosts",
        "share_of_answering",
        "share_of_identified",
    )
    assert table.rows[:5] == (
        ("old", "2026-08", "A", 1, 1 / 9, 1 / 9),
        ("old", "2026-08", "B", 0, 0.0, 0.0),
        ("old", "2026-08", "C", 0, 0.0, 0.0),
        ("old", "2026-08", "D", 0, 0.0, 0.0),
        ("old", "2026-08", "E", 3, 1 / 3, 1 / 3),
    )
    assert table.rows[5] == ("new", "2026-11", "A", 9, 0.18, 9 / 39)
    assert [row[2] for row in table.rows[5:]] == list("ABCDE")


def test_history_has_no_shares_where_nobody_answered() -> None:
    new = Counter({Verdict("A", "A", None): 1})
    table = history([Round("empty", "2026-08", Counter()), Round("new", "2026-11", new)], "new")
    assert table.rows == (("empty", "2026-08", "A", 0, None, None), ("new", "2026-11", "A", 1, 1.0, 1.0))


def test_equal_counts_come_in_the_order_of_their_labels() -> None:
    counts = Counter({Verdict(name, name, None): 1 for name in "cab"})
    assert [row[0] for row in shares_product(counts).rows] == ["a", "b", "c"]


def test_a_part_of_nothing_is_no_share() -> None:
    assert share(0, 0) is None
    assert share(0, 4) == 0.0
    assert share(1, 4) == 0.25


def test_a_table_gives_its_rows_as_records() -> None:
    table = Table("t", ("a",), ("hosts",), (("x", 1), (None, 2)))
    assert list(table.records()) == [{"a": "x", "hosts": 1}, {"a": None, "hosts": 2}]
