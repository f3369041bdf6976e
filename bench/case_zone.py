"""`scrapy targets zone:FILE`: a zone in CZDS form, gzip, from its lines to its distinct domains in a file."""

from __future__ import annotations

import csv
import gzip
import random
import statistics
from typing import TYPE_CHECKING

from measure import BenchError, measure
from survey import ROOT, SCRAPY
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from survey import Bench

LINES = 20_000_000
PROVIDERS = 20_000  # of name servers, few of which serve most domains
SIGNED, GLUED = 20, 50  # one domain of so many has DS and RRSIG records, or a name server of its own
AT_ONCE = 100_000
MUST = 1_000_000.0  # lines a second
_APEX = (
    "com.\t900\tin\tsoa\ta.gtld-servers.net. nstld.verisign-grs.com. 2026112501 1800 900 604800 86400\n"
    "com.\t172800\tin\tns\ta.gtld-servers.net.\n"
)


def run_zone(bench: Bench) -> Iterator[Row]:
    """Count the lines by the clock: decompressing and reading are side by side on two cores."""
    path, out = bench.work / "zone.txt.gz", bench.work / "zone.csv.zst"
    lines, domains = _write(path, bench.size(LINES))
    used = [measure([SCRAPY, "targets", f"zone:{path}", "--out", out], ROOT) for _ in range(min(bench.runs, 3))]
    with out.with_name("zone.zone_sizes.csv").open(newline="") as file:
        found = list(csv.reader(file))[1:]
    if found != [["com", "2026-11-25", str(domains)]]:
        raise BenchError(f"sizes {found} of a zone of {domains} domains")
    for each in (path, *bench.work.glob("zone.*")):
        each.unlink(missing_ok=True)
    wall, cpu, peak = (statistics.median(getattr(each, what) for each in used) for what in ("wall", "cpu", "peak"))
    load = f"{lines:,} lines, {domains:,} domains"
    yield Row("zone", load, "", f"{cpu:.1f} s CPU", lines / wall, "/s", MUST, at_least=True)
    yield Row("zone", "the same, peak RSS", "", "", peak / (1 << 30), "GiB")


def _write(path: Path, lines: int) -> tuple[int, int]:
    """Write about so many lines; return how many, and of how many domains they are."""
    rng = random.Random(3)  # noqa: S311  # the same zone each time is the point
    written, domains, part = 2, 0, [_APEX]
    with gzip.open(path, "wt", compresslevel=6, encoding="ascii", newline="\n") as file:
        while written < lines:
            # In the order of the zone: the number leads.
            name = f"{domains:07x}{rng.choice('aeiou')}{rng.getrandbits(20):x}{rng.choice(('', '-shop', 'online'))}"
            records = _records(rng, name, domains)
            part += records
            written += len(records)
            domains += 1
            if len(part) > AT_ONCE or written >= lines:
                file.write("".join(part))
                part.clear()
    return written, domains


def _records(rng: random.Random, name: str, number: int) -> list[str]:
    provider = int(PROVIDERS * rng.random() ** 3)
    count = 2 + (number % 8 == 0)
    records = [f"{name}.com.\t172800\tin\tns\tns{n}.p{provider:05}.example.net.\n" for n in range(count)]
    if number % SIGNED == 0:
        records += [
            f"{name}.com.\t86400\tin\tds\t{number & 0xFFFF} 8 2 {rng.getrandbits(256):064X}\n",
            f"{name}.com.\t86400\tin\trrsig\tDS 8 2 86400 20261201043424 20261124032424 12345 com. {'aB3/+x' * 28}==\n",
        ]
    if number % GLUED == 0:
        records.append(f"ns1.{name}.com.\t172800\tin\ta\t{1 + number % 9}.{number >> 8 & 255}.{number & 255}.7\n")
    return records
