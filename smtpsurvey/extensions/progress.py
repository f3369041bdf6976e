"""How far the survey is: a live line on a terminal, a line every 30 seconds in a log."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Self

import attrs
from rich.console import Console
from rich.live import Live
from rich.text import Text
from scrapy import signals
from scrapy.utils.log import get_scrapy_root_handler
from twisted.internet.task import LoopingCall

from smtpsurvey.outcomes import Outcome
from smtpsurvey.spiders.smtp import SmtpSpider

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.statscollectors import StatsCollector

logger = logging.getLogger(__name__)
LINE_EVERY = 0.5  # seconds, on a terminal
LOG_EVERY = 30.0  # seconds, in a log
SMOOTHING = 0.3  # weight of the last interval in the rate


@attrs.frozen
class Progress:
    """A moment of a survey. ``total`` is an estimate while the list is being read, ``None`` for a pipe."""

    done: int
    total: int | None
    live: int
    in_flight: int
    rate: float

    def __str__(self) -> str:
        """Write one line for people."""
        parts = [f"{self.done:,} targets"]
        if self.total:
            share = min(1.0, self.done / self.total)
            parts = [f"{self.done:,}/{self.total:,} targets ({share:.1%})"]
        parts += [f"{self.rate:,.0f}/s", f"{self.live:,} live", f"{self.in_flight:,} in flight"]
        if self.total and self.rate >= 1:
            parts.append(f"ETA {_clock((self.total - self.done) / self.rate)}")
        return ", ".join(parts)


class ProgressExtension:
    """Follows the stats of a running survey; costs nothing a target."""

    def __init__(self, stats: StatsCollector, *, terminal: bool) -> None:
        """Show a live line if ``terminal``, log lines otherwise."""
        self._stats = stats
        self._terminal = terminal
        self._spider: SmtpSpider | None = None
        self._calls: list[LoopingCall] = []
        self._live: Live | None = None
        self._done = 0
        self._rate = 0.0

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Decide by where the log goes: a terminal, or anything else."""
        to_terminal = sys.stderr.isatty() and not crawler.settings.get("LOG_FILE")
        extension = cls(crawler.stats, terminal=to_terminal)
        crawler.signals.connect(extension.spider_opened, signals.spider_opened)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        return extension

    def spider_opened(self, spider: Spider) -> None:
        """Begin to follow a survey; other spiders are left alone."""
        if not isinstance(spider, SmtpSpider):
            return
        self._spider = spider
        interval = LOG_EVERY
        show = self._log
        if self._terminal:
            interval, show = LINE_EVERY, self._draw
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
            _log_to(sys.stderr)  # which is now the line's proxy: records go above it
        call = LoopingCall(lambda: show(self.progress(interval)))
        call.start(interval, now=False)
        self._calls.append(call)

    def spider_closed(self) -> None:
        """Take the line away."""
        for call in self._calls:
            call.stop()
        if self._live is not None:
            self._live.stop()
            _log_to(sys.stderr)

    def progress(self, interval: float) -> Progress:
        """Measure; ``interval`` is the seconds since the last time."""
        spider = self._spider
        assert spider is not None  # noqa: S101 - nothing is followed before
        stats = self._stats.get_stats()
        done = sum(stats.get(f"smtpsurvey/outcome/{outcome}", 0) for outcome in Outcome)
        now = (done - self._done) / interval
        self._rate = now if not self._done else SMOOTHING * now + (1 - SMOOTHING) * self._rate
        self._done = done
        return Progress(
            done,
            spider.feed.estimate() if spider.feed else None,
            stats.get("smtpsurvey/outcome/ok", 0),
            spider.prober.in_flight if spider.prober else 0,
            self._rate,
        )

    def _log(self, progress: Progress) -> None:
        logger.info("%s", progress)

    def _draw(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(Text(str(progress), no_wrap=True, overflow="ellipsis"), refresh=True)


def _log_to(stream: object) -> None:
    handler = get_scrapy_root_handler()
    if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
        handler.setStream(stream)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
