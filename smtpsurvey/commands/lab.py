"""``scrapy lab``: a simulated Internet on the loopback range, and a survey of it checked against its truth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError
from smtpsurvey.lab import LIVE_SHARE, NASTY_SHARE, LabError

if TYPE_CHECKING:
    import argparse

    from smtpsurvey.lab.check import Comparison

MISMATCHES_SHOWN = 20


class Command(SurveyCommand):
    """Serve the lab, or check a feed against its truth."""

    def syntax(self) -> str:
        """Arguments."""
        return "--hosts N [options] | check --truth FILE --feed FILE"

    def short_desc(self) -> str:
        """One line for ``scrapy -h``."""
        return "Simulate an Internet of mail servers on 127.0.0.0/8, with known truth"

    def long_desc(self) -> str:
        """Say what happens."""
        return (
            "Serves a simulated Internet until SIGTERM or Ctrl-C: N addresses of 127.1.0.0-127.254.255.255, a share "
            "of them mail servers, and writes the targets and the truth about them. `scrapy lab check` compares the "
            "feed of a survey (scrapy crawl smtp -O out.jsonl) with that truth; its exit status is 0 only if "
            "every live server was found once, with the right facts."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("the simulated Internet")
        group.add_argument("--hosts", type=int, metavar="N", help="addresses in all")
        group.add_argument("--seed", type=int, default=1, help="draws everything but the certificates (default 1)")
        group.add_argument("--port", type=int, default=2525, help="port of every server (default 2525)")
        group.add_argument("--live", type=float, default=LIVE_SHARE, help="share that listens (default %(default)s)")
        group.add_argument(
            "--nasty", type=float, default=NASTY_SHARE, help="share of those that misbehave (default %(default)s)"
        )
        group.add_argument("--hidden", type=float, default=0.0, help="share that hides its name (default %(default)s)")
        group.add_argument("--market", type=Path, metavar="FILE", help="TOML of products, instead of the lab's own")
        group.add_argument("--targets", type=Path, metavar="FILE", help="write the target list")
        group.add_argument("--truth", type=Path, metavar="FILE", help="write (or with check, read) the truth")
        group.add_argument("--ca", type=Path, metavar="FILE", help="write the lab's trust anchor (PEM)")
        group.add_argument("--duration", type=float, metavar="S", help="stop after so many seconds")
        group.add_argument("--feed", type=Path, metavar="FILE", help="with check: the survey's JSON lines")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Serve or check."""
        if args not in ([], ["check"]):
            raise UsageError("the only argument is check")
        try:
            if args:
                self._check(opts)
            else:
                self._serve(opts)
        except SurveyError as error:
            self.fail(error)
        except OSError as error:
            self.fail(f"{error.filename}: {error.strerror}")

    def _serve(self, opts: argparse.Namespace) -> None:
        if opts.hosts is None:
            raise UsageError("--hosts says how many addresses the Internet has")
        if not 0 < opts.port < 1 << 16:
            raise LabError(f"--port: {opts.port} is not in 1-65535")
        from smtpsurvey.lab.certificates import make_pool
        from smtpsurvey.lab.hosts import DOMAINS, Plan, Settler, draw_addresses
        from smtpsurvey.lab.market import load_market
        from smtpsurvey.lab.server import raise_descriptor_limit, run
        from smtpsurvey.lab.truth import write_targets, write_truth

        plan = Plan(opts.hosts, opts.seed, opts.live, opts.nasty, opts.hidden)
        market = load_market(opts.market)
        targets, live = draw_addresses(plan)
        raise_descriptor_limit(len(live))
        pool = make_pool(DOMAINS)
        hosts = Settler(plan, market, pool, time.time()).settle(live)
        if opts.targets:
            write_targets(opts.targets, targets)
        if opts.truth:
            write_truth(opts.truth, hosts, opts.port)
        if opts.ca:
            opts.ca.write_bytes(pool.ca_pem)
        ready = f"lab: {len(targets)} hosts, {len(hosts)} live on port {opts.port}, ready"
        tally = run(hosts, opts.port, opts.duration, lambda: print(ready, flush=True))
        print(tally.summary(), flush=True)

    def _check(self, opts: argparse.Namespace) -> None:
        if opts.truth is None or opts.feed is None:
            raise UsageError("check needs --truth FILE and --feed FILE")
        from smtpsurvey.lab.check import compare, read_records

        truth = read_records(opts.truth, "ip", "port", "outcome", "vendor", "product", "named", "hidden")
        result = compare(truth, read_records(opts.feed, "ip", "port"))
        _show(result, Console(highlight=False))
        if not result.good:
            self.exitcode = 1


def _show(result: Comparison, console: Console) -> None:
    console.print(result.summary(), soft_wrap=True)
    if result.good:
        return
    shown = result.mismatches[:MISMATCHES_SHOWN]
    table = Table("address", "fact", "expected", "got", title=f"{len(shown)} of {len(result.mismatches)} mismatches")
    for mismatch in shown:
        # repr() shows control characters as escapes, escape() keeps rich from reading markup.
        table.add_row(
            *(escape(text) for text in (mismatch.ip, mismatch.field, repr(mismatch.expected), repr(mismatch.got)))
        )
    console.print(table)
