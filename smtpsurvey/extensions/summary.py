"""What came out, as tables when the survey ends: outcomes, software, STARTTLS, TLS versions."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from scrapy import signals

from smtpsurvey.items import SmtpItem
from smtpsurvey.outcomes import Outcome

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)
TOP = 10  # products shown
WIDTH = 100  # columns, where no terminal says otherwise
UNKNOWN = "(not identified)"


class SummaryExtension:
    """Counts the items of a survey as they are stored, and shows the main tables at its end."""

    def __init__(self, crawler: Crawler) -> None:
        """Count the items of this crawl."""
        self._crawler = crawler
        self._software: Counter[str] = Counter()
        self._starttls: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Listen to the crawl."""
        extension = cls(crawler)
        crawler.signals.connect(extension.item_scraped, signals.item_scraped)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        return extension

    def item_scraped(self, item: Any) -> None:
        """Count one."""
        if isinstance(item, SmtpItem) and item.outcome == Outcome.OK:
            self._software[item.software.product if item.software else UNKNOWN] += 1
            if item.starttls is not None:
                self._starttls[item.starttls] += 1
            if item.tls is not None and item.tls.version is not None:
                self._versions[item.tls.version] += 1

    def spider_closed(self, spider: Spider, reason: str) -> None:
        """Show the tables: on the terminal (standard error), or in the log file where there is one."""
        stats = self._crawler.stats.get_stats()
        outcomes = Counter(
            {str(o): stats[f"smtpsurvey/outcome/{o}"] for o in Outcome if f"smtpsurvey/outcome/{o}" in stats}
        )
        if not outcomes:
            return
        title = f"Survey {getattr(spider, 'survey', spider.name)}: {outcomes.total():,} targets ({reason})"
        tables: list[RenderableType] = [table("Outcome", outcomes)]
        tables += [
            table(name, counts)
            for name, counts in (
                ("Software", self._software),
                ("STARTTLS", self._starttls),
                ("TLS version", self._versions),
            )
            if counts
        ]
        if self._crawler.settings.get("LOG_FILE"):
            console = Console(width=WIDTH, record=True, quiet=True)
            console.print(Columns(tables, padding=(0, 3)))
            logger.info("%s\n%s", title, console.export_text())
        else:
            console = Console(stderr=True)
            console.print(Text(title, style="bold"))
            console.print(Columns(tables, padding=(0, 3)))


def table(name: str, counts: Counter[str]) -> Table:
    """Make a table of counts and shares, the largest first, the rest in one line."""
    made = Table(name, "Hosts", "Share", box=None, header_style="bold", pad_edge=False)
    made.columns[1].justify = made.columns[2].justify = "right"
    total = counts.total()
    for label, count in counts.most_common(TOP):
        made.add_row(Text(label), f"{count:,}", f"{count / total:.1%}")
    rest = counts.most_common()[TOP:]
    if rest:
        count = sum(n for _, n in rest)
        made.add_row(Text(f"{len(rest)} others"), f"{count:,}", f"{count / total:.1%}")
    return made
