"""Reading and writing IPv4 addresses by the million, against the exact way of one by one."""

from __future__ import annotations

from ipaddress import IPv4Address
from socket import AF_INET, inet_pton

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.targets.bulk import Ranked, format_lines, parse_lines, shards_of
from smtpsurvey.targets.shard import shard_of

NUMBERS = st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 9, 10, 99, 100, 255, 256, 2**32 - 1]))
ADDRESS = st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)).encode())
ALMOST = st.lists(
    st.integers(0, 1200).map(str) | st.sampled_from(["", "01", "001", "256", " 1", "1 "]), max_size=6
).map(lambda parts: ".".join(parts).encode())
OTHER = st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))
LINES = st.lists(ADDRESS | ALMOST | OTHER)


def is_address(line: bytes) -> bool:
    try:
        inet_pton(AF_INET, line.decode("latin-1"))
    except (OSError, ValueError):
        return False
    return True


@given(LINES)
def test_addresses_are_what_the_system_takes_for_one_and_nothing_is_lost(lines: list[bytes]) -> None:
    block = b"".join(line + b"\n" for line in lines)
    parsed = parse_lines(block)
    assert parsed.lines == len(lines)
    assert [str(IPv4Address(number)).encode() for number in parsed.numbers.tolist()] == list(filter(is_address, lines))
    others = [(number, line) for number, line in enumerate(lines) if not is_address(line)]
    cut = zip(parsed.others.tolist(), parsed.begins.tolist(), parsed.ends.tolist(), strict=True)
    assert [(number, block[begin:end]) for number, begin, end in cut] == others


@given(NUMBERS)
def test_text_of_addresses_reads_back(numbers: list[int]) -> None:
    text = format_lines(np.array(numbers, np.uint32))
    assert text == b"".join(str(IPv4Address(number)).encode() + b"\n" for number in numbers)
    assert parse_lines(text).numbers.tolist() == numbers


def test_many_pieces_are_written_in_order() -> None:
    numbers = np.arange(0, 2**32, 37_003, dtype=np.int64).astype(np.uint32)
    assert parse_lines(format_lines(numbers)).numbers.tolist() == numbers.tolist()


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 9))))
def test_ranges_are_expanded_one_after_another(sizes: list[tuple[int, int]]) -> None:
    ranges = [(first, min(first + more, 2**32 - 1)) for first, more in sizes]
    ranked = Ranked(ranges)
    expected = [number for first, last in ranges for number in range(first, last + 1)]
    assert ranked.size == len(expected)
    assert ranked.at(np.arange(ranked.size)).tolist() == expected


@given(NUMBERS, st.integers(1, 999_999))
def test_shards_are_those_of_a_crawl(numbers: list[int], count: int) -> None:
    expected = [shard_of(str(IPv4Address(number)), count) for number in numbers]
    assert shards_of(np.array(numbers, np.uint32), count).tolist() == expected
