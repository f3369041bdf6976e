"""The AS map of a whole routing table: built from lines and a RIR's file, opened, asked."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from measure import BenchError, measure
from programs import HERE
from routes import make_table, sample, write_caida, write_delegated, write_rib
from survey import ROOT, SCRAPY
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from survey import Bench

PREFIXES = 1_000_000
QUESTIONS = 100_000
RIB_PREFIXES, PEERS = 20_000, 30
BUILD_MUST, OPEN_MUST, SPEED_MUST, SIZE_MUST = 240, 50, 300_000, 60  # s, ms, look-ups/s, MB


def run_asmap(bench: Bench) -> Iterator[Row]:
    """Build the map once; every answer of the look-ups is compared with the table."""
    prefixes = bench.size(PREFIXES)
    work = bench.work
    table = make_table(prefixes)
    routes, delegated, rib, out = work / "pfx2as.txt", work / "delegated", work / "rib.mrt", work / "routes.mmdb"
    write_caida(table, routes)
    write_delegated(table, delegated)
    write_rib(islice(table.routes.items(), bench.size(RIB_PREFIXES)), PEERS, rib)
    questions = bench.write("questions.jsonl", map(json.dumps, sample(table, bench.size(QUESTIONS))))
    load = f"{prefixes:,} prefixes, {len(table.delegated):,} delegated"
    del table
    built = measure([SCRAPY, "asmap", "build", routes, delegated, "--out", out], ROOT)
    if f" {prefixes} prefixes " not in built.output or "0 bad lines" not in built.output:
        raise BenchError(f"built something else: {built.output}{built.log}")
    used = f"{built.cpu:.0f} s CPU", f"{built.peak / 2**20:,.0f} MiB"
    yield Row("asmap", load, *used, built.wall, "s", BUILD_MUST)
    yield Row("asmap", "size of the map", "", "", out.stat().st_size / 1e6, "MB", SIZE_MUST)
    argv = [ROOT / ".venv/bin/python", HERE / "lookups.py", out, questions, rib]
    result: dict[str, Any] = json.loads(measure(argv, ROOT).output)
    if result["wrong"]:
        raise BenchError(f"wrong answers: {'; '.join(result['wrong'])}")
    yield Row("asmap", "open", "", "", result["open"], "ms", OPEN_MUST)
    yield Row("asmap", "look-ups on one core", "", "", result["speed"], "/s", SPEED_MUST, at_least=True)
    reading = f"RIB of {result['prefixes']:,} prefixes, {PEERS} peers"
    yield Row("asmap", reading, "", f"{result['read']:.1f} us a prefix", result["read"] / PEERS, "us")
