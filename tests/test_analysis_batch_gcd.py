"""Common factors by one tree, compared with what every pair gives by itself."""

from __future__ import annotations

from itertools import combinations
from math import gcd, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rsakeys import prime

from smtpsurvey.analysis.batch_gcd import common_factors

PRIMES = (101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157)


@pytest.mark.parametrize("leaves", [1, 2, 3, 4, 100])
def test_one_shared_prime_both_and_none(leaves: int) -> None:
    moduli = [101 * 103, 101 * 107, 103 * 107, 109 * 113, 113 * 127, 131 * 137, 139 * 149]
    assert common_factors(moduli, leaves) == {
        101 * 103: (101, 103),
        101 * 107: (101, 107),
        103 * 107: (103, 107),
        109 * 113: (113,),
        113 * 127: (113,),
    }


def test_real_sizes() -> None:
    moduli = [prime(2 * at) * prime(2 * at + 1) for at in range(40)]
    assert common_factors(moduli) == {}
    broken = prime(7) * prime(100)
    assert common_factors([*moduli, broken]) == {moduli[3]: (prime(7),), broken: (prime(7),)}


@pytest.mark.parametrize("moduli", [[], [15], [15, 15], [15, 77]])
def test_nothing_is_shared(moduli: list[int]) -> None:
    assert common_factors(moduli) == {}


def test_a_modulus_that_divides_another_shares_all_of_itself() -> None:
    assert common_factors([101, 101 * 103]) == {101: (101,), 101 * 103: (101,)}


@given(st.lists(st.lists(st.sampled_from(PRIMES), min_size=1, max_size=4).map(prod), max_size=30), st.integers(1, 9))
def test_any_numbers_share_what_each_pair_shares(moduli: list[int], leaves: int) -> None:
    found = common_factors(moduli, leaves)
    sharing = {one for pair in combinations(set(moduli), 2) if gcd(*pair) > 1 for one in pair}
    assert found.keys() == sharing
    for modulus, factors in found.items():
        others = prod(other for other in set(moduli) if other != modulus)
        assert prod(factors) == gcd(modulus, others) or prod(factors) == modulus
        assert all(gcd(factor, others) > 1 for factor in factors)
