"""``scrapy targets``: find what to probe, each address once, in an order that spreads the load."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from smtpsurvey.targets.finding import Found, Plan

INTERRUPTED = 130  # what a shell makes of Ctrl-C
MAX_SHARDS = 999  # each is an open file


class Command(SurveyCommand):
    """Puts sources of targets together into one list."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "SOURCE... --out FILE [options]"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Find targets: lists, zones, mail headers, random addresses"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "Read sources (list:FILE, dnsbl:FILE, received:PATH, zone:FILE, ptr:FILE, boundaries:FILE, random:N, "
            "random:N@CIDR,CIDR, random:P%, domains:FILE) and write each address once, without reserved ranges and "
            "opt-outs, in a pseudo-random order. Beside FILE, its name without ending: .sources.parquet with "
            "(address, source) pairs, .domains.txt.zst, .received.jsonl.zst and .zone_sizes.csv where there are any."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add ours."""
        super().add_options(parser)
        group = parser.add_argument_group(title="targets")
        group.add_argument("--out", metavar="FILE", help="the list to write; .zst and .gz are compressed")
        group.add_argument(
            "--exclude", metavar="FILE", action="append", default=[], help="opt-outs, beside those of SMTPSURVEY_OPTOUT"
        )
        group.add_argument(
            "--allow", metavar="CIDR", action="append", default=[], help="a target although reserved (SMTPSURVEY_ALLOW)"
        )
        group.add_argument("--sample", metavar="N|P%", help="only so many targets, or so many percent, by chance")
        group.add_argument("--seed", type=int, default=0, metavar="S", help="of order, sample and random: (default 0)")
        group.add_argument("--shards", type=int, default=0, metavar="N", help="also write the list in N parts")
        group.add_argument("--survey", default="", metavar="LABEL", help="store received items and zone sizes too")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Find them."""
        plan = self._plan(args, opts)
        begun = time.monotonic()
        try:
            found = _find(plan)
            self.exitcode = int(bool(found.broken))
            if found.anything:
                _show(found, time.monotonic() - begun)
                self._store(plan, found)
            else:
                self.fail(f"no target in {', '.join(args)} ({found.bad_lines:,} bad lines); nothing written")
        except SurveyError as error:
            self.fail(error)
        except KeyboardInterrupt:
            print("targets: broken off; nothing written", file=sys.stderr)
            self.exitcode = INTERRUPTED

    def _plan(self, args: Sequence[str], opts: argparse.Namespace) -> Plan:
        from smtpsurvey.targets.finding import Plan
        from smtpsurvey.targets.output import Names
        from smtpsurvey.targets.sample import read_sample

        if not args or not opts.out:
            raise UsageError("targets needs SOURCE... and --out FILE")
        if not 0 <= opts.shards <= MAX_SHARDS:
            raise UsageError(f"--shards is from 1 to {MAX_SHARDS}")
        if opts.survey and not self.databases():
            raise UsageError("SMTPSURVEY_SHARDS is empty: there is no database for --survey")
        settings = self.given
        try:
            sample = read_sample(opts.sample) if opts.sample is not None else None
            names = Names.of(opts.out)
        except ValueError as error:
            raise UsageError(f"--sample: {error}") from None
        except SurveyError as error:
            raise UsageError(f"--out: {error}") from None
        optout = settings.get("SMTPSURVEY_OPTOUT")
        return Plan(
            tuple(args),
            names,
            seed=opts.seed,
            sample=sample,
            shards=opts.shards,
            exclude=(*([optout] if optout else []), *opts.exclude),
            allow=(
                *map(str, settings.getlist("SMTPSURVEY_ALLOW")),
                *(cidr for given in opts.allow for cidr in given.split(",")),
            ),
            as_map=settings.get("SMTPSURVEY_AS_MAP") or "",
            survey=opts.survey,
        )

    def _store(self, plan: Plan, found: Found) -> None:
        if not plan.survey:
            return
        from smtpsurvey.store.others import store_items, store_zone_sizes
        from smtpsurvey.targets.finding import RECEIVED, received_items

        if found.received:
            store_items(self.given, plan.survey, received_items(plan.names.beside(RECEIVED)))
        if found.zone_sizes:
            sizes = (
                (size.zone, size.date, size.domains, each.label) for each in found.yields for size in each.zone_sizes
            )
            store_zone_sizes(self.given, sizes)


def _find(plan: Plan) -> Found:
    """Run it; on a terminal, with a line that tells how far it is."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from smtpsurvey.report.text import visible
    from smtpsurvey.targets.finding import Finding

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[count]:,}")
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None, count=0)

        def watch(doing: str, count: int, fraction: float | None) -> None:
            bar.update(
                task,
                description=visible(doing),
                count=count,
                completed=fraction or 0,
                total=None if fraction is None else 1,
            )

        def tell(line: str) -> None:
            console.print(Text(visible(line)), soft_wrap=True)

        return Finding(plan, tell, watch).run()


def _show(found: Found, seconds: float) -> None:
    """Print what came of it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from smtpsurvey.report.text import visible

    console = Console(highlight=False)
    sources = Table(box=None, pad_edge=False, header_style="bold")
    sources.add_column("source", overflow="fold")
    for heading in ("given", "targets", "by no other"):
        sources.add_column(heading, justify="right")
    for each in found.yields:
        sources.add_row(Text(visible(each.label)), f"{each.given:,}", f"{each.targets:,}", f"{each.alone:,}")
    console.print(sources)
    console.print()
    counts = Table(box=None, pad_edge=False, show_header=False)
    counts.add_column(justify="right")
    rows = [(found.unique, "unique targets")]
    if found.written != found.unique:
        rows.append((found.written, "of them in the sample"))
    rows += [(count, f"removed: {reason}") for reason, count in sorted(found.removed.items())]
    if found.domains or found.domains_removed:
        rows += [(found.domains, "domains"), (found.domains_removed, "domains removed: opt-out")]
    if found.received:
        rows.append((found.received, "received items"))
    rows += [(size.domains, f"domains registered in {size.zone or '.'}, {size.date}") for size in found.zone_sizes]
    rows += [(count, name) for name, count in sorted(found.counts.items())]
    rows.append((found.bad_lines, "bad lines"))
    for count, words in rows:
        counts.add_row(f"{count:,}", Text(visible(words)))
    console.print(counts)
    console.print()
    for path in found.files:
        console.print(Text(visible(str(path))), soft_wrap=True)
    console.print(f"{seconds:.1f} s")
