"""``scrapy export``: a survey out of the store, as a file or on standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    import argparse

FORMATS = ("jsonl", "csv", "parquet", "zgrab2")
KINDS = ("probe", "dns", "mta_sts", "mx", "received", "route")
_PACKED = frozenset((".gz", ".zst"))


class Command(SurveyCommand):
    """Exports a survey that is in the store."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "--survey LABEL --format jsonl|csv|parquet|zgrab2 [--kind KIND] [--out FILE]"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Write a survey out of the store: JSON lines, CSV, Parquet, or as zgrab2 does"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "Reads a survey's items of a kind from the databases of SMTPSURVEY_SHARDS and writes them to FILE, which "
            "appears only when it is complete, or to standard output (not Parquet). A FILE that ends in .gz or .zst is "
            "compressed. `scrapy import` reads the JSON lines again."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("the export")
        group.add_argument("--survey", metavar="LABEL", help="the survey to export")
        group.add_argument("--format", choices=FORMATS, help="what to write")
        group.add_argument("--kind", choices=KINDS, default=KINDS[0], help="which items (default: %(default)s)")
        group.add_argument("--out", metavar="FILE", type=Path, help="where to (default: standard output)")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Read and write."""
        if args or not opts.survey or not opts.format:
            raise UsageError("--survey LABEL says which survey, --format how; there are no other arguments")
        if opts.format == "parquet" and (opts.out is None or opts.out.suffix in _PACKED):
            raise UsageError("Parquet needs --out FILE, and is compressed as it is")
        if opts.format == "zgrab2" and opts.kind != KINDS[0]:
            raise UsageError("zgrab2 has observations alone")
        try:
            self._export(opts)
        except SurveyError as error:
            self.fail(error)
        except BrokenPipeError:
            # Whoever reads has enough; Python would complain once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.exitcode = 1
        except OSError as error:
            self.fail(f"{error.filename or opts.out or 'standard output'}: {error.strerror}")

    def _export(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.report.text import shown
        from smtpsurvey.store.aggregates import require
        from smtpsurvey.store.exports import export, to_stream
        from smtpsurvey.store.reader import Reader
        from smtpsurvey.store.shards import Shards

        urls = self.databases()
        if not urls:
            raise SurveyError("SMTPSURVEY_SHARDS is empty: there is no database to export from")
        shards = Shards(urls, self.given.getint("SMTPSURVEY_TABLES_PER_SHARD"))
        try:
            require(shards)
            reader = Reader(shards)
            if not any(reader.find(opts.survey)):
                raise SurveyError(f"no survey {shown(opts.survey)!r} in the store")
            if opts.out is None:
                to_stream(reader, opts.survey, opts.kind, opts.format, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            else:
                count = export(reader, opts.survey, opts.kind, opts.format, opts.out)
                print(f"{opts.out}: {count} {'observations' if opts.kind == KINDS[0] else f'{opts.kind} items'}")
        finally:
            shards.dispose()
