"""Intervals: numbers by hand, and coverage over a thousand seeds."""

from __future__ import annotations

from random import Random

import pytest

from smtpsurvey.analysis.sampling import Interval, Stratum, differ, stratified, wilson


def test_a_share_by_hand() -> None:
    # z² = 3.8415: middle (0.1 + 0.01921) / 1.03842, half 1.96/1.03842 * sqrt(0.0009 + 0.0000960)
    share = wilson(10, 100)
    assert share == pytest.approx((0.1, 0.05523, 0.17437), abs=5e-6)


def test_the_ends_of_the_scale() -> None:
    assert wilson(0, 0) is None
    nothing, everything = wilson(0, 50), wilson(50, 50)
    assert nothing is not None
    assert everything is not None
    assert nothing[:2] == (0, 0)
    assert nothing.high == pytest.approx(0.07135, abs=5e-6)
    assert everything == pytest.approx((1, 1 - nothing.high, 1))
    assert Interval(0.1, 0.05, 0.2).times(1000) == pytest.approx((100, 50, 200))


def test_one_stratum_is_the_whole() -> None:
    assert stratified([Stratum(10_000, 100, 10), Stratum(0, 0, 0)]) == pytest.approx(wilson(10, 100), rel=0.02)


def test_strata_weigh_by_their_size_not_by_their_sample() -> None:
    found = stratified([Stratum(900, 100, 10), Stratum(100, 100, 50)])
    assert found is not None
    assert found.estimate == pytest.approx(0.9 * 0.1 + 0.1 * 0.5)
    assert found.low < found.estimate < found.high


def test_strata_that_say_nothing() -> None:
    assert stratified([]) is None
    assert stratified([Stratum(10, 5, 1), Stratum(10, 0, 0)]) is None
    none = stratified([Stratum(10, 5, 0), Stratum(20, 5, 0)])
    assert none == wilson(0, 10)


def test_two_shares_compared_by_hand() -> None:
    # pooled 0.15, error sqrt(0.15 * 0.85 * 2/100) = 0.0505, z = 1.980
    assert differ((10, 100), (20, 100)) == pytest.approx(0.04768, abs=1e-4)
    assert differ((0, 10), (0, 10)) is None
    assert differ((0, 0), (1, 10)) is None


def test_intervals_cover_the_truth_in_95_of_100_samples() -> None:
    random = Random(1)
    truth, sample, seeds = 0.3, 400, 1000
    covered = 0
    for _ in range(seeds):
        found = wilson(_draw(random, sample, truth), sample)
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / seeds <= 0.97


def test_intervals_of_strata_cover_the_truth_too() -> None:
    random = Random(2)
    sizes, shares, samples = (80_000, 15_000, 5_000), (0.02, 0.2, 0.6), (600, 300, 200)
    truth = sum(size * part for size, part in zip(sizes, shares, strict=True)) / sum(sizes)
    covered = 0
    for _ in range(1000):
        strata = [
            Stratum(size, sample, _draw(random, sample, part))
            for size, part, sample in zip(sizes, shares, samples, strict=True)
        ]
        found = stratified(strata)
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 1000 <= 0.97


def _draw(random: Random, sample: int, share: float) -> int:
    return sum(random.random() < share for _ in range(sample))
