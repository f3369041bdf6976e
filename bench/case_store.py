"""Storing observations in two private MariaDB servers: rows a second, CPU a row, and against LOAD DATA."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import BenchError, measure
from programs import HERE
from survey import ROOT
from table import Row

sys.path.append(str(ROOT / "tests"))
from servers.mariadb import running  # the tests' own server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Argument
    from survey import Bench

ROWS = 100_000
BATCH = 2000  # what gathers for a shard under load (smtpsurvey/store/batches.py)
SETTLED = "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M"
MUST_RATE, MUST_CPU = 10_000.0, 40.0  # rows a second; µs a row
MUST_SHARE, AIM_SHARE = 0.3, 0.5  # of the rate of LOAD DATA LOCAL INFILE


def run_store(bench: Bench) -> Iterator[Row]:
    """Compare with LOAD DATA LOCAL INFILE of the same rows into the same servers."""
    count = bench.size(ROWS)
    with contextlib.ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(dir=bench.work))) for _ in range(2)]
        servers = [stack.enter_context(running(folder, *SETTLED)) for folder in folders]
        results: list[dict[str, Any]] = []
        for _ in range(bench.runs):
            urls = [f"{server.url()}?local_infile=1" for server in servers]
            argv: list[Argument] = [ROOT / ".venv/bin/python", HERE / "rows.py", str(count), str(BATCH), *urls]
            results.append(json.loads(measure(argv, bench.work).output))
    if any(not result["same"] or result["rows"] != count for result in results):
        raise BenchError(f"what was stored is not what LOAD DATA stores: {results}")
    ours, load, cpu = (statistics.median(result[key] for result in results) for key in ("ours", "load", "cpu"))
    share = statistics.median(result["ours"] / result["load"] for result in results)
    text = f"{count:,} rows, 2 servers, 32 tables"
    yield Row("store", text, "", f"{ours:,.0f}/s", ours, "/s", MUST_RATE, at_least=True)
    yield Row(
        "store",
        "the same, against LOAD DATA",
        f"{load:,.0f}/s",
        f"{ours:,.0f}/s",
        share,
        "x",
        MUST_SHARE,
        AIM_SHARE,
        at_least=True,
    )
    yield Row("store", "CPU of the writer, a row", "", f"{cpu:.1f} µs", cpu, "µs", MUST_CPU)
