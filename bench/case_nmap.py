"""nmap's banner script as a peer that anyone can install: it reads the greeting and nothing more."""

from __future__ import annotations

import shutil
import statistics
from typing import TYPE_CHECKING

from measure import BenchError, measure
from programs import GREETING
from survey import address
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from survey import Bench

TARGETS = 4_000


def run_nmap(bench: Bench) -> Iterator[Row]:
    """Report CPU a live host, start-up subtracted, against the floor, which also says EHLO and QUIT."""
    targets = bench.size(TARGETS)
    load = f"{targets:,} targets, --script banner"
    if shutil.which("nmap") is None:
        yield Row("nmap", "not measured: nmap is not installed")
        return
    path = bench.write("targets.txt", map(address, range(targets)))
    pairs: list[tuple[float, float]] = []
    with bench.programs.responder():
        for _ in range(bench.runs):
            floor = bench.programs.floor(path, targets).cpu
            start_up = _scan(bench, "one.txt", 1)
            pairs.append((floor / targets * 1e6, (_scan(bench, path.name, targets) - start_up) / targets * 1e6))
    yield Row(
        "nmap",
        load,
        f"{statistics.median(floor for floor, _ in pairs):.1f} µs",
        f"{statistics.median(nmap for _, nmap in pairs):.1f} µs",
        statistics.median(nmap / floor for floor, nmap in pairs),
        "x floor",
    )


def _scan(bench: Bench, name: str, targets: int) -> float:
    options = ["-n", "-Pn", "-T5", "-p", str(bench.programs.port), "--script", "banner", "-oN", "-"]
    usage = measure(["nmap", *options, "-iL", bench.work / name])
    found = usage.output.count(f"banner: 220 {GREETING}")
    if found != targets:
        raise BenchError(f"nmap read {found} of {targets} greetings")
    return usage.cpu
