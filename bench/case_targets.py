"""The mill of `scrapy targets`: random addresses, one a line, to the list; and how soon random addresses begin."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measure import BenchError, measure
from survey import ROOT, SCRAPY
from table import Row

from smtpsurvey.targets.bulk import format_lines
from smtpsurvey.targets.sieve import Sieve
from smtpsurvey.targets.sources import Options, Report, open_source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from survey import Bench

ADDRESSES = 111_209_212  # the largest round of the surveys
AT_ONCE = 1 << 22
MUST_SECONDS, MUST_PEAK, MUST_FIRST = 150.0, 2.5, 1.0  # s, GiB, s
GIB = 1 << 30


def run_targets(bench: Bench) -> Iterator[Row]:
    """Put the list through once, whatever the number of runs: it is long enough."""
    count = bench.size(ADDRESSES)
    listed, out = bench.work / "addresses.txt", bench.work / "targets.csv.zst"
    expected = _write(listed, count)
    used = measure([SCRAPY, "targets", f"list:{listed}", "--out", out], ROOT)
    found = _lines(out)
    for path in (listed, out, out.with_name("targets.sources.parquet")):
        path.unlink()
    if found != expected:
        raise BenchError(f"{found:,} targets in the list where {expected:,} different addresses are not reserved")
    load = f"{count:,} addresses, {expected:,} out"
    yield Row("targets", load, "", f"{used.cpu:.0f} s CPU", used.wall, "s", MUST_SECONDS)
    yield Row("targets", "the same, peak RSS", "", "", used.peak / GIB, "GiB", MUST_PEAK)
    first = statistics.median(_first() for _ in range(bench.runs))
    yield Row("targets", "random:1%, the first million", "", "", first, "s", MUST_FIRST)


def _write(path: Path, count: int) -> int:
    """Write random addresses, the same each time; return how many different ones are not reserved."""
    rng = np.random.default_rng(1)
    seen = np.zeros(1 << 32 >> 3, np.uint8)
    sieve = Sieve()
    with path.open("wb") as file:
        for start in range(0, count, AT_ONCE):
            some = rng.integers(0, 1 << 32, min(AT_ONCE, count - start), dtype=np.uint32)
            file.write(format_lines(some))
            kept = some[sieve.codes(some) == 0]
            np.bitwise_or.at(seen, kept >> 3, np.uint8(1) << (kept & 7).astype(np.uint8))
    return int(np.bitwise_count(seen).sum(dtype=np.int64))


def _lines(path: Path) -> int:
    with zstd.open(path) as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _first() -> float:
    begun = time.perf_counter()
    next(open_source("random:1%", Report(Options(Path()), print)).blocks())
    return time.perf_counter() - begun
