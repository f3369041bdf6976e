"""``scrapy report``: what a survey found, as a page with tables, or on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    import argparse

OUT = Path("report")


class Command(SurveyCommand):
    """Reports on a survey that is in the store."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "--survey LABEL [--compare LABEL...] [--out FOLDER] [--summary]"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Report on a survey: a page with tables as CSV and JSON, or a summary on the terminal"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "Reads a survey from the databases of SMTPSURVEY_SHARDS and writes FOLDER/index.html, and each table as "
            "FOLDER/tables/NAME.csv and NAME.json; the last line printed is the path of the page. With --summary the "
            "main tables are printed, and files are written only where --out says."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("the report")
        group.add_argument("--survey", metavar="LABEL", help="the survey to report on")
        group.add_argument(
            "--compare", metavar="LABEL", nargs="+", action="extend", default=[], help="surveys to compare it with"
        )
        group.add_argument("--out", metavar="FOLDER", type=Path, help=f"where to write (default: {OUT})")
        group.add_argument("--summary", action="store_true", help="print the main tables")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Read, print and write."""
        if args or not opts.survey:
            raise UsageError("--survey LABEL says which survey; there are no other arguments")
        try:
            self._report(opts)
        except SurveyError as error:
            self.fail(error)
        except OSError as error:
            self.fail(f"{error.filename}: {error.strerror}")

    def _report(self, opts: argparse.Namespace) -> None:
        from rich.console import Console

        from smtpsurvey.report.files import write
        from smtpsurvey.report.findings import find
        from smtpsurvey.report.terminal import show
        from smtpsurvey.store.shards import Shards

        urls = self.databases()
        if not urls:
            raise SurveyError("SMTPSURVEY_SHARDS is empty: there is no database to report from")
        shards = Shards(urls, self.given.getint("SMTPSURVEY_TABLES_PER_SHARD"))
        try:
            findings = find(shards, opts.survey, opts.compare)
        finally:
            shards.dispose()
        if opts.summary:
            show(findings, Console(highlight=False))
        out = opts.out or (None if opts.summary else OUT)
        if out is not None:
            print(write(findings, out))
