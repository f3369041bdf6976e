"""``scrapy keys``: weak and shared public keys in the certificates of a survey."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    import argparse

    from smtpsurvey.analysis.keys import Keys
    from smtpsurvey.store.shards import Shards

_LISTS = ("blocklist.dat", "badkeysdata.json")


class Command(SurveyCommand):
    """Looks at the keys of stored certificates; nothing is sent, and nothing is fetched."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "--survey LABEL [--out FOLDER]"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Find weak and shared public keys in the certificates of a survey"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "Reads the certificates that a survey's hosts showed from the databases of SMTPSURVEY_SHARDS, and prints "
            "which of their keys are weak, which are shared by certificates for other names or by several ASes, and "
            "which have a factor in common. With --out each table is written as FOLDER/NAME.csv and NAME.json. Block "
            "lists of compromised keys, such as Debian's of 2008, are looked at where `badkeys --update-bl` put them."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("keys")
        group.add_argument("--survey", metavar="LABEL", help="the survey")
        group.add_argument("--out", metavar="FOLDER", type=Path, help="where to write the tables")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Read, print and write."""
        if args or not opts.survey:
            raise UsageError("--survey LABEL says which survey; there are no other arguments")
        try:
            self._run(opts)
        except SurveyError as error:
            self.fail(error)
        except OSError as error:
            self.fail(f"{error.filename}: {error.strerror}")

    def _run(self, opts: argparse.Namespace) -> None:
        from rich.console import Console
        from rich.text import Text

        from smtpsurvey.analysis.keys import tables
        from smtpsurvey.report.files import as_csv, as_json
        from smtpsurvey.report.terminal import grid
        from smtpsurvey.store.shards import Shards

        urls = self.databases()
        if not urls:
            raise SurveyError("SMTPSURVEY_SHARDS is empty: there is no database to read from")
        shards = Shards(urls, self.given.getint("SMTPSURVEY_TABLES_PER_SHARD"))
        try:
            keys, notices = _read(shards, opts.survey)
        finally:
            shards.dispose()
        console = Console(highlight=False)
        for notice in notices:
            console.print(Text(notice, style="yellow"))
        console.print(Text(f"{len(keys):,} different keys"))
        for table in tables(keys):
            if table.rows:
                console.print()
                console.print(grid(table.name.replace("_", " ").capitalize(), table))
            if opts.out is not None:
                opts.out.mkdir(parents=True, exist_ok=True)
                (opts.out / f"{table.name}.csv").write_bytes(as_csv(table).encode())
                (opts.out / f"{table.name}.json").write_bytes(as_json(table).encode())


def _read(shards: Shards, survey: str) -> tuple[Keys, list[str]]:
    """Read the keys of a survey, and say what could not be looked at."""
    from smtpsurvey.analysis.keys import Keys
    from smtpsurvey.store import shown
    from smtpsurvey.store.aggregates import require
    from smtpsurvey.store.reader import Reader

    require(shards)
    if not any(Reader(shards).find(survey)):
        raise SurveyError(f"no survey {survey!r} in the store")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "badkeys"  # as badkeys itself
    listed = all((cache / name).is_file() for name in _LISTS)
    notices = [] if listed else [f"No block lists in {cache}: compromised keys such as Debian's of 2008 are not found."]
    keys = Keys(blocklist=listed)
    certificates = shown.shown(shards, survey)
    count = 0
    for digest, der in shown.stored(shards, certificates):
        count += 1
        keys.add(der, certificates[digest].leaf, certificates[digest].issuing)
    keys.find_common_factors()
    if count < len(certificates):
        notices.append(f"{len(certificates) - count:,} certificates are known by their hash alone (imported).")
    if keys.unreadable:
        notices.append(f"{keys.unreadable:,} certificates have no key that can be read.")
    return keys, notices
