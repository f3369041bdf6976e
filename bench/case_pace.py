"""Rate limits at speed: no /24 over its rate, and a list sorted by address does not hold the survey up."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING

from measure import BenchError
from survey import check_feeds
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from survey import Bench

PREFIXES = 2_000
IN_EACH = 20
RATE = 5  # targets a second in one /24
BURST = 1 + 0.1 * RATE  # one, and what comes together when a timer and the packets are 0.05 s late each
CLOCK_ERROR = 0.02  # seconds: the kernel's clock ticks, and both ends of a span are cut to milliseconds
SILENCE_MUST, SILENCE_AIM = 1.0, 0.5  # seconds without any new connection


def run_pace(bench: Bench) -> Iterator[Row]:
    """Survey /24s in the order of their addresses; all targets live, arrivals timed by the kernel."""
    prefixes = bench.size(PREFIXES)
    live = [f"127.{1 + (n >> 8)}.{n & 255}.{host}" for n in range(prefixes) for host in range(1, IN_EACH + 1)]
    path, feed, log = bench.write("sorted.txt", live), bench.work / "feed.jsonl", bench.work / "arrivals"
    with bench.programs.responder(arrivals=log):
        usage = bench.survey(path, feed=feed, settings={"SMTPSURVEY_PREFIX_RATE": RATE})
    check_feeds([feed], live)
    times, by_prefix = _read(log)
    if len(times) != len(live):
        raise BenchError(f"{len(times)} connections for {len(live)} targets")
    burst = max(burst_needed(arrived, RATE) for arrived in by_prefix.values())
    silence = max(after - before for before, after in itertools.pairwise(times))
    load = f"{prefixes:,} sorted /24s of {IN_EACH}, {RATE}/s each"
    bound = BURST + RATE * CLOCK_ERROR
    yield Row("pace", load, f"{BURST} burst", f"{burst:.2f} seen", burst, "targets", bound)
    speed = len(times) / (times[-1] - times[0])
    alone = (IN_EACH - BURST) / RATE * prefixes
    row = f"{usage.wall:.0f} s of work", f"{speed:,.0f}/s"
    yield Row("pace", f"longest silence ({alone:,.0f} s one by one)", *row, silence, "s", SILENCE_MUST, SILENCE_AIM)


def burst_needed(arrived: list[float], rate: float) -> float:
    """Return the smallest burst for which no span of these sorted times holds over ``burst + rate * time``."""
    most, lowest = 0.0, float("inf")
    for number, time in enumerate(arrived):
        level = number - rate * time
        lowest = min(lowest, level)
        most = max(most, level - lowest + 1)
    return most


def _read(log: Path) -> tuple[list[float], dict[str, list[float]]]:
    """Read the responder's log: all arrivals sorted, and those of each /24, in seconds."""
    by_prefix: dict[str, list[float]] = defaultdict(list)
    for line in log.read_text().splitlines():
        milliseconds, ip = line.split()
        by_prefix[ip.rpartition(".")[0]].append(int(milliseconds) / 1000)
    for arrived in by_prefix.values():
        arrived.sort()
    return sorted(time for arrived in by_prefix.values() for time in arrived), by_prefix
