"""Random addresses."""

from __future__ import annotations

import tracemalloc
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.errors import SurveyError
from smtpsurvey.targets import random_addresses
from smtpsurvey.targets.random_addresses import RandomAddresses, RandomSource
from smtpsurvey.targets.sieve import Sieve
from smtpsurvey.targets.sources import Options, Report

SEEDS_TRIED = 3000
CHI_SQUARE_63 = 103.4  # exceeded once in a thousand


def source(argument: str, seed: int = 0, allow: tuple[str, ...] = ()) -> RandomSource:
    return RandomSource(argument, Report(Options(Path(), seed, allow=allow), pytest.fail))


def addresses(argument: str, seed: int = 0, allow: tuple[str, ...] = ()) -> list[int]:
    return [int(number) for block in source(argument, seed, allow).blocks() for number in block.v4]


def test_the_public_addresses_are_all_that_are_not_reserved() -> None:
    found = np.array(addresses("20000"), np.uint32)
    assert len(set(found.tolist())) == 20_000
    assert not Sieve().codes(found).any()
    # Each half of the space has its share of what is not reserved.
    lower = sum(min(last, 2**31 - 1) - first + 1 for first, last in Sieve().spans() if first < 2**31)
    assert abs((found < 2**31).mean() - lower / source("1").addresses.size) < 0.01


def test_prefixes_give_each_of_their_addresses_once() -> None:
    inside = {int(ip) for cidr in ("9.1.2.0/25", "9.1.2.64/26", "1.0.0.0/30") for ip in ip_network(cidr)}
    found = addresses("132@9.1.2.0/25,9.1.2.64/26,1.0.0.0/30")
    assert len(found) == 132
    assert set(found) == inside
    assert found != sorted(found)


def test_reserved_addresses_come_only_where_they_are_allowed() -> None:
    assert len(addresses("256@127.0.0.0/24", allow=("127.0.0.0/8",))) == 256
    with pytest.raises(SurveyError, match="every address there is reserved"):
        source("256@127.0.0.0/24")
    assert {number >> 8 for number in addresses("256@10.255.255.0/24,11.0.0.0/24")} == {11 << 16}


@given(st.integers(0, 300), st.integers(0, 2**40))
def test_a_run_goes_on_where_another_stopped(start: int, seed: int) -> None:
    whole = addresses("300@9.1.0.0/16", seed)
    assert addresses(f"{start}@9.1.0.0/16", seed) + addresses(f"300@9.1.0.0/16+{start}", seed) == whole


@settings(max_examples=20)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_blocks_do_not_change_what_comes(sizes: list[int]) -> None:
    made = RandomAddresses([(100, 149), (1000, 1029)], 5)
    whole = made.at(0, 80).tolist()
    assert sorted(whole) == [*range(100, 150), *range(1000, 1030)]
    start, found = 0, []
    for size in sizes:
        found += made.at(start, size).tolist()
        start += size
    assert found == whole[:start]


def test_a_percentage_is_of_the_addresses_that_are_not_reserved() -> None:
    one = source("1%")
    assert one.count == round(one.addresses.size / 100) == 37_022_577
    assert source("0.00001%").count == 370
    assert source("100%@9.0.0.0/16").count == 65_536


def test_it_starts_at_once_and_takes_the_same_memory_however_far_it_goes() -> None:
    tracemalloc.start()
    try:
        made = source("100%+3702000000", seed=3)
        first = next(made.blocks()).v4
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first is not None
    assert len(first) == made.addresses.size - 3_702_000_000
    assert len(first) < random_addresses.AT_ONCE
    assert peak < 40e6


def test_over_many_seeds_each_address_is_drawn_as_often_as_any_other() -> None:
    counts = np.zeros(64)
    for seed in range(SEEDS_TRIED):
        drawn = [number - int(IPv4Address("9.9.9.0")) for number in addresses("8@9.9.9.0/26", seed)]
        assert len(set(drawn)) == 8
        counts[drawn] += 1
    expected = SEEDS_TRIED * 8 / 64
    # Drawing without replacement spreads less than this bound assumes.
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARE_63


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("", "is not random:N"),
        ("x", "is not random:N"),
        ("-1", "is not random:N"),
        ("5@", "is not random:N"),
        ("5+", "is not random:N"),
        ("5+1+2", "is not random:N"),
        ("5@300.0.0.0/8", "random:5@300.0.0.0/8: "),
        ("5@9.0.0.1/8", "has host bits set"),
        ("5@2001:4860::/32", "random addresses are IPv4"),
        ("257@9.0.0.0/24", "there are 256 addresses"),
        ("100.1%", "there are 3,702,257,664 addresses"),
        ("5+6", "nothing is left at 6 of 5"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(argument: str, reason: str) -> None:
    with pytest.raises(SurveyError) as refused:
        source(argument)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
