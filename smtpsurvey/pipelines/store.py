"""Stores observations; an item leaves when its batch is committed, or spooled for a shard that is away."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scrapy import signals
from scrapy.exceptions import NotConfigured
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from smtpsurvey.defaults import SETTINGS
from smtpsurvey.items import SmtpItem, iso_time
from smtpsurvey.probe.recorder import UNRECORDED
from smtpsurvey.store import StoreError
from smtpsurvey.store.batches import Batches
from smtpsurvey.store.delivery import Delivery
from smtpsurvey.store.kinds import KINDS, rows_of
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.spool import folder_of
from smtpsurvey.store.writer import End, Tally, Writer, beginning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from scrapy.crawler import Crawler
    from twisted.internet.defer import Deferred

    from smtpsurvey.store.kinds import Rows
    from smtpsurvey.store.shards import Shard

logger = logging.getLogger(__name__)
FINISHED = "finished"
"""Scrapy's reason for closing a spider that came to its end."""
T = TypeVar("T")
R = TypeVar("R")


class StorePipeline:
    """Writes items to the shards in batches, each shard in a thread; those of kinds that have no table pass."""

    def __init__(self, crawler: Crawler, urls: list[str], tables: int) -> None:
        """Store what ``crawler`` makes in ``tables`` tables a database; these are opened when its survey begins."""
        self.crawler = crawler
        self._urls = urls
        self._tables = tables
        self._folder = folder_of(crawler.settings)
        self._batches: list[Batches] = []
        self._survey: str | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> StorePipeline:
        """Read SMTPSURVEY_SHARDS and SMTPSURVEY_TABLES_PER_SHARD; raises ``NotConfigured`` without shards."""
        settings = crawler.settings
        urls = [str(url) for url in settings.getlist("SMTPSURVEY_SHARDS") if str(url).strip()]
        if not urls:
            raise NotConfigured  # asked for, so nothing to warn of: items go to feeds only
        pipeline = cls(crawler, urls, settings.getint("SMTPSURVEY_TABLES_PER_SHARD", 1))
        crawler.signals.connect(pipeline.spider_closed, signals.spider_closed)
        return pipeline

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
        elif type(item) in KINDS:
            if not self._batches:
                self._open()
            parts = rows_of(item, self._server)
            # All are under way before the first is waited for.
            stored = [self._batches[server].add(rows) for server, rows in parts.items()]
            await maybe_deferred_to_future(gatherResults(stored, consumeErrors=True))
        return item

    async def close_spider(self) -> None:
        """Write what waits."""
        for flushed in [batches.flush() for batches in self._batches]:
            await maybe_deferred_to_future(flushed)

    async def spider_closed(self, reason: str) -> None:
        """Write the tallies, and mark the survey finished if the spider came to its end; say what stays in the spool.

        Not in :meth:`close_spider`, which Scrapy does not tell the reason.
        """
        if not self._batches:
            return
        try:
            end = partial(self._end, reason == FINISHED)
            ends = [self._in_thread(end, server) for server in range(len(self._shards))]
            left = [await maybe_deferred_to_future(end) for end in ends]
        finally:
            self._close()
        if spooled := [f"{path} ({rows} rows)" for rows, path in filter(None, left)]:
            logger.warning(
                "Store: spooled for databases that are away: %s; when they are back, run `scrapy shards replay%s`",
                ", ".join(spooled),
                f" -s JOBDIR={self.crawler.settings['JOBDIR']}" if self.crawler.settings.get("JOBDIR") else "",
            )

    def _open(self) -> None:
        reactor = _reactor()
        self._shards = Shards(self._urls, self._tables)
        try:
            self._create()
            self._writer = Writer(self._shards)
            self._deliveries = [
                Delivery(self._shards, self._writer, server, self._folder) for server in range(len(self._shards))
            ]
            self._begin()
        except StoreError:
            self._shards.dispose()
            raise
        self._server = self._shards.placement.server
        self._threads = ThreadPool(0, len(self._shards), "store")
        self._threads.start()
        # Where Scrapy is stopped without closing the spider, its threads would keep the process alive.
        self._at_shutdown = reactor.addSystemEventTrigger("during", "shutdown", self._stop)
        self._batches = [Batches(self._stored_by(delivery), reactor.callLater) for delivery in self._deliveries]

    def _create(self) -> None:
        """Create the schema; a job that is taken up again goes on without a database that is away."""
        job = self.crawler.settings.get("JOBDIR")
        if not (job and self._folder.is_dir() and not all(map(_answers, self._shards))):
            self._shards.create()
        if job:
            self._folder.mkdir(parents=True, exist_ok=True)

    def _begin(self) -> None:
        for delivery in self._deliveries:
            delivery.open()
        if self._survey is not None:
            record = beginning(self._survey, iso_time(time.time()), self._settings())
            for delivery in self._deliveries:
                delivery.deliver(record)

    def _stored_by(self, delivery: Delivery) -> Callable[[list[SmtpItem | Rows]], Deferred[None]]:
        return lambda items: self._in_thread(delivery.store, items)

    def _stop(self) -> None:
        for delivery in self._deliveries:
            delivery.stop()
        self._threads.stop()

    def _close(self) -> None:
        _reactor().removeSystemEventTrigger(self._at_shutdown)
        self._threads.stop()
        self._shards.dispose()

    def _in_thread(self, function: Callable[[T], R], argument: T) -> Deferred[R]:
        return deferToThreadPool(_reactor(), self._threads, function, argument)

    def _end(self, finished: bool, server: int) -> tuple[int, Path] | None:  # noqa: FBT001 - of a partial
        """End the survey on one server; give what stays in its spool."""
        delivery, stats = self._deliveries[server], self.crawler.stats
        assert stats is not None  # noqa: S101 - Scrapy makes it before any pipeline
        try:
            if self._survey is not None:
                counted = tallies(stats.get_stats())
                delivery.deliver(self._writer.tallies(server, self._survey, counted))
                if finished:
                    delivery.deliver(End(self._survey, iso_time(time.time())))
        except StoreError as error:
            logger.error("Store: %s; the survey is not marked as finished", error)  # noqa: TRY400 - one line says it
        return delivery.finish()

    def _settings(self) -> dict[str, object]:
        """Tell how the survey is made; databases by name, since their URLs hold passwords."""
        found = {setting.name: self.crawler.settings.get(setting.name) for setting in SETTINGS}
        made = {"SMTPSURVEY_SHARDS": [shard.name for shard in self._shards]}
        return found | made | {"rules": self.crawler.stats.get_value("smtpsurvey/rules")}


def _answers(shard: Shard) -> bool:
    try:
        with shard.begin():
            return True
    except StoreError:
        return False


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
