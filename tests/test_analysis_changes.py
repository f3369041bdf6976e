"""Every number here is counted by hand: 20 hosts answered in one survey or the other."""

from __future__ import annotations

from collections import Counter

import pytest

from smtpsurvey.analysis.changes import Change, Pair, change, changes, changes_by_as

Software = tuple[str | None, str | None]
POSTFIX, EXIM, NEWER, UNKNOWN = ("Postfix", None), ("Exim", "4.97"), ("Exim", "4.98"), (None, None)


def pair(asn: int | None, old: Software | None, new: Software | None) -> Pair:
    """Make a pair; ``None`` for software means that the host did not answer."""
    return Pair(asn, old is not None, new is not None, *(old or UNKNOWN), *(new or UNKNOWN))


PAIRS = Counter(
    {
        pair(64500, EXIM, EXIM): 4,
        pair(64500, EXIM, NEWER): 3,
        pair(64500, EXIM, POSTFIX): 1,
        pair(64501, None, POSTFIX): 5,
        pair(64501, EXIM, None): 2,
        pair(None, UNKNOWN, None): 2,
        pair(None, UNKNOWN, EXIM): 3,
    }
)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, EXIM, Change.APPEARED),
        (EXIM, None, Change.VANISHED),
        (EXIM, POSTFIX, Change.PRODUCT_CHANGED),
        (EXIM, NEWER, Change.VERSION_CHANGED),
        (EXIM, EXIM, None),
        (EXIM, ("Exim", None), None),
        (("Exim", None), EXIM, None),
        (UNKNOWN, EXIM, None),
        (EXIM, UNKNOWN, None),
    ],
)
def test_a_host_changes_in_one_way_at_most(old: Software | None, new: Software | None, expected: Change | None) -> None:
    assert change(pair(1, old, new)) is expected


def test_changes_are_counted_since_each_survey_compared() -> None:
    table = changes({"2026-08": PAIRS, "empty": Counter()})
    assert table.columns == ("since", "change", "hosts", "share_of_either")
    assert table.rows == (
        ("2026-08", "appeared", 5, 0.25),
        ("2026-08", "vanished", 4, 0.2),
        ("2026-08", "product_changed", 1, 0.05),
        ("2026-08", "version_changed", 3, 0.15),
        ("empty", "appeared", 0, None),
        ("empty", "vanished", 0, None),
        ("empty", "product_changed", 0, None),
        ("empty", "version_changed", 0, None),
    )


def test_changes_in_an_as_have_shares_of_its_own_hosts() -> None:
    table = changes_by_as({"2026-08": PAIRS})
    assert table.columns == ("since", "asn", "change", "hosts", "share_of_either")
    assert table.rows == (
        ("2026-08", 64501, "appeared", 5, 5 / 7),
        ("2026-08", 64500, "version_changed", 3, 0.375),
        ("2026-08", 64501, "vanished", 2, 2 / 7),
        ("2026-08", None, "vanished", 2, 0.4),
        ("2026-08", 64500, "product_changed", 1, 0.125),
    )
