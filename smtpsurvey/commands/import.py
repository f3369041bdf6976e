"""``scrapy import``: observations of files into the store."""  # noqa: N999 - Scrapy names a command by its module

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
    from collections import Counter
    from collections.abc import Sequence

    from smtpsurvey.store.feeds import Feed
    from smtpsurvey.store.importer import Importer

TOLD = 100  # bad lines of a file that are shown one by one; the rest is counted


class Command(SurveyCommand):
    """Imports feeds, zgrab2's results and ZMap's lists."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "FILE... [--survey LABEL] [--classify]"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Store observations of files: feeds of a crawl (JSON lines), results of zgrab2 and ZMap"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "Reads files (plain, gzip or Zstandard; - is standard input) and stores their observations, and items of "
            "kinds that have tables, in the databases of SMTPSURVEY_SHARDS; one that is stored already (of an "
            "observation: survey, address and port) is replaced. Each "
            "line tells what kind of file it is of. One that cannot be used is told and left out; the exit status is 1 "
            "only when nothing could be stored."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("the import")
        group.add_argument(
            "--survey",
            metavar="LABEL",
            help="the survey they are of; needed for zgrab2 and ZMap, else as the items say",
        )
        group.add_argument(
            "--classify",
            action="store_true",
            help="name the software by SMTPSURVEY_FINGERPRINTS, whatever the items say",
        )

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Read and store."""
        if not args:
            raise UsageError("say which files")
        try:
            for path in args:
                _readable(path)
            self._import(args, opts)
        except SurveyError as error:
            self.fail(error)

    def _import(self, paths: Sequence[str], opts: argparse.Namespace) -> None:
        from smtpsurvey.classify.load import load
        from smtpsurvey.store.checks import BadItemError, label
        from smtpsurvey.store.importer import Importer
        from smtpsurvey.store.shards import Shards

        urls = self.databases()
        if not urls:
            raise SurveyError("SMTPSURVEY_SHARDS is empty: there is no database to import into")
        try:
            survey = None if opts.survey is None else label(opts.survey)
        except BadItemError as error:
            raise SurveyError(error) from None
        classifier = load(self.given.getlist("SMTPSURVEY_FINGERPRINTS")) if opts.classify else None
        shards = Shards(urls, self.given.getint("SMTPSURVEY_TABLES_PER_SHARD"))
        try:
            shards.create()
            importer = Importer(shards, self._tell, classifier)
            for path in paths:
                self._add(importer, path, survey)
            importer.finish()
        finally:
            shards.dispose()
        self.exitcode = 0 if importer.stored.total() else 1

    def _add(self, importer: Importer, path: str, survey: str | None) -> None:
        from smtpsurvey.store import StoreError
        from smtpsurvey.store.feeds import Feed

        told = 0

        def on_bad(line: int, reason: str) -> None:
            nonlocal told
            told += 1
            if told <= TOLD:
                self._tell(path, line, reason)

        feed = Feed(path, survey, on_bad)
        before, refused = importer.stored.copy(), importer.refused
        try:
            importer.add(feed)
        except StoreError:
            stored = ", ".join(_counts(importer.stored - before))
            print(f"{path}: {stored} stored; run the same import again", file=sys.stderr)
            raise
        except SurveyError as error:  # the file ends here; the next may be fine
            self.fail(error)
        if told > TOLD:
            print(f"{path}: ... and {told - TOLD} more bad lines", file=sys.stderr)
        _sum_up(feed, importer.stored - before, importer.refused - refused)

    def _tell(self, path: str, line: int, reason: str) -> None:
        self.fail(f"{path}:{line}: {reason}")


def _counts(stored: Counter[str]) -> list[str]:
    """Tell what was stored; observations also where there are none of any kind."""
    others = {kind: count for kind, count in sorted(stored.items()) if kind != "probe"}
    observations = [f"{stored['probe']} observations"] if stored["probe"] or not others else []
    return observations + [f"{count} {kind} items" for kind, count in others.items()]


def _sum_up(feed: Feed, stored: Counter[str], refused: int) -> None:
    from smtpsurvey.report.text import shown
    from smtpsurvey.store.feeds import NO_SMTP

    parts = [f"{', '.join(_counts(stored))} stored"]
    parts += [f"{feed.bad + refused} bad lines left out"] if feed.bad + refused else []
    others = {kind: count for kind, count in feed.left_out.items() if kind != NO_SMTP}
    if others:
        named = ", ".join(f"{shown(kind)} {count}" for kind, count in sorted(others.items()))
        parts.append(f"{sum(others.values())} lines that are no observation of SMTP left out ({named})")
    print(f"{feed.path}: {', '.join(parts)}")
    if count := feed.left_out[NO_SMTP]:
        print(
            f"{feed.path}: {count} addresses answered a SYN, and no more is known of them: no observation. "
            f"To see what speaks there: scrapy crawl smtp -a targets={feed.path}"
        )


def _readable(path: str) -> None:
    """Raise ``SurveyError`` before anything is stored; a pipe is not opened for it."""
    try:
        if path == "-" or (Path(path).stat() and os.access(path, os.R_OK)):
            return
        reason = "Permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:  # a NUL
        reason = str(error)
    raise SurveyError(f"{path}: {reason}")
