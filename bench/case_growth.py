"""Cost per target and peak memory as the list grows: neither may."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from case_speed import measure_pairs
from survey import mixed
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from survey import Bench

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
ONCE = 1_000_000  # lists from this size on are long enough to measure once
SHORT = 3  # times as many runs of the shortest, where start-up is most of what is measured
COST_MUST, COST_AIM = 1.1, 1.0
PEAK_MUST, PEAK_AIM = 1.15, 1.0
MIB = 1 << 20


def run_growth(bench: Bench) -> Iterator[Row]:
    """Survey mixes of growing size; a quick bench stops at 100,000 targets.

    The hosts of the longest list are up all the time, so that what they cost the kernel stays the same.
    """
    sizes = SIZES[:2] if bench.quick else SIZES
    with bench.programs.responder(bench.write("live.txt", mixed(sizes[-1])), seconds=3600):
        yield from _grow(bench, sizes)


def _grow(bench: Bench, sizes: tuple[int, ...]) -> Iterator[Row]:
    cost: dict[int, float] = {}
    peak: dict[int, float] = {}
    for targets in sizes:
        runs = 1 if targets >= ONCE else bench.runs * (SHORT if targets == sizes[0] else 1)
        pairs = measure_pairs(bench, targets, mixed(targets), runs)
        floor = statistics.median(pair.floor for pair in pairs)
        cost[targets] = statistics.median(pair.ours for pair in pairs)
        peak[targets] = statistics.median(pair.peak for pair in pairs) / MIB
        load = f"{targets:,} targets, mix, {peak[targets]:.0f} MiB"
        yield Row("growth", load, f"{floor:.1f} µs", f"{cost[targets]:.1f} µs", cost[targets] / floor, "x floor")
    yield _grown("CPU a target", cost, sizes[0], "µs", (COST_MUST, COST_AIM))
    yield _grown("peak RSS", peak, sizes[0] if bench.quick else sizes[1], "MiB", (PEAK_MUST, PEAK_AIM))


def _grown(what: str, figures: dict[int, float], small: int, unit: str, bounds: tuple[float, float]) -> Row:
    large = max(figures)
    load = f"{what}, {large:,} / {small:,}"
    base, ours = f"{figures[small]:.1f} {unit}", f"{figures[large]:.1f} {unit}"
    return Row("growth", load, base, ours, figures[large] / figures[small], "x", *bounds)
