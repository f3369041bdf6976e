"""Memory with thousands of targets in flight that never answer, in a network namespace that loses every SYN."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

from measure import BenchError, Program
from survey import ROOT
from table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from survey import Bench

IN_FLIGHT = 15_000
MUST, AIM = 150.0, 110.0  # MiB
RUNS = 3  # at most: each one waits for its timeouts
TIMEOUTS = {"connect": 25, "greeting": 35, "reply": 15, "tls": 15, "total": 90}  # connect: until all are in flight
SPARE_FILES = 500  # descriptors that are no connections
SYN_SENT = "02"  # a state in /proc/net/tcp
# The benchmarking range of RFC 2544, routed back to the loopback interface, which drops what is not its own.
NETWORK = "198.18.0.0/15"
ENTER = ["unshare", "--map-root-user", "--net", "sh", "-c"]
SCRIPT = f"""set -e
ip link set lo up
ip address add 198.18.0.1/32 dev lo
ip route add {NETWORK} dev lo src 198.18.0.1
exec "$@"
"""


class _InFlight:
    """Counts the connections that wait for an answer to their SYN, in the namespace of the process watched."""

    def __init__(self) -> None:
        self.most = 0

    def __call__(self, pid: int) -> None:
        try:
            with open(f"/proc/{pid}/net/tcp") as table:  # noqa: PTH123  # Path is slow at every sample
                waiting = sum(line.split(None, 4)[3] == SYN_SENT for line in table)
        except OSError:
            return  # the process has just ended
        self.most = max(self.most, waiting)


def run_memory(bench: Bench) -> Iterator[Row]:
    """Measure peak RSS; every target must have been in flight at once and come out as ``timeout``."""
    targets = bench.size(IN_FLIGHT)
    if reason := _missing(targets):
        yield Row("memory", f"not measured: {reason}")
        return
    path = bench.write("silent.txt", (f"198.18.{i >> 8 & 255}.{i & 255}" for i in range(2, targets + 2)))
    peak = statistics.median(_peak(bench, path, targets) for _ in range(min(bench.runs, RUNS))) / (1 << 20)
    yield Row("memory", f"{targets:,} in flight, no answer", "", f"{peak:.0f} MiB", peak, "MiB", MUST, AIM)


def _peak(bench: Bench, path: Path, targets: int) -> int:
    feed, in_flight = bench.work / "silent.jsonl", _InFlight()
    settings = {
        "SMTPSURVEY_ALLOW": NETWORK,
        "SMTPSURVEY_HELO": "survey.example.org",
        "SMTPSURVEY_CONTACT": "https://survey.example.org/",
        "SMTPSURVEY_CONCURRENCY": targets,
        "SMTPSURVEY_TIMEOUTS": json.dumps(TIMEOUTS),
    }
    command = bench.command(path, "record=all", feed=feed, settings=settings)
    with Program([*ENTER, SCRIPT, "sh", *command], ROOT) as program:
        usage = program.finish(300, in_flight)
    with feed.open() as lines:
        outcomes = Counter(json.loads(line)["outcome"] for line in lines)
    if outcomes != {"timeout": targets}:
        raise BenchError(f"{targets} targets that never answer came out as {dict(outcomes)}")
    if in_flight.most < targets:
        raise BenchError(f"only {in_flight.most} of {targets} targets were in flight at once")
    return usage.peak


def _missing(targets: int) -> str | None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < targets + SPARE_FILES:
        return f"needs {targets + SPARE_FILES} open files"
    try:
        made = subprocess.run([*ENTER, SCRIPT, "sh", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "needs unshare and ip"
    return made.stderr.strip().splitlines()[-1] if made.returncode else None
