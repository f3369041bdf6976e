"""Stores observations; an item leaves this pipeline when the batch that holds it is committed."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from scrapy.exceptions import NotConfigured
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from smtpsurvey.defaults import SETTINGS
from smtpsurvey.items import SmtpItem, iso_time
from smtpsurvey.store import StoreError
from smtpsurvey.store.batches import Batches
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Tally, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrapy.crawler import Crawler
    from twisted.internet.defer import Deferred

logger = logging.getLogger(__name__)

UNRECORDED = "smtpsurvey/unrecorded/"
"""Stats of targets that became no item: ``<outcome>/<reason or ->/<source>`` follows."""


class StorePipeline:
    """Writes :class:`SmtpItem` to the shards in batches, each shard in a thread; other items pass."""

    def __init__(self, crawler: Crawler, urls: list[str], tables: int) -> None:
        """Store what ``crawler`` makes in ``tables`` tables a database; these are opened when its survey begins."""
        self.crawler = crawler
        self._urls = urls
        self._tables = tables
        self._batches: list[Batches] = []
        self._survey: str | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> StorePipeline:
        """Read SMTPSURVEY_SHARDS and SMTPSURVEY_TABLES_PER_SHARD; raises ``NotConfigured`` without shards."""
        settings = crawler.settings
        urls = [str(url) for url in settings.getlist("SMTPSURVEY_SHARDS") if str(url).strip()]
        if not urls:
            raise NotConfigured  # asked for, so nothing to warn of: items go to feeds only
        return cls(crawler, urls, settings.getint("SMTPSURVEY_TABLES_PER_SHARD", 1))

    def open_spider(self) -> None:
        """Create the schema and register the survey; raises :class:`StoreError`.

        A spider without a ``survey`` (that of ``scrapy fetch``) opens the store with its first observation.
        """
        self._survey = getattr(self.crawler.spider, "survey", None)
        if self._survey is not None:
            self._open()

    async def process_item(self, item: Any) -> Any:
        """Return an item when it is stored; raises :class:`StoreError` if it cannot be."""
        if isinstance(item, SmtpItem):
            if not self._batches:
                self._open()
            await maybe_deferred_to_future(self._batches[self._server(item.ip)].add(item))
        return item

    async def close_spider(self) -> None:
        """Write what waits, then the tallies, and mark the survey finished."""
        if not self._batches:
            return
        for flushed in [batches.flush() for batches in self._batches]:
            await maybe_deferred_to_future(flushed)
        try:
            if self._survey is not None:
                await maybe_deferred_to_future(self._in_thread(self._end, self._survey))
        except StoreError as error:
            logger.error("Store: %s; the survey is not marked as finished", error)  # noqa: TRY400 - one line says it
        finally:
            self._close()

    def _open(self) -> None:
        reactor = _reactor()
        self._shards = Shards(self._urls, self._tables)
        try:
            self._shards.create()
            self._writer = Writer(self._shards)
            if self._survey is not None:
                self._writer.begin_survey(self._survey, iso_time(time.time()), self._settings())
        except StoreError:
            self._shards.dispose()
            raise
        self._server = self._shards.placement.server
        self._threads = ThreadPool(0, len(self._shards), "store")
        self._threads.start()
        # Where Scrapy is stopped without closing the spider, its threads would keep the process alive.
        self._at_shutdown = reactor.addSystemEventTrigger("during", "shutdown", self._threads.stop)
        self._batches = [
            Batches(partial(self._in_thread, self._writer.write, server), reactor.callLater)
            for server in range(len(self._shards))
        ]

    def _close(self) -> None:
        _reactor().removeSystemEventTrigger(self._at_shutdown)
        self._threads.stop()
        self._shards.dispose()

    def _in_thread(self, function: Callable[..., None], *args: Any) -> Deferred[None]:
        return deferToThreadPool(_reactor(), self._threads, function, *args)

    def _end(self, survey: str) -> None:
        assert self.crawler.stats is not None  # noqa: S101 - Scrapy makes it before any pipeline
        self._writer.write_tallies(survey, tallies(self.crawler.stats.get_stats()))
        self._writer.end_survey(survey, iso_time(time.time()))

    def _settings(self) -> dict[str, object]:
        """Tell how the survey is made; databases by name, since their URLs hold passwords."""
        found = {setting.name: self.crawler.settings.get(setting.name) for setting in SETTINGS}
        return found | {"SMTPSURVEY_SHARDS": [shard.name for shard in self._shards]}


def _reactor() -> Any:
    """Give the reactor that Scrapy has installed; ``Any``, as mypy cannot bind methods of Twisted's interfaces."""
    from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

    return reactor


def tallies(stats: Mapping[str, Any]) -> list[Tally]:
    """Read the tallies of unrecorded targets from a crawl's stats; a source may contain slashes."""
    found = []
    for key, count in stats.items():
        if key.startswith(UNRECORDED):
            outcome, reason, source = key.removeprefix(UNRECORDED).split("/", 2)
            found.append(Tally(source, outcome, None if reason == "-" else reason, count))
    return found
