from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.targets.shard import parse_shard, shard_of

# The lists of a fleet are cut by these: a release that changes one would probe hosts twice.
VECTORS = [
    ("192.0.2.1", 8, 0),
    ("192.0.2.1", 100, 7),
    ("192.0.2.2", 8, 4),
    ("192.0.2.2", 100, 54),
    ("198.51.100.77", 8, 2),
    ("198.51.100.77", 100, 36),
    ("203.0.113.255", 8, 4),
    ("203.0.113.255", 100, 60),
    ("2001:db8::1", 8, 3),
    ("2001:db8::1", 100, 49),
    ("2001:db8:0:25::25", 8, 4),
    ("2001:db8:0:25::25", 100, 54),
]


@pytest.mark.parametrize(("ip", "count", "shard"), VECTORS)
def test_the_shard_of_an_address_never_changes(ip: str, count: int, shard: int) -> None:
    assert shard_of(ip, count) == shard


@given(st.ip_addresses().map(str), st.integers(1, 999_999))
def test_every_address_has_one_shard(ip: str, count: int) -> None:
    assert shard_of(ip, count) in range(count)


@pytest.mark.parametrize("count", [2, 3, 8, 10, 16])
@pytest.mark.parametrize(
    "addresses",
    [
        [f"192.0.2.{n}" for n in range(256)],
        [f"198.51.{n % 16}.{n // 16}" for n in range(4096)],
        [f"10.{n // 256}.{n % 256}.1" for n in range(4096)],
        [f"10.7.{n // 32}.{n % 32 * 8}" for n in range(4096)],
        [f"2001:db8::{n:x}" for n in range(4096)],
        [f"2001:db8:{n:x}::25" for n in range(4096)],
    ],
    ids=["a /24", "a /20", ".1 of each /24", "each eighth", "one /64", ".25 of each /48"],
)
def test_shards_share_prefixes_and_series_evenly(addresses: list[str], count: int) -> None:
    sizes = Counter(shard_of(ip, count) for ip in addresses)
    fair = len(addresses) / count
    assert all(abs(sizes[shard] - fair) <= max(3 * fair**0.5, 1) for shard in range(count))


def test_a_shard_argument_counts_from_one() -> None:
    assert parse_shard("1/1") == (0, 1)
    assert parse_shard("2/8") == (1, 8)
    assert parse_shard("999999/999999") == (999_998, 999_999)


@pytest.mark.parametrize(
    "text", ["", "2", "2/", "/8", "0/8", "9/8", "-1/8", "+1/8", "2/8/1", " 2/8", "2/8\n", "02/8", "2/0", "a/b", "٢/٨"]
)
def test_any_other_shard_argument_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="is not I/N with I from 1 to N, like 2/8"):
        parse_shard(text)
