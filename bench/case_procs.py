"""Two processes on two cores against one: targets a second, each process taking its shard of one list."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from typing import TYPE_CHECKING

from survey import address, check_feeds, mixed
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from survey import Bench

TARGETS = 200_000


def run_procs(bench: Bench) -> Iterator[Row]:
    """Report the gain; the responder shares the cores, so it stays below 2."""
    targets = bench.size(TARGETS)
    live = mixed(targets)
    path = bench.write("targets.txt", map(address, range(targets)))
    speeds: list[tuple[float, float]] = []
    with bench.programs.responder(bench.write("live.txt", live)):
        for _ in range(bench.runs):
            start_up = bench.start_up().wall
            one, two = (targets / (_survey(bench, path, live, processes) - start_up) for processes in (1, 2))
            speeds.append((one, two))
    yield Row(
        "procs",
        f"{targets:,} targets, mix, {os.cpu_count()} cores",
        f"{statistics.median(one for one, _ in speeds):,.0f}/s",
        f"{statistics.median(two for _, two in speeds):,.0f}/s",
        statistics.median(two / one for one, two in speeds),
        "x one",
    )


def _survey(bench: Bench, path: Path, live: list[str], processes: int) -> float:
    """Survey the list in so many processes at once and return the seconds until the last has ended."""
    feeds = [bench.work / f"feed.{shard}.jsonl" for shard in range(1, processes + 1)]
    start = time.monotonic()
    with contextlib.ExitStack() as running:
        programs = [
            running.enter_context(bench.start(path, f"shard={shard}/{processes}", feed=feed))
            for shard, feed in enumerate(feeds, 1)
        ]
        for program in programs:
            program.finish()
    wall = time.monotonic() - start
    check_feeds(feeds, live)
    return wall
