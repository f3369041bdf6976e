"""The packed set of what was seen."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.targets.seen import Seen, key_of


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20) | st.just(-(2**63))))
def test_it_is_a_set(keys: list[int]) -> None:
    seen, known = Seen(), set[int]()
    for key in keys:
        assert seen.add(key) is (key & 2**64 - 1 not in known)
        known.add(key & 2**64 - 1)


def test_half_a_million_addresses_take_few_bytes_each() -> None:
    addresses = random.Random(7).sample(range(2**32), 200_000)
    tracemalloc.start()
    seen = Seen()
    assert all(seen.add(key) for key in addresses)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size / len(addresses) < 24
    assert not any(seen.add(key) for key in addresses)


def test_the_oldest_are_forgotten_at_the_bound() -> None:
    seen = Seen(100)
    assert all(seen.add(key) for key in range(1, 251))
    assert not any(seen.add(key) for key in range(151, 251))  # the last hundred are there
    assert seen.add(1)


def test_keys_of_addresses_differ() -> None:
    assert key_of("0.0.1.0") == 256
    assert len({key_of(ip) for ip in ("127.0.0.1", "::1", "::7f00:1", "0.0.0.1", "2600::1")}) == 5
    assert key_of("2600::1") == key_of("2600::1")
