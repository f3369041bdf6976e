"""Capture-recapture: by hand, and against populations that are known."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from smtpsurvey.analysis.capture import chao, chapman, estimate, overlaps

A, B, C = (frozenset(name) for name in "abc")


def test_two_lists_by_hand() -> None:
    # 201 * 101 / 51 - 1; the classic example of 200 marked, 100 caught, 50 of them marked
    size = chapman(200, 100, 50)
    assert size.estimate == pytest.approx(397.0588, abs=1e-4)
    assert 250 < size.low < size.estimate < size.high
    # variance 201 * 101 * 150 * 50 / (51² * 52) = 1125.7
    # missed 147.06: spread exp(1.96 * sqrt(ln(1 + 1125.7 / 147.06²))) = 1.554
    assert size.low == pytest.approx(250 + 147.0588 / 1.5545, abs=0.1)
    assert size.high == pytest.approx(250 + 147.0588 * 1.5545, abs=0.1)


def test_a_list_that_is_within_the_other_misses_nothing() -> None:
    assert chapman(100, 40, 40) == (100, 100, 100)


def test_many_lists_by_hand() -> None:
    found = Counter({A: 10, B: 5, C: 5, A | B: 3, B | C: 1, A | B | C: 2})
    # seen 26, once 20, twice 4: missed 2/3 * 20 * 19 / 10
    size = chao(found)
    assert size is not None
    assert size.estimate == pytest.approx(26 + 2 / 3 * 38)
    assert 26 < size.low < size.estimate < size.high


def test_what_says_nothing() -> None:
    assert chao({}) is None
    assert estimate({}) is None
    assert estimate({A: 10}) is None
    assert chao({A | B: 10, frozenset(): 99}) == (10, 10, 10)
    assert overlaps({}) == {}


def test_the_method_fits_the_number_of_lists() -> None:
    two = estimate(Counter({A: 150, B: 50, A | B: 50}))
    assert two is not None
    assert (two[0], two[1]) == ("chapman", chapman(200, 100, 50))
    three = estimate(Counter({A: 10, B: 5, C: 2, A | B: 1}))
    assert three is not None
    assert three[0] == "chao"


def test_overlaps_count_what_two_lists_share() -> None:
    found = Counter({A: 1, A | B: 2, A | B | C: 4, C: 8})
    assert overlaps(found) == {("a", "b"): 6, ("a", "c"): 4, ("b", "c"): 4}


def simulate(random: Random, hosts: int, chances: dict[str, float]) -> Counter[frozenset[str]]:
    found = Counter(
        frozenset(name for name, chance in chances.items() if random.random() < chance) for _ in range(hosts)
    )
    del found[frozenset()]
    return found


@pytest.mark.parametrize("chances", [{"a": 0.4, "b": 0.3}, {"a": 0.25, "b": 0.2, "c": 0.2, "d": 0.15}])
def test_intervals_cover_the_truth(chances: dict[str, float]) -> None:
    random = Random(3)
    covered = 0
    for _ in range(1000):
        size = estimate(simulate(random, 500, chances))
        assert size is not None
        covered += size[1].low <= 500 <= size[1].high
    assert 0.93 <= covered / 1000 <= 0.97
