"""The dispatcher of a fleet on imagined nodes: what their troubles cost."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from measure import BenchError
from table import Row

from smtpsurvey.fleet.simulation import Scenario, Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from survey import Bench

SEEDS = 5


def run_fleet(bench: Bench) -> Iterator[Row]:
    """Plan 100 nodes x 1 M targets; no shard may be lost."""
    scenario = Scenario()
    outcomes, cpu = [], []
    for seed in range(1 if bench.quick else SEEDS):
        begun = time.process_time()
        outcomes.append(Simulation(scenario, seed).run())
        cpu.append(time.process_time() - begun)
        if outcomes[-1].imported != dict.fromkeys(range(1, scenario.shards + 1), 1):
            raise BenchError(f"seed {seed}: a shard is lost, or imported twice")
    load = f"{scenario.nodes} nodes x {scenario.targets // scenario.nodes:,} targets"
    delay = median(outcome.delay for outcome in outcomes)
    yield Row("fleet", load, "no trouble", "longer", 1 + delay, "x", must=3.0)
    repeated = median(outcome.repeated for outcome in outcomes)
    yield Row("fleet", "contacts repeated", "once each", f"{repeated:.1%}", 1 + repeated, "x", must=1.15)
    moved = median(outcome.moves for outcome in outcomes)
    twice = median(outcome.twice for outcome in outcomes)
    yield Row("fleet", f"of {scenario.shards} shards", f"moved {moved:.0f}", f"came twice {twice:.0f}")
    yield Row("fleet", "CPU of the dispatcher and its nodes", "", f"{median(cpu):.1f} s")
