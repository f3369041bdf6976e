"""Naming software: distinct greetings a second on one core, captures included, and what single verdicts cost."""

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
VERDICTS = 100_000
CACHED_MUST, SLOW_MUST = 0.3, 5_000.0  # microseconds


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
    yield from _single(bench)


def _single(bench: Bench) -> Iterator[Row]:
    verdicts = bench.size(VERDICTS)
    argv: list[Argument] = [ROOT / ".venv/bin/python", HERE / "verdicts.py", str(verdicts)]
    results: list[dict[str, Any]] = [json.loads(measure(argv, ROOT).output) for _ in range(bench.runs)]
    if wrong := results[0]["wrong"]:
        raise BenchError(f"wrong verdicts: {'; '.join(wrong)}")
    for name, load, must in (
        ("cached", "the same greeting again", CACHED_MUST),
        ("cached_hidden", "the same hidden host again", None),
        ("hidden", f"{verdicts:,} hosts that hide, by behaviour", None),
        ("slow", "64 KiB built to be slow, every text", SLOW_MUST),
    ):
        figure = statistics.median(result[name] for result in results)
        yield Row("classify", load, "", f"{figure:,.2f} us", figure, "us", must)
