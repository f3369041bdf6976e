"""Side-by-side benchmarks of the survey: ``python bench/run.py [--only NAME,...] [--runs N] [--quick]``.

Prints one table and exits with status 1 when a survey got a fact wrong or a figure falls short of its bound; of a
quick bench only the facts count.
README.md says how it is measured. Nothing leaves the loopback interface.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from case_asmap import run_asmap
from case_classify import run_classify
from case_dns import run_dns
from case_fleet import run_fleet
from case_growth import run_growth
from case_memory import run_memory
from case_nmap import run_nmap
from case_pace import run_pace
from case_procs import run_procs
from case_received import run_received
from case_speed import run_live, run_mix, run_tls
from case_store import run_store
from case_targets import run_targets
from case_zone import run_zone
from measure import BenchError, raise_file_limit
from programs import Programs
from survey import Bench
from table import Row, print_head, print_row

CASES = {
    "live": run_live,
    "mix": run_mix,
    "tls": run_tls,
    "memory": run_memory,
    "pace": run_pace,
    "procs": run_procs,
    "classify": run_classify,
    "dns": run_dns,
    "store": run_store,
    "nmap": run_nmap,
    "growth": run_growth,
    "fleet": run_fleet,
    "asmap": run_asmap,
    "targets": run_targets,
    "zone": run_zone,
    "received": run_received,
}
RUNS = 5


def main() -> int:
    """Run the cases asked for and return the exit status."""
    names, runs, quick = _arguments()
    raise_file_limit()
    good = True
    with tempfile.TemporaryDirectory(prefix="smtpsurvey-bench-") as work:
        try:
            bench = Bench(Programs(Path(work)), runs, quick)
            bench.prepare()
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
        print_head()
        for name in names:
            try:
                for row in CASES[name](bench):
                    print_row(row)
                    good &= quick or not row.falls_short
            except BenchError as error:
                print_row(Row(name, "FAILED"))
                print(f"{name}: {error}", file=sys.stderr)
                good = False
    return 0 if good else 1


def _arguments() -> tuple[list[str], int, bool]:
    parser = argparse.ArgumentParser(description="Measure the survey against a C client, in one table of ratios.")
    parser.add_argument("--only", metavar="NAME,...", help=f"some of {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, help=f"runs of each pair, {RUNS} unless said ({1} in a quick bench)")
    parser.add_argument("--quick", action="store_true", help="loads of a tenth, one run, no long lists: does it work?")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    runs = arguments.runs or (1 if arguments.quick else RUNS)
    if runs < 1:
        parser.error("--runs must be 1 or more")
    return names, runs, arguments.quick


if __name__ == "__main__":
    sys.exit(main())
