"""The permutation behind order, sample and random addresses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.targets.permutation import MAX_SIZE, Permutation

SIZES = st.integers(1, 5000)
SEEDS = st.integers(-(2**70), 2**70)
SEEDS_TRIED = 4000
PINNED = [240591094, 1330172338, 1896418068, 3655329914]
CHI_SQUARE_15, CHI_SQUARE_19 = 37.7, 43.8  # exceeded once in a thousand, of 15 and 19 degrees of freedom


@given(SIZES, SEEDS)
def test_every_number_comes_once_and_the_inverse_finds_its_index(size: int, seed: int) -> None:
    order = Permutation(size, seed)
    indices = np.arange(size, dtype=np.uint32)
    numbers = order.at(indices)
    assert sorted(numbers.tolist()) == indices.tolist()
    assert order.index_of(numbers).tolist() == indices.tolist()


@given(st.integers(MAX_SIZE - 5000, MAX_SIZE) | st.integers(1 << 16, MAX_SIZE), SEEDS, st.data())
@settings(max_examples=50)
def test_large_ranges_go_there_and_back(size: int, seed: int, data: st.DataObject) -> None:
    indices = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=50)), np.uint32)
    order = Permutation(size, seed)
    numbers = order.at(indices)
    assert all(number < size for number in numbers.tolist())
    assert order.index_of(numbers).tolist() == indices.tolist()


def test_seeds_differ_and_each_gives_the_same_every_time() -> None:
    indices = np.arange(100, dtype=np.uint32)
    first, again, other = (Permutation(MAX_SIZE, seed).at(indices).tolist() for seed in (1, 1, 2))
    assert first == again
    assert not set(first) & set(other)
    # Every machine and every release: this is what resuming counts on.
    assert first[:4] == PINNED


@pytest.mark.parametrize("size", [0, MAX_SIZE + 1, -1])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="is not from 1 to"):
        Permutation(size, 0)


def test_over_many_seeds_each_number_is_as_often_first_as_any_other() -> None:
    for size, critical in ((16, CHI_SQUARE_15), (20, CHI_SQUARE_19)):
        first = np.zeros(1, np.uint32)
        counts = np.bincount([int(Permutation(size, seed).at(first)[0]) for seed in range(SEEDS_TRIED)], minlength=size)
        expected = SEEDS_TRIED / size
        assert ((counts - expected) ** 2 / expected).sum() < critical


def test_neighbours_land_far_apart() -> None:
    numbers = Permutation(MAX_SIZE, 7).at(np.arange(1 << 16, dtype=np.uint32)).astype(np.int64)
    distances = np.abs(np.diff(numbers))
    # Of two random points on a line of length 1, a third apart on average.
    assert abs(distances.mean() / MAX_SIZE - 1 / 3) < 0.01
    assert (distances < 1 << 8).sum() < 5
