"""``scrapy capabilities``: whether this host is fit for a survey."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand

if TYPE_CHECKING:
    import argparse

    from smtpsurvey.worker.capabilities import Capabilities

MARKS: dict[bool | None, str] = {True: "ok", False: "BAD", None: "-"}


class Command(SurveyCommand):
    """Tests a node before it gets work."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "[--hosts HOST[:PORT],...] [--json]"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Test whether this host is fit for a survey"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "Looks at clock, descriptors, raw sockets, scamper, DNS servers, AS map, opt-outs, disk, memory, port 25, "
            "own address and name. The exit status is 0 if the host is fit and 1 if not; a line on standard error says "
            "why."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("capabilities")
        group.add_argument(
            "--hosts", metavar="HOST[:PORT],...", help="mail servers of which one must greet (also: SMTPSURVEY_REACH)"
        )
        group.add_argument("--json", action="store_true", help="print JSON")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Test, and tell."""
        from smtpsurvey.worker.capabilities import capabilities

        if args:
            raise UsageError("capabilities takes options only")
        hosts = [host for host in (opts.hosts or "").split(",") if host.strip()]
        found = capabilities(self.given, hosts)
        if opts.json:
            self._print_json(found)
        else:
            self._print_table(found)
        if not found.fit:
            self.fail(found.reason)

    def _print_json(self, found: Capabilities) -> None:
        import msgspec

        said = {"fit": found.fit, "checks": found.checks}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(said)).decode() + "\n")

    def _print_table(self, found: Capabilities) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from smtpsurvey.report.text import visible

        table = Table("", "Checked", "Found", box=None, pad_edge=False)
        for check in found.checks:
            table.add_row(MARKS[check.good], check.what, Text(visible(check.says)))
        Console(highlight=False).print(table)
