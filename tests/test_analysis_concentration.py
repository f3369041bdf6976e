"""Concentration: by hand, and as the definition says."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.analysis.concentration import concentration, curve


def test_by_hand() -> None:
    # 1, 1, 2, 6: Gini 2 * (1 + 2 + 6 + 24) / (4 * 10) - 5/4; HHI (1 + 1 + 4 + 36) / 100
    assert concentration({1: 2, 2: 1, 6: 1}) == pytest.approx((0.4, 0.42))
    assert concentration({3: 5}) == pytest.approx((0.0, 0.2))
    assert concentration({}) == (None, None)
    assert concentration({0: 3}) == (None, None)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_as_the_definitions_say(sizes: list[int]) -> None:
    total, holders = sum(sizes), len(sizes)
    gini = sum(abs(one - other) for one in sizes for other in sizes) / (2 * holders * total)
    assert concentration(Counter(sizes)) == pytest.approx((gini, sum((size / total) ** 2 for size in sizes)))


def test_the_curve() -> None:
    table = curve("mx_curve", {1: 5, 2: 1, 13: 1})
    assert table.columns == ("largest", "domains", "share_of_domains")
    assert table.rows == ((1, 13, 0.65), (2, 15, 0.75), (3, 16, 0.8), (5, 18, 0.9), (7, 20, 1.0))
    assert curve("mx_curve", {}).rows == ()
