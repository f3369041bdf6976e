"""The mill: unique targets of all sources, in an order that the seed decides."""

from __future__ import annotations

import contextlib
from collections import Counter
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

import attrs
import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.admission.optout import parse_entry
from smtpsurvey.items import Target
from smtpsurvey.targets import mentions, mill, runs
from smtpsurvey.targets.address import read_span
from smtpsurvey.targets.bulk import shards_of
from smtpsurvey.targets.lines import HostName, TargetLines
from smtpsurvey.targets.mill import Batch, Mill
from smtpsurvey.targets.output import Names, Outputs, TargetWriter
from smtpsurvey.targets.shard import shard_of
from smtpsurvey.targets.sieve import Sieve
from smtpsurvey.targets.sources import Block

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Sequence

SEEDS_TRIED = 300
CHI_SQUARE_39 = 72.1  # exceeded once in a thousand, of 39 degrees of freedom
DATABASE = duckdb.connect(config={"threads": 1})
Line = tuple[str, int, str | None, str | None]


@contextlib.contextmanager
def tables(*names: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database, and remove these tables from it at the end: to make one takes 30 ms."""
    try:
        yield DATABASE
    finally:
        for name in names:
            DATABASE.execute(f"DROP TABLE IF EXISTS {name}")


@contextlib.contextmanager
def milled(blocks: Iterable[tuple[Block, int]], seed: int = 0, optout: Sequence[str] = ()) -> Iterator[Mill]:
    """Give the mill with these blocks, each of the source with its number."""
    entries = [entry for text in optout if (entry := parse_entry(text, "test", with_as_map=False))]
    with (
        TemporaryDirectory() as folder,
        tables("mentions", "named") as database,
        contextlib.closing(Mill(Path(folder), database, seed, Sieve(optout=entries))) as made,
    ):
        for block, source in blocks:
            made.add(block, source)
        made.finish()
        yield made


def block(*targets: str | Target | HostName) -> Block:
    """Make a block: plain addresses, CIDRs and ranges as text."""
    spans = [span for text in targets if isinstance(text, str) and (span := read_span(text))]
    plain = [span.first for span in spans if span.first == span.last < 2**32]
    return Block(
        v4=np.array(plain, np.uint32),
        spans=[span for span in spans if span.first != span.last],
        targets=[target for target in targets if not isinstance(target, str)],
    )


def contents(batches: Iterable[Batch], shards: int = 0) -> tuple[list[bytes], list[list[bytes]], set[tuple[str, str]]]:
    """Return the lines of the list, those of its shards, and the pairs of address and source."""
    with TemporaryDirectory() as folder, tables("pairs", "other_pairs", "labels") as database, Outputs() as outputs:
        names = Names.of(f"{folder}/t.csv")
        writer = TargetWriter(outputs, names, shards, database)
        for each in batches:
            writer.write(each)
        pairs = names.beside(".sources.parquet")
        writer.write_sources(outputs.part(pairs), ["a", "b", "c", "d"])
        outputs.commit()
        rows = database.execute("SELECT address, source FROM read_parquet(?)", [str(pairs)]).fetchall()
        assert len(rows) == len(set(rows))
        parts = [names.shard(number, shards).read_bytes().splitlines() for number in range(1, shards + 1)]
        return names.out.read_bytes().splitlines(), parts, set(rows)


def read(lines: Iterable[bytes]) -> list[Line]:
    """Read lines as a crawl does."""
    reader = TargetLines("t.csv", None, 25, lambda number, reason: pytest.fail(f"{number}: {reason}"))
    found = [*reader.feed(b"".join(line + b"\n" for line in lines)), *reader.finish()]
    return [
        (each.ip, each.port, each.name, each.tag)
        if isinstance(each, Target)
        else (each.name, each.port, each.label, each.tag)
        for each in found
    ]


V4 = st.integers(int(IPv4Address("9.0.0.0")), int(IPv4Address("9.0.0.40"))).map(lambda number: str(IPv4Address(number)))
V6 = st.integers(2**125, 2**125 + 9).map(lambda number: str(ip_address(number)))
NAME = st.sampled_from([None, "mx.example.org", "a.example.com"])
TAG = st.none() | st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="#"), min_size=1, max_size=5
).filter(lambda tag: tag == tag.strip() and tag != "saddr")
PORT = st.sampled_from([25, 25, 25, 587])
TARGET = st.builds(Target, V4 | V6, PORT, NAME, TAG)
HOST = st.builds(
    HostName, st.sampled_from(["h.example", "i.example"]), TAG, PORT, st.just(1), st.just(0), st.none(), NAME
)
MENTIONS = st.lists(st.tuples(V4 | TARGET | HOST, st.integers(0, 3)), max_size=40)


def key_of(target: str | Target | HostName) -> tuple[str, int]:
    if isinstance(target, str):
        return target, 25
    return (target.ip if isinstance(target, Target) else target.name), target.port


@settings(max_examples=40, deadline=None)
@given(MENTIONS, st.integers(0, 3), st.randoms(use_true_random=False), st.integers(1, 12))
def test_each_target_comes_once_with_its_first_name_and_tag_and_all_its_sources(
    given_targets: list[tuple[str | Target | HostName, int]], seed: int, shuffle: random.Random, piece: int
) -> None:
    names: dict[tuple[str, int], str | None] = {}
    tags: dict[tuple[str, int], str | None] = {}
    for target, _ in given_targets:
        named = None if isinstance(target, str) else target.name if isinstance(target, Target) else target.label
        tagged = None if isinstance(target, str) else target.tag
        names[key_of(target)] = names.get(key_of(target)) or named
        tags[key_of(target)] = tags.get(key_of(target)) or tagged
    with (
        patch.object(runs, "RUN", 7),
        patch.object(runs, "PIECE", piece),
        patch.object(mentions, "GATHERED", 5),
        patch.object(mill, "NAMED_COST", 1),
    ):
        with milled(((block(target), source) for target, source in given_targets), seed) as made:
            lines, shards, pairs = contents(made.batches(), 3)
        order = [address for address, *_ in read(lines)]
        assert {(ip, port, name, tag) for ip, port, name, tag in read(lines)} == {
            (*key, name, tags[key]) for key, name in names.items()
        }
        assert len(lines) == len(names)
        assert pairs == {(key_of(target)[0], "abcd"[source]) for target, source in given_targets}
        # The shards are the list in three parts, by the address.
        assert Counter(line for part in shards for line in part) == Counter(lines)
        for number, part in enumerate(shards):
            assert all(shard_of(ip, 3) == number for ip, *_ in read(part) if not ip.endswith("example"))
            assert part == [line for line in lines if line in set(part)]
        # The same set in another order, in other blocks.
        shuffle.shuffle(given_targets)
        with milled([(block(*(target for target, _ in given_targets)), 0)], seed) as made:
            again, _, _ = contents(made.batches())
        assert [address for address, *_ in read(again)] == order


@settings(max_examples=40, deadline=None)
@given(MENTIONS, st.integers(0, 60))
def test_a_sample_is_the_beginning_of_the_list(
    given_targets: list[tuple[str | Target | HostName, int]], count: int
) -> None:
    with milled((block(target), source) for target, source in given_targets) as made:
        whole, _, pairs = contents(made.batches())
        left, cut = count, []
        for each in made.batches():
            cut.append(each.first(left))
            left -= len(cut[-1])
        lines, _, kept = contents(cut)
    assert lines == whole[:count]
    addresses = {address for address, *_ in read(lines)}
    assert kept <= pairs
    assert {address for address, _ in kept} == addresses


def test_over_many_seeds_each_target_is_sampled_as_often_as_any_other() -> None:
    named = [
        Target("2001:4860::1"),
        Target("9.0.0.1", 587),
        HostName("a.example", None, 25, 1, 0),
        Target("9.0.0.2", 25, "x.org"),
    ]
    population = block(*(f"9.9.9.{number}" for number in range(36)), *named)
    counts: Counter[str] = Counter()
    for seed in range(SEEDS_TRIED):
        with milled([(population, 0)], seed) as made:
            (batch,) = made.batches()
            first = batch.first(10)
        drawn = [*map(str, first.numbers.tolist()), *(other.address for other in first.others)]
        assert len(drawn) == len(set(drawn)) == 10
        counts.update(drawn)
    assert len(counts) == 40
    expected = SEEDS_TRIED * 10 / 40
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < CHI_SQUARE_39


def test_networks_and_ranges_are_expanded_and_what_is_reserved_is_counted() -> None:
    sources = [
        (block("9.0.0.0/24", "9.0.0.128-9.0.1.9", "10.0.0.0/22", "2001:4860::/124", "2001:db8::/126"), 0),
        (
            block(
                "9.0.0.7",
                "10.0.0.1",
                "192.168.0.1",
                Target("10.0.0.2", 25, "x.org"),
                Target("::1", 25),
                Target("10.0.0.3", 99),
            ),
            1,
        ),
    ]
    with milled(sources) as made:
        batches = list(made.batches())
        lines, _, pairs = contents(batches)
    assert {ip for ip, *_ in read(lines)} == {str(IPv4Address("9.0.0.0") + n) for n in range(266)} | {
        str(ip_address("2001:4860::") + n) for n in range(16)
    }
    removed = sum((batch.removed for batch in batches), Counter())
    assert removed == {"reserved": 1024 + 1 + 4 + 1 + 1}
    assert ("9.0.0.7", "b") in pairs
    assert len(pairs) == 266 + 16 + 1


def test_whom_an_opt_out_covers_is_removed_by_address_or_by_any_name() -> None:
    sources = [
        (
            block(
                "9.0.0.1", "9.0.0.2", Target("9.0.0.3", 25, "mail.example.org"), Target("9.0.0.4", 25, "example.net")
            ),
            0,
        ),
        # Another list knows the name of 9.0.0.1.
        (
            block(
                Target("9.0.0.1", 25, "example.org"),
                HostName("mx.example.org", None, 25, 1, 0),
                Target("2600::1", 25, "a.example.org"),
            ),
            1,
        ),
        (block(HostName("mx.example.net", None, 25, 1, 0, None, "example.org"), "8.8.8.8"), 2),
    ]
    with milled(sources, optout=("example.org", "8.8.8.0/24")) as made:
        batches = list(made.batches())
    lines, _, pairs = contents(batches)
    assert sorted(read(lines)) == [("9.0.0.2", 25, None, None), ("9.0.0.4", 25, "example.net", None)]
    assert sum((batch.removed for batch in batches), Counter()) == {"opt-out": 6}
    assert {address for address, _ in pairs} == {"9.0.0.2", "9.0.0.4"}


def test_neighbours_are_not_neighbours_in_the_list() -> None:
    with milled([(block("9.0.0.0/16"), 0)]) as made:
        numbers = np.concatenate([batch.numbers for batch in made.batches()]).astype(np.int64)
    assert sorted(numbers.tolist()) == list(range(9 << 24, (9 << 24) + 65_536))
    assert (np.abs(np.diff(numbers)) < 256).mean() < 0.02
    assert np.bincount(shards_of(numbers.astype(np.uint32), 4), minlength=4).min() > 16_000


def test_every_batch_says_how_far_the_list_is() -> None:
    with patch.object(runs, "PIECE", 100), milled([(block("9.0.0.0/22"), 0)]) as made:
        done = [batch.done for batch in made.batches()]
    assert done == sorted(done)
    assert len(done) > 5
    assert done[-1] == 1.0


def test_a_mill_without_targets_is_empty() -> None:
    with milled([]) as made:
        assert contents(made.batches(), 2) == ([], [[], []], set())


@pytest.mark.parametrize("ip", ["2001:4860:0:0::1", "2001:4860::0001"])
def test_addresses_are_told_apart_by_value_not_by_text(ip: str) -> None:
    with milled([(block(Target("2001:4860::1")), 0), (block(attrs.evolve(Target("::"), ip=ip)), 1)]) as made:
        lines, _, pairs = contents(made.batches())
    assert lines == [b"2001:4860::1"]
    assert pairs == {("2001:4860::1", "a"), ("2001:4860::1", "b")}
