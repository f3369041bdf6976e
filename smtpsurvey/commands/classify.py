"""``scrapy classify``: names the servers of a stored survey anew, says why, and where two rule sets differ."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scrapy.exceptions import UsageError

from smtpsurvey.command import SurveyCommand
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from smtpsurvey.classify.compare import Comparison
    from smtpsurvey.classify.foreign import Contender, RuleSet
    from smtpsurvey.items import SmtpItem, Software
    from smtpsurvey.store.shards import Shards

ROWS = 40
"""Rows of a table on the terminal."""
TOLD = 10
"""Lines of a feed that cannot be used and are told one by one."""
LABEL = "compare"  # of results of zgrab2, which have none; nobody sees it


class Command(SurveyCommand):
    """Explains verdicts, compares rule sets, and classifies stored observations anew; no packet is sent."""

    def syntax(self) -> str:
        """Return the arguments."""
        return (
            "--survey LABEL [--rules SETS] [--json] | unknown --survey LABEL [--top N] [--json] | "
            "explain ['GREETING'] [--rules SETS] | compare A B (FILE | --survey LABEL) [--json]"
        )

    def short_desc(self) -> str:
        """Return what the list of commands says."""
        return "Classify a stored survey anew, list what no rule knows, explain verdicts, compare rule sets"

    def long_desc(self) -> str:
        """Return what the help page says."""
        return (
            "With --survey alone: run the rules over a stored survey, write the verdicts, keep those that they "
            "replace, and print what changed. unknown: group the greetings that no rule knows by their wording, most "
            "frequent first. explain: print the rule that names a server by its greeting, what it captures, and why "
            "the other rules that match do not decide; without GREETING a transcript (as `scrapy fetch smtp://HOST` "
            "prints it) is read from standard input. compare: classify observations by two rule sets and print where "
            "they differ. A rule set is builtin, the path of a TOML file, recog:DIR or nmap:FILE, or several with "
            "commas between."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our options."""
        super().add_options(parser)
        group = parser.add_argument_group("the classification")
        group.add_argument("--rules", metavar="SETS", help="rule sets (default: SMTPSURVEY_FINGERPRINTS)")
        group.add_argument("--survey", metavar="LABEL", help="a survey in the databases")
        group.add_argument("--top", metavar="N", type=int, default=ROWS, help=f"unknown: how many (default: {ROWS})")
        group.add_argument("--json", action="store_true", help="print JSON (not: explain)")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Do one of these."""
        actions = {"explain": self._explain, "compare": self._compare, "unknown": self._unknown}
        if args[0] not in actions if args else not opts.survey:
            raise UsageError(f"say --survey LABEL, or one of {', '.join(actions)}")
        try:
            if args:
                actions[args[0]](args[1:], opts)
            else:
                self._reclassify(opts)
        except SurveyError as error:
            self.fail(error)

    def _explain(self, args: Sequence[str], opts: argparse.Namespace) -> None:
        from smtpsurvey.classify.session import item_of_greeting, item_of_text, read_text

        if len(args) > 1:
            raise UsageError("explain takes one greeting: put it in quotes")
        item = item_of_greeting(args[0]) if args else item_of_text(read_text(sys.stdin.buffer))
        rules = self._load(self._sources(opts))
        _show_contenders(rules.contenders(item))

    def _compare(self, args: Sequence[str], opts: argparse.Namespace) -> None:
        from smtpsurvey.classify.compare import compare

        if len(args) != (2 if opts.survey else 3):
            raise UsageError("compare takes two rule sets, and FILE or --survey LABEL")
        a, b = (self._load(name.split(",")) for name in args[:2])
        with self._observations(args[2:], opts.survey) as items:
            found = compare(a, b, items)
        if opts.json:
            _print_json(args, found)
        else:
            _show_comparison(args, found)

    def _reclassify(self, opts: argparse.Namespace) -> None:
        import time

        from rich.console import Console
        from rich.progress import Progress

        from smtpsurvey.items import iso_time
        from smtpsurvey.report.verdicts import changes_json, show_changes
        from smtpsurvey.store.verdicts import Reclassification, require_survey

        sources = self._sources(opts)
        rules = self._load(sources)
        progress = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        with self._shards() as shards, progress as bar:
            task = bar.add_task("classifying", total=require_survey(shards, opts.survey))
            work = Reclassification(shards, opts.survey, rules, lambda: iso_time(time.time()))
            run = work.run(sources, lambda count: bar.advance(task, count))
        if opts.json:
            _print(changes_json(opts.survey, run))
        else:
            show_changes(run, Console(highlight=False))

    def _unknown(self, args: Sequence[str], opts: argparse.Namespace) -> None:
        from rich.console import Console

        from smtpsurvey.classify.templates import Templates
        from smtpsurvey.report.verdicts import show_unknown, unknown_json
        from smtpsurvey.store.verdicts import require_survey, unidentified

        if args or not opts.survey or opts.top < 1:
            raise UsageError("unknown takes --survey LABEL, and --top N of at least 1")
        found = Templates()
        with self._shards() as shards:
            require_survey(shards, opts.survey)
            for item in unidentified(shards, opts.survey):
                found.add(item)
        if opts.json:
            _print(unknown_json(opts.survey, found, opts.top))
        else:
            show_unknown(found, opts.top, Console(highlight=False))

    def _sources(self, opts: argparse.Namespace) -> list[str]:
        """Give the rule sets to use."""
        given = opts.rules.split(",") if opts.rules else self.given.getlist("SMTPSURVEY_FINGERPRINTS")
        return [str(source).strip() for source in given]

    @contextmanager
    def _shards(self) -> Iterator[Shards]:
        from smtpsurvey.store.shards import Shards

        urls = self.databases()
        if not urls:
            raise SurveyError("SMTPSURVEY_SHARDS is empty: there is no database to read from")
        shards = Shards(urls, self.given.getint("SMTPSURVEY_TABLES_PER_SHARD"))
        try:
            yield shards
        finally:
            shards.dispose()

    def _load(self, names: Sequence[str]) -> RuleSet:
        from smtpsurvey.classify.load import load

        rules = load(names)
        for skipped in rules.skipped:
            self._tell(skipped)
        if rules.skipped:
            self._tell(f"{len(rules.skipped)} rules left out of {','.join(names)}")
        return rules

    @contextmanager
    def _observations(self, files: Sequence[str], survey: str | None) -> Iterator[Iterator[SmtpItem]]:
        """Give the items of a file, or of a survey in the databases."""
        if survey is None:
            from smtpsurvey.store.feeds import Feed

            feed = Feed(files[0], LABEL, self._on_bad(files[0]))
            yield (item for _, item in feed.items())
            if feed.bad > TOLD:
                self._tell(f"{files[0]}: {feed.bad} lines cannot be used")
            return
        from smtpsurvey.report.text import shown
        from smtpsurvey.store.aggregates import require
        from smtpsurvey.store.reader import Reader

        with self._shards() as shards:
            require(shards)
            reader = Reader(shards)
            if not any(reader.find(survey)):
                raise SurveyError(f"no survey {shown(survey)!r} in the store")
            yield reader.items(survey)

    def _on_bad(self, path: str) -> Callable[[int, str], None]:
        told = 0

        def on_bad(line: int, reason: str) -> None:
            nonlocal told
            told += 1
            if told <= TOLD:
                self._tell(f"{path}:{line}: {reason}")

        return on_bad

    def _tell(self, what: object) -> None:
        """Say on standard error what is left out; the rest goes on."""
        from smtpsurvey.report.text import visible

        print(f"classify: {visible(str(what))}", file=sys.stderr)


def _show_contenders(contenders: Sequence[Contender]) -> None:
    from smtpsurvey.report.text import visible

    if not contenders or contenders[0].lost:
        print("not identified")
    for place, each in enumerate(contenders):
        if each.lost and (place == 0 or not contenders[place - 1].lost):
            print("\nThese match too:")
        says = _name(each.software) if each.software else "no name"
        print(f"{visible(says)}: rule {visible(each.rule)} in {visible(each.where)}")
        print(f"    evidence: {each.evidence}")
        for name, text in each.captures.items():
            print(f"    {visible(name)}: {visible(text)}")
        for name, text in ((each.software and each.software.claims) or {}).items():
            print(f"    claimed by the {name}: {visible(text)}")
        if each.lost:
            print(f"    because: {visible(each.lost)}")


def _name(software: Software) -> str:
    """Give vendor (unless the product's name has it), product and version."""
    vendor = software.vendor
    parts = (None if vendor and software.product.startswith(vendor) else vendor, software.product, software.version)
    return " ".join(part for part in parts if part)


def _show_comparison(args: Sequence[str], found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from smtpsurvey.classify.compare import Relation
    from smtpsurvey.report.text import shown, visible

    a, b = (visible(name) for name in args[:2])
    told = {
        Relation.SAME: "named alike by both",
        Relation.VERSION: "the same product in another version",
        Relation.DIFFERENT: "named differently",
        Relation.ONLY_A: f"named by {a} only",
        Relation.ONLY_B: f"named by {b} only",
        Relation.NEITHER: "named by neither",
    }
    counts = Table(box=None, pad_edge=False, show_header=False)
    counts.add_row(Text(f"{found.observations:,}"), Text("servers that answered"))
    for relation, words in told.items():
        counts.add_row(Text(f"{found.counts[relation]:,}"), Text(words))
    counts.columns[0].justify = "right"
    console = Console(highlight=False)
    console.print(counts)
    for relation, words in told.items():
        rows = [row for row in found.rows if row.pair.relation is relation]
        if rows:
            grid = Table(title=Text(words), title_justify="left", box=None, pad_edge=False, header_style="bold")
            grid.add_column("servers", justify="right")
            for heading in (a, b, "for example"):
                grid.add_column(Text(heading), overflow="fold")
            for row in rows[:ROWS]:
                grid.add_row(
                    Text(f"{row.count:,}"),
                    Text(shown(row.pair.a or "")),
                    Text(shown(row.pair.b or "")),
                    Text(f"{row.ip} {shown(row.greeting)}"),
                )
            if len(rows) > ROWS:
                grid.caption = Text(f"and {len(rows) - ROWS:,} more rows: --json has all")
            console.print()
            console.print(grid)


def _print(value: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def _print_json(args: Sequence[str], found: Comparison) -> None:
    from smtpsurvey.classify.compare import Relation

    made = {
        "a": args[0],
        "b": args[1],
        "observations": found.observations,
        "counts": {str(relation): found.counts[relation] for relation in Relation},
        "rows": [
            {**row.pair._asdict(), "count": row.count, "ip": row.ip, "greeting": row.greeting} for row in found.rows
        ],
    }
    _print(made)
