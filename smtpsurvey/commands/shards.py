"""``scrapy shards``: make the databases, look at them, check them, and move to other ones."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError
from smtpsurvey.report.text import shown, visible
from smtpsurvey.store import StoreError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from smtpsurvey.store.shards import Shards
    from smtpsurvey.store.spool import Spool
    from smtpsurvey.store.status import ShardStatus
    from smtpsurvey.store.verify import Findings

INTERRUPTED = 130  # what a shell makes of Ctrl-C


class Command(SurveyCommand):
    """Looks after the databases of SMTPSURVEY_SHARDS."""

    def syntax(self) -> str:
        """Return the arguments."""
        return "init | status [--json] | verify [--json] | rebalance --to URL,URL... [--force] | replay"

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Make, look at, check and rebalance the databases"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "init: create what is missing in the databases of SMTPSURVEY_SHARDS, and bring earlier versions of the "
            "tables up to date. status: what each holds. verify: look for rows that are twice or in the wrong place. "
            "rebalance: move rows to where the list --to wants them; can be broken off and run again. replay: write "
            "what was spooled while a database was down. The exit status is 1 when something is wrong."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("the databases")
        group.add_argument("--to", metavar="URL,URL...", help="rebalance: the whole new list")
        group.add_argument("--force", action="store_true", help="rebalance: although surveys are not finished")
        group.add_argument("--json", action="store_true", help="status, verify: print JSON")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Do one of these."""
        actions = {
            "init": self._init,
            "status": self._status,
            "verify": self._verify,
            "rebalance": self._rebalance,
            "replay": self._replay,
        }
        if len(args) != 1 or args[0] not in actions:
            raise UsageError(f"say one of {', '.join(actions)}")
        if (args[0] == "rebalance") != bool(opts.to):
            raise UsageError("rebalance, and nothing else, needs --to URL,URL...")
        try:
            actions[args[0]](opts)
        except SurveyError as error:
            self.fail(error)
        except KeyboardInterrupt:
            print("shards: broken off; run it again to go on", file=sys.stderr)
            self.exitcode = INTERRUPTED

    def _init(self, _opts: argparse.Namespace) -> None:
        from smtpsurvey.store.migrations import VERSION

        with self._shards() as shards:
            shards.prepare(upgrade=True)
            for name in shards.names:
                print(f"{name}: {len(shards.schema.observations)} tables of observations, schema version {VERSION}")

    def _status(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.store.status import look, skew

        with self._shards() as shards:
            found = look(shards)
            spooled = {shard.name: waiting(shards, shard.name, self._spool()) for shard in shards}
        self.exitcode = int(any(shard.down for shard in found))
        if opts.json:
            made = [
                {**msgspec.to_builtins(shard), "skew": skew(shard.tables), "spooled": spooled[shard.name]}
                for shard in found
            ]
            _print_json({"shards": made, "skew": skew([rows for shard in found for rows in shard.tables])})
        else:
            _show_status(found, spooled)

    def _verify(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.store.verify import verify

        with self._shards() as shards:
            found = verify(shards)
        self.exitcode = int(found.problems > 0)
        if opts.json:
            _print_json({"problems": found.problems, **msgspec.to_builtins(found)})
        else:
            _show_findings(found)

    def _rebalance(self, opts: argparse.Namespace) -> None:
        from smtpsurvey.store.rebalance import Rebalance

        folder = self._spool()
        if not opts.force and any(folder.glob("*.spool")):
            raise StoreError(f"{folder}: rows wait there to be written; run `scrapy shards replay` first")
        new = [url for url in map(str.strip, opts.to.split(",")) if url]
        begun = time.monotonic()
        rebalance = Rebalance(self._urls(), new, self._tables(), lambda line: print(visible(line), flush=True))
        with closed(rebalance.shards):
            done = rebalance.run(force=opts.force)
        share = done.moving / done.rows if done.rows else 0
        print(
            f"{done.moving:,} of {done.rows:,} rows moved ({share:.1%}); {time.monotonic() - begun:.0f} s for this run"
        )
        print(f"counts and checksum are as before: {done.before.checksum:016x}")
        print(f"set SMTPSURVEY_SHARDS to the new list now: {', '.join(done.to)}")

    def _replay(self, _opts: argparse.Namespace) -> None:
        from smtpsurvey.store.spool import replay_all

        with self._shards() as shards:
            shards.create()
            for name, rows in replay_all(shards, self._spool()).items():
                print(f"{name}: {rows:,} rows written")

    def _shards(self) -> AbstractContextManager[Shards]:
        from smtpsurvey.store.shards import Shards

        return closed(Shards(self._urls(), self._tables()))

    def _urls(self) -> list[str]:
        urls = self.databases()
        if not urls:
            raise StoreError("SMTPSURVEY_SHARDS is empty: there is no database")
        return urls

    def _tables(self) -> int:
        return self.given.getint("SMTPSURVEY_TABLES_PER_SHARD")

    def _spool(self) -> Path:
        from smtpsurvey.store.spool import folder_of

        return folder_of(self.given)


@contextmanager
def closed(shards: Shards) -> Iterator[Shards]:
    """Close their connections at the end."""
    try:
        yield shards
    finally:
        shards.dispose()


def waiting(shards: Shards, name: str, folder: Path) -> int:
    """Count the rows that wait in the spool files of a shard; those that a running crawl has open are its own."""
    from smtpsurvey.store.spool import claim

    claimed: list[Spool] = []
    try:
        while (spool := claim(folder, name, shards.schema, create=False)) is not None:
            claimed.append(spool)
        return sum(spool.rows for spool in claimed)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}") from None
    finally:
        for spool in claimed:
            spool.close()


def _print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def _show_status(found: list[ShardStatus], spooled: dict[str, int]) -> None:
    from smtpsurvey.store.status import skew

    console = Console(highlight=False, markup=False)
    databases = Table()
    for column in ("database", "state", "schema", "rows", "skew", "size", "spooled"):
        databases.add_column(column, justify="left" if column in ("database", "state") else "right", overflow="fold")
    for shard in found:
        unknown = shard.down is not None
        state = "down" if unknown else "being rebalanced" if shard.rebalancing else "up"
        figures = (
            str(shard.version or "none"),
            f"{shard.rows:,}",
            _ratio(skew(shard.tables)),
            decimal(shard.size or 0),
        )
        databases.add_row(shown(shard.name), state, *(("-",) * 4 if unknown else figures), f"{spooled[shard.name]:,}")
    console.print(databases)
    for shard in found:
        if shard.down:
            console.print(f"{visible(shard.name)}: {visible(shard.down)}", soft_wrap=True)
    surveys = Table("survey", "database", "table", "rows")
    rows = sorted(
        (label, name, table, count)
        for name, holds in ((shard.name, {"observations": shard.surveys, **shard.others}) for shard in found)
        for table, labels in holds.items()
        for label, count in labels.items()
    )
    for label, name, table, count in rows:
        surveys.add_row(shown(label), shown(name), table, f"{count:,}")
    if surveys.row_count:
        console.print(surveys)
    console.print(
        f"rows of the fullest table over the mean: {_ratio(skew([n for shard in found for n in shard.tables]))}"
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _show_findings(found: Findings) -> None:
    for name, rows in found.rows.items():
        print(f"{visible(name)}: {rows:,} rows")
    for count, what in (
        (found.duplicates, "observations too many: copies of others"),
        (found.orphans, "observations in a place where nobody looks for them"),
        (found.certificates, "observations whose certificate is missing"),
        (found.tallies, "tallies in another database than that of their survey"),
        (found.others, "domains, names, addresses … whose rows are in another database than theirs"),
        (found.surveys, "surveys missing in a database"),
    ):
        if count:
            print(f"{count:,} {what}")
    for line in found.examples:
        print(f"  {visible(line)}")
    print(f"{found.problems:,} problems" if found.problems else "nothing wrong")
