"""Ask an AS map and print as JSON how long it took to open, how many look-ups a second it answers, and what was wrong.

Run by case_asmap in a process of its own: ``lookups.py MAP QUESTIONS RIB``. QUESTIONS has a JSON line a question, with
its answer. Of the MRT file RIB it tells the microseconds of CPU a prefix that reading took.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from smtpsurvey.admission.asmap import AsMap
from smtpsurvey.admission.mrt import read_rib


def main() -> None:
    """Take the files from the command line."""
    begun = time.perf_counter()
    as_map = AsMap(sys.argv[1])
    opened = time.perf_counter() - begun
    with Path(sys.argv[2]).open(encoding="ascii") as lines:
        questions = [json.loads(line) for line in lines]
    wrong = []
    for ip, origins, prefix, country in questions:
        found = as_map.lookup(ip)
        if [list(found.origins), found.prefix, found.country] != [origins, prefix, country]:
            wrong.append(f"{ip}: {found}, but {prefix}, {origins}, {country}")
    addresses, lookup = [question[0] for question in questions], as_map.lookup
    begun = time.process_time()
    for ip in addresses:
        lookup(ip)
    speed = len(addresses) / (time.process_time() - begun)
    begun = time.process_time()
    with Path(sys.argv[3]).open("rb") as rib:
        prefixes = sum(1 for _ in read_rib(rib, lambda *bad: wrong.append(f"record {bad}")))
    read = (time.process_time() - begun) / prefixes * 1e6
    json.dump(
        {"open": opened * 1e3, "speed": speed, "read": read, "prefixes": prefixes, "wrong": wrong[:3]}, sys.stdout
    )


if __name__ == "__main__":
    main()
