"""How far the survey is: a live line on a terminal, a line every 30 seconds in a log."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Self

import attrs
from rich.console import Console
from rich.live import Live
from rich.text import Text
from scrapy import signals
from scrapy.utils.log import get_scrapy_root_handler
from twisted.internet.task import LoopingCall

from smtpsurvey.extensions.manifest import Manifest, manifest_of
from smtpsurvey.spider import SurveySpider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy import Spider
    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)
LINE_EVERY = 0.5  # seconds, on a terminal
LOG_EVERY = 30.0  # seconds, in a log
SMOOTHING = 0.3  # weight of the last interval in the rate


@attrs.frozen
class Progress:
    """A moment of a survey. ``total`` is an estimate while the list is being read, ``None`` for a pipe.

    ``words`` say what ``done`` and ``live`` count.
    """

    done: int
    total: int | None
    live: int
    in_flight: int
    rate: float
    words: tuple[str, str] = SurveySpider.words

    def __str__(self) -> str:
        """Write one line for people."""
        entries, live = self.words
        parts = [f"{self.done:,} {entries}"]
        if self.total:
            share = min(1.0, self.done / self.total)
            parts = [f"{self.done:,}/{self.total:,} {entries} ({share:.1%})"]
        parts += [f"{self.rate:,.0f}/s", f"{self.live:,} {live}", f"{self.in_flight:,} in flight"]
        if self.total and self.rate >= 1:
            left = max(0, self.total - self.done)  # a host name counts once, and each of its addresses when it is done
            parts.append(f"ETA {_clock(left / self.rate)}")
        return ", ".join(parts)


class Meter:
    """Makes a :class:`Progress` of manifests, one moment after the other."""

    def __init__(self, seconds: Callable[[], float], words: tuple[str, str] = SurveySpider.words) -> None:
        """Measure with this clock."""
        self._seconds = seconds
        self._words = words
        self._before: tuple[float, int] | None = None
        self._rate = 0.0

    def progress(self, runs: Iterable[Manifest]) -> Progress:
        """Add up what runs side by side; the rate is smoothed over the last calls."""
        now, done, live, in_flight, targets = self._seconds(), 0, 0, 0, 0
        for run in runs:
            done += run.counts.done
            live += run.counts.live
            in_flight += run.in_flight
            targets = max(targets, run.targets or 0)  # each reads the whole list
        if self._before is not None and now > self._before[0]:
            last = (done - self._before[1]) / (now - self._before[0])
            self._rate = SMOOTHING * last + (1 - SMOOTHING) * self._rate if self._rate else last
        self._before = (now, done)
        return Progress(done, targets or None, live, in_flight, self._rate, self._words)


class ProgressExtension:
    """Follows a running survey; costs nothing a target."""

    def __init__(self, crawler: Crawler, *, terminal: bool) -> None:
        """Show a live line if ``terminal``, log lines otherwise."""
        self._crawler = crawler
        self._terminal = terminal
        self._meter = Meter(time.monotonic)
        self._call: LoopingCall | None = None
        self._live: Live | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Decide by where the log goes: a terminal, or anything else."""
        extension = cls(crawler, terminal=sys.stderr.isatty() and not crawler.settings.get("LOG_FILE"))
        crawler.signals.connect(extension.spider_opened, signals.spider_opened)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        return extension

    def spider_opened(self, spider: Spider) -> None:
        """Begin to follow a spider of ours; others are left alone."""
        if not isinstance(spider, SurveySpider):
            return
        self._meter = Meter(time.monotonic, spider.words)
        if self._terminal:
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
            _log_to(sys.stderr)  # which is now the line's proxy: records go above it
        self._call = LoopingCall(self.show)
        self._call.start(LINE_EVERY if self._terminal else LOG_EVERY, now=False)

    def spider_closed(self) -> None:
        """Take the line away."""
        if self._call is not None and self._call.running:
            self._call.stop()
        if self._live is not None:
            self._live.stop()
            _log_to(sys.stderr)

    def show(self) -> None:
        """Show this moment."""
        progress = self._meter.progress([manifest_of(self._crawler, "")])
        if self._live is None:
            logger.info("%s", progress)
        else:
            self._live.update(Text(str(progress), no_wrap=True, overflow="ellipsis"), refresh=True)


def _log_to(stream: object) -> None:
    handler = get_scrapy_root_handler()
    if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
        handler.setStream(stream)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
