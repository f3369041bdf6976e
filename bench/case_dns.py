"""Look-ups of MX through unbound and nsd: time from cold, CPU a domain, and memory as the list grows."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from measure import BenchError, measure
from programs import HERE
from survey import ROOT, SCRAPY
from table import Row

sys.path.append(str(ROOT / "tests"))
from servers.dns import NSD, NSD_PORT, dns  # the tests' own servers
from servers.namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from measure import Usage
    from survey import Bench

ZONE = "bench.example"
# Every name below it has these exchanges; a resolver has to ask for each all the same.
RECORDS = """\
$TTL 600
@ SOA ns hostmaster 1 3600 600 86400 60
 NS ns
ns A 127.0.0.53
* MX 10 mx1.provider
 MX 20 mx2.provider
mx1.provider A 9.9.9.1
mx2.provider A 9.9.9.2
"""
EXCHANGES = [
    {"preference": 10, "name": f"mx1.provider.{ZONE}", "addresses": ["9.9.9.1"], "flags": None},
    {"preference": 20, "name": f"mx2.provider.{ZONE}", "addresses": ["9.9.9.2"], "flags": None},
]
COLD, COLD_MUST, COLD_AIM = 10_000, 5.0, 3.0  # domains; seconds
DOMAINS, COST_MUST, COST_AIM = 50_000, 150.0, 110.0  # microseconds a domain
SIZES = (200_000, 2_000_000)
PEAK_MUST, PEAK_AIM = 1.15, 1.05
MIB = 1 << 20


class _Servers(NamedTuple):
    """Where they run and what they are asked for."""

    bench: Bench
    namespace: Namespace
    unbound: str

    def domains(self, label: str, count: int) -> Path:
        """Write a list of domains that nobody has asked for yet."""
        return self.bench.write(f"{label}.txt", (f"{label}-{n}.{ZONE}" for n in range(count)))

    def look_up(self, domains: Path, feed: Path | str, server: str | None = None, *more: str) -> Usage:
        """Measure ``scrapy crawl mx``, addresses of the exchanges included."""
        settings = ("SMTPSURVEY_SHARDS=", "SMTPSURVEY_DNS_RATE=0", f"SMTPSURVEY_DNS_SERVERS={server or self.unbound}")
        command = [str(SCRAPY), "crawl", "mx", "-L", "WARNING", "-a", f"domains={domains}", "-O", f"{feed}:jsonlines"]
        command += [part for setting in (*settings, *more) for part in ("-s", setting)]
        return measure(self.namespace.command(*command), ROOT, 1800)

    def floor(self, domains: Path, count: int) -> float:
        """Measure the CPU of the least loop."""
        host, _, port = self.unbound.partition(":")
        usage = measure(self.namespace.command(sys.executable, HERE / "floor_dns.py", host, port, domains))
        if int(usage.output) != count:
            raise BenchError(f"the floor found {usage.output.strip()} of {count} domains")
        return usage.cpu


def run_dns(bench: Bench) -> Iterator[Row]:
    """Run the servers in a namespace, and all three measurements."""
    if not (shutil.which("nsd") and shutil.which("unbound")):
        yield Row("dns", "not measured: needs nsd and unbound")
        return
    try:
        namespace = Namespace("bench-dns")
    except (OSError, RuntimeError) as error:
        yield Row("dns", f"not measured: {error}")
        return
    with closing(namespace), dns(namespace, bench.work / "dns", {ZONE: RECORDS}) as unbound:
        servers = _Servers(bench, namespace, unbound)
        yield _cold(servers)
        yield from _cost(servers)
        yield _memory(servers)


def _cold(servers: _Servers) -> Row:
    bench, count, times = servers.bench, servers.bench.size(COLD), []
    for run in range(bench.runs):
        feed = bench.work / "cold.jsonl"
        times.append(servers.look_up(servers.domains(f"cold{run}", count), feed).wall)
        _check(feed, count)
    seconds = statistics.median(times)
    row = (f"{count / seconds:,.0f}/s", seconds, "s", COLD_MUST, COLD_AIM)
    return Row("dns", f"{count:,} MX, unbound cold, to the exit", "", *row)


def _cost(servers: _Servers) -> Iterator[Row]:
    bench, count, pairs = servers.bench, servers.bench.size(DOMAINS), []
    path, one, feed = servers.domains("cost", count), servers.domains("one", 1), bench.work / "cost.jsonl"
    servers.look_up(path, feed)  # from now on unbound knows them all
    for _ in range(bench.runs):
        floor = servers.floor(path, count) - servers.floor(one, 1)
        ours = servers.look_up(path, feed).cpu
        _check(feed, count)
        pairs.append((floor / count * 1e6, (ours - servers.look_up(one, bench.work / "one.jsonl").cpu) / count * 1e6))
    floor, ours = (statistics.median(values) for values in zip(*pairs, strict=True))
    shown = f"{floor:.1f} µs", f"{ours:.1f} µs"
    yield Row("dns", f"{count:,} MX, CPU a domain", *shown, ours, "µs", COST_MUST, COST_AIM)
    yield Row("dns", "the same", *shown, statistics.median(ours / floor for floor, ours in pairs), "x floor")


def _memory(servers: _Servers) -> Row:
    peaks = [_peak(servers, servers.bench.size(count)) for count in SIZES]
    small, large = (peak / MIB for peak in peaks)
    load = f"peak RSS, {servers.bench.size(SIZES[1]):,} / {servers.bench.size(SIZES[0]):,} MX"
    return Row("dns", load, f"{small:.1f} MiB", f"{large:.1f} MiB", large / small, "x", PEAK_MUST, PEAK_AIM)


def _peak(servers: _Servers, count: int) -> int:
    """Ask nsd, which remembers nothing; the feed goes nowhere."""
    manifest = servers.bench.work / "manifest.json"
    setting = f"SMTPSURVEY_MANIFEST={manifest}"
    usage = servers.look_up(servers.domains("memory", count), "/dev/null", f"{NSD}:{NSD_PORT}", setting)
    counts = json.loads(manifest.read_text())["counts"]["domains"]
    if counts != {"MX": count}:
        raise BenchError(f"{count} domains with MX came out as {counts}")
    return usage.peak


def _check(feed: Path, count: int) -> None:
    seen = set()
    with feed.open() as lines:
        for line in lines:
            item = json.loads(line)
            if item["outcome"] != "ok" or item["exchanges"] != EXCHANGES:
                raise BenchError(f"a wrong item: {line.strip()}")
            seen.add(item["domain"])
    if len(seen) != count:
        raise BenchError(f"{len(seen)} of {count} domains in the feed")
