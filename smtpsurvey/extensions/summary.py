"""What came out, as tables when the survey ends: outcomes, software, STARTTLS, TLS versions."""

from __future__ import annotations

import logging
from collections import Counter
from io import StringIO
from typing import TYPE_CHECKING, Any, Self

import attrs
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from scrapy import signals

from smtpsurvey.items import SmtpItem
from smtpsurvey.kinds import DnsItem, MtaStsItem, MxItem, RouteItem
from smtpsurvey.outcomes import DnsOutcome, Outcome, RouteStop
from smtpsurvey.probe.recorder import UNRECORDED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy import Spider
    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)
TOP = 10  # lines of a table; the rest is one more
WIDTH = 100  # columns, in a log file
_WITH_MAIL = ("MX", "implicit MX")
UNKNOWN = "(not identified)"


@attrs.define(slots=False)
class Counts:
    """What a survey counts: targets by outcome, and servers that answered by software, STARTTLS and TLS.

    ``domains`` are those whose exchanges were looked up, by ``MX``, ``implicit MX``, ``null MX`` and outcome, ``names``
    all other look-ups by outcome, ``routes`` by why the trace ended.
    """

    outcomes: Counter[str] = attrs.field(factory=Counter)
    software: Counter[str] = attrs.field(factory=Counter)
    starttls: Counter[str] = attrs.field(factory=Counter)
    tls_versions: Counter[str] = attrs.field(factory=Counter)
    domains: Counter[str] = attrs.field(factory=Counter)
    names: Counter[str] = attrs.field(factory=Counter)
    routes: Counter[str] = attrs.field(factory=Counter)

    @property
    def done(self) -> int:
        """How many entries of the list are done: names, else domains, else targets, else routes."""
        return (self.names or self.domains or self.outcomes or self.routes).total()

    @property
    def live(self) -> int:
        """How many servers answered; where none was asked, how many names or domains have what was looked for."""
        if not (self.outcomes or self.names or self.domains):
            return self.routes[RouteStop.COMPLETED]
        counts = self.outcomes or self.names
        return counts[Outcome.OK] if counts else sum(self.domains[kind] for kind in _WITH_MAIL)

    def add(self, other: Counts) -> None:
        """Add the counts of another part of the survey."""
        for field in attrs.fields(Counts):
            getattr(self, field.name).update(getattr(other, field.name))

    def count(self, item: SmtpItem | MxItem | MtaStsItem | DnsItem | RouteItem) -> None:
        """Count one item."""
        if isinstance(item, DnsItem | MtaStsItem):
            self.names[item.outcome] += 1
            return
        if isinstance(item, RouteItem):
            self.routes[item.stop] += 1
            return
        if isinstance(item, MxItem):
            self.domains[_mail_of(item)] += 1
            return
        self.outcomes[item.outcome] += 1
        if item.outcome != Outcome.OK:
            return
        self.software[item.software.product if item.software else UNKNOWN] += 1
        if item.starttls is not None:
            self.starttls[item.starttls] += 1
        if item.tls is not None and item.tls.version is not None:
            self.tls_versions[item.tls.version] += 1

    def render(self, survey: str, reason: str) -> RenderableType:
        """Make the tables, for rich."""
        parts = (
            ("look-ups", self.names),
            ("domains", self.domains),
            ("targets", self.outcomes),
            ("routes", self.routes),
        )
        sums = ", ".join(f"{counts.total():,} {what}" for what, counts in parts if counts) or "nothing"
        title = Text(f"Survey {survey}: {sums} ({reason})", style="bold")
        named = (
            ("Look-up", self.names),
            ("Domain", self.domains),
            ("Route", self.routes),
            ("Outcome", self.outcomes),
            ("Software", self.software),
            ("STARTTLS", self.starttls),
            ("TLS version", self.tls_versions),
        )
        return Group(title, Columns([_table(name, counts) for name, counts in named if counts], padding=(0, 3)))


class SummaryExtension:
    """Counts the items of a survey as they are stored, and shows the main tables at its end."""

    def __init__(self, crawler: Crawler) -> None:
        """Count the items of this crawl."""
        self._crawler = crawler
        self._counts = Counts()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Listen to the crawl."""
        extension = cls(crawler)
        crawler.signals.connect(extension.item_scraped, signals.item_scraped)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        return extension

    def item_scraped(self, item: Any) -> None:
        """Count one."""
        if isinstance(item, SmtpItem | MxItem | MtaStsItem | DnsItem | RouteItem):
            self._counts.count(item)

    def counts(self) -> Counts:
        """Give the counts so far, what was not recorded included."""
        counts = attrs.evolve(self._counts, outcomes=Counter(self._counts.outcomes))
        counts.outcomes.update(unrecorded(self._crawler.stats.get_stats()))
        return counts

    def restore(self, counts: Counts, stats: Mapping[str, Any]) -> None:
        """Go on from the counts of an earlier run and its stats."""
        self._counts = counts
        self._counts.outcomes.subtract(unrecorded(stats))

    def spider_closed(self, spider: Spider, reason: str) -> None:
        """Show the tables: on the terminal (standard error), or in the log file where there is one."""
        counts = self.counts()
        if not counts.done:
            return
        tables = counts.render(getattr(spider, "survey", spider.name), reason)
        if self._crawler.settings.get("LOG_FILE"):
            text = StringIO()
            Console(file=text, width=WIDTH).print(tables)
            logger.info("%s", text.getvalue())
        else:
            Console(stderr=True).print(tables)


def unrecorded(stats: Mapping[str, Any]) -> Counter[str]:
    """Read the targets that became no item, by outcome, from a crawl's stats."""
    found: Counter[str] = Counter()
    for name, count in stats.items():
        if name.startswith(UNRECORDED):
            found[name.removeprefix(UNRECORDED).partition("/")[0]] += count
    return found


def _mail_of(item: MxItem) -> str:
    if item.outcome != DnsOutcome.OK:
        return item.outcome
    return "null MX" if item.null_mx else "implicit MX" if item.implicit else "MX"


def _table(name: str, counts: Counter[str]) -> Table:
    """Make a table of counts and shares, the largest first, the rest in one line."""
    counted = "Count" if name in {"Look-up", "Domain", "Route"} else "Hosts"
    made = Table(name, counted, "Share", box=None, header_style="bold", pad_edge=False)
    made.columns[1].justify = made.columns[2].justify = "right"
    total = counts.total()
    rows = counts.most_common()
    for label, count in rows[:TOP]:
        made.add_row(Text(label), f"{count:,}", f"{count / total:.1%}")
    if len(rows) > TOP:
        count = sum(n for _, n in rows[TOP:])
        made.add_row(Text(f"{len(rows) - TOP} others"), f"{count:,}", f"{count / total:.1%}")
    return made
