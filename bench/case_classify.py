"""Naming the software of distinct greetings: how many a second, on one core, captures included."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

from measure import BenchError, measure
from programs import HERE
from survey import ROOT
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Argument
    from survey import Bench

GREETINGS = 100_000
MUST, AIM = 50_000.0, 100_000.0  # greetings a second


def run_classify(bench: Bench) -> Iterator[Row]:
    """Compare with the same patterns tried one after another by Python's ``re``."""
    greetings = bench.size(GREETINGS)
    argv: list[Argument] = [ROOT / ".venv/bin/python", HERE / "greetings.py", str(greetings)]
    results: list[dict[str, Any]] = [json.loads(measure(argv, ROOT).output) for _ in range(bench.runs)]
    if wrong := results[0]["wrong"]:
        raise BenchError(f"wrong verdicts: {'; '.join(wrong)}")
    base, ours = (statistics.median(result[who] for result in results) for who in ("base", "ours"))
    load = f"{greetings:,} greetings, {results[0]['rules']} rules"
    yield Row("classify", load, f"re: {base:,.0f}/s", f"{ours:,.0f}/s", ours, "/s", MUST, AIM, at_least=True)
