"""CPU per target against the C floor: live hosts, the Internet's mix, and STARTTLS."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from survey import address, check_feeds, mixed
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from survey import Bench


class Load(NamedTuple):
    """One of the three loads: how many targets, and its bounds as multiples of the floor."""

    name: str
    targets: int
    must: float
    aim: float
    says: str


LIVE = Load("live", 30_000, 5.5, 3.5, "greeting, EHLO, QUIT")
MIXED = Load("mix", 100_000, 4.0, 2.8, "1.6 % live")
STARTTLS = Load("tls", 6_000, 1.5, 1.25, "STARTTLS, TLS 1.3")


class Pair(NamedTuple):
    """Floor and survey in one run, CPU microseconds a target, start-up subtracted; peak in bytes."""

    floor: float
    ours: float
    peak: int


def run_live(bench: Bench) -> Iterator[Row]:
    """Every target answers."""
    return _run(bench, LIVE)


def run_mix(bench: Bench) -> Iterator[Row]:
    """One target in sixty answers, the rest refuse."""
    return _run(bench, MIXED)


def run_tls(bench: Bench) -> Iterator[Row]:
    """Every target answers and shakes hands."""
    return _run(bench, STARTTLS)


def measure_pairs(bench: Bench, targets: int, live: list[str], runs: int, *, tls: bool = False) -> list[Pair]:
    """Measure floor and survey in turn on the first ``targets`` addresses; the responder must be up."""
    path = bench.write("targets.txt", map(address, range(targets)))
    feed = bench.work / "feed.jsonl"
    return [_pair(bench, path, feed, targets, live, tls=tls) for _ in range(runs)]


def _pair(bench: Bench, path: Path, feed: Path, targets: int, live: list[str], *, tls: bool) -> Pair:
    floor = bench.programs.floor(path, len(live), tls=tls)
    start_up = bench.start_up()
    usage = bench.survey(path, f"tls={int(tls)}", feed=feed)
    check_feeds([feed], live, bench.programs.leaf if tls else None)
    return Pair(floor.cpu / targets * 1e6, (usage.cpu - start_up.cpu) / targets * 1e6, usage.peak)


def _run(bench: Bench, load: Load) -> Iterator[Row]:
    targets, tls, mix = bench.size(load.targets), load is STARTTLS, load is MIXED
    live = mixed(targets) if mix else [address(i) for i in range(targets)]
    with bench.programs.responder(bench.write("live.txt", live) if mix else None, tls=tls):
        pairs = measure_pairs(bench, targets, live, bench.runs, tls=tls)
    yield Row(
        load.name,
        f"{targets:,} targets, {load.says}",
        f"{statistics.median(pair.floor for pair in pairs):.1f} µs",
        f"{statistics.median(pair.ours for pair in pairs):.1f} µs",
        statistics.median(pair.ours / pair.floor for pair in pairs),
        "x floor",
        load.must,
        load.aim,
    )
