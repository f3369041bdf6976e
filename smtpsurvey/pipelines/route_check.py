"""Keeps a target from being probed when an AS on the route to it has opted out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from scrapy.exceptions import NotConfigured
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from smtpsurvey.admission import AdmissionError, Exclude
from smtpsurvey.admission.exclusions import Exclusions
from smtpsurvey.admission.optout import OptOutFile
from smtpsurvey.items import iso_time
from smtpsurvey.outcomes import Reason
from smtpsurvey.processor import SurveyItemProcessor
from smtpsurvey.routes.attachment import TraceError
from smtpsurvey.routes.setup import route_finder_of

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from twisted.python.failure import Failure

    from smtpsurvey.items import Target
    from smtpsurvey.kinds import Hop
    from smtpsurvey.routes.finder import RouteFinder
    from smtpsurvey.routes.known import KnownRoutes


class RouteCheckPipeline:
    """Raises Exclude in :meth:`admit` when an AS on the route has opted out, or the route cannot be measured.

    There is one trace (ICMP) a prefix in a crawl, and none where the store has a route that is young enough. All
    targets of a prefix wait for the same one.
    """

    def __init__(self, crawler: Crawler, optout: OptOutFile, age: float) -> None:
        """Check for this crawl; a stored route is good for ``age`` seconds."""
        self._crawler = crawler
        self._optout = optout
        self._age = age
        self._exclusions = Exclusions((), (), optout.entries)
        self._finder: RouteFinder | None = None
        self._known: KnownRoutes | None = None
        self._starting: Deferred[None] | None = None
        self._paths: dict[str, tuple[int, ...] | None] = {}  # by prefix; None: not measurable
        self._broken = self._closed = False
        self._waiting: dict[str, dict[Deferred[None], None]] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Read the settings; raises ``NotConfigured`` where no check is asked for, AdmissionError otherwise."""
        settings = crawler.settings
        if not settings.getbool("SMTPSURVEY_ROUTE_CHECK"):
            raise NotConfigured
        path = settings.get("SMTPSURVEY_OPTOUT")
        if not path:
            raise AdmissionError("SMTPSURVEY_ROUTE_CHECK needs SMTPSURVEY_OPTOUT: nobody to look for on routes")
        if not settings.get("SMTPSURVEY_AS_MAP"):
            raise AdmissionError("SMTPSURVEY_ROUTE_CHECK needs SMTPSURVEY_AS_MAP: without it no hop has an AS")
        age = settings.get("SMTPSURVEY_ROUTE_AGE")
        if not str(age).isdecimal():
            raise AdmissionError(f"SMTPSURVEY_ROUTE_AGE={age!r} is no number of seconds")
        return cls(crawler, OptOutFile(path, with_as_map=True), float(age))

    def admit(self, target: Target) -> Deferred[None] | None:
        """Let the target pass, make it wait for the route to its prefix, or raise Exclude."""
        if self._optout.changed(time.monotonic()):
            self._exclusions = Exclusions((), (), self._optout.entries)
        if self._finder is None:
            self._finder = route_finder_of(self._crawler)
        prefix = self._finder.prefix_of(target.ip)
        if prefix in self._paths:
            self._judge(prefix)
            return None
        first = prefix not in self._waiting
        waiters = self._waiting.setdefault(prefix, {})
        waiter: Deferred[None] = Deferred(lambda gone: waiters.pop(gone, None))
        waiters[waiter] = None
        if first:
            finding = Deferred.fromCoroutine(self._find(prefix, target.ip))
            finding.addCallbacks(self._found, self._failed, callbackArgs=(prefix,), errbackArgs=(prefix,))
        return waiter

    def process_item(self, item: Any) -> Any:
        """Return the item: what there is to do is done before the probe."""
        return item

    async def close_spider(self) -> None:
        """Let nobody wait any longer, and end scamper."""
        self._closed = True
        for waiters in self._waiting.values():
            for waiter in list(waiters):
                waiter.cancel()
        if self._starting is not None:
            self._starting.addErrback(lambda _: None)  # whoever waited was told
        if self._finder is not None:
            await maybe_deferred_to_future(self._finder.stop())
        if self._known is not None:
            self._known.close()

    def _judge(self, prefix: str) -> None:
        path = self._paths[prefix]
        if path is None or self._exclusions.of_origins(path) is not None:
            raise Exclude(Reason.ROUTE)

    async def _find(self, prefix: str, ip: str) -> tuple[int, ...] | None:
        """Give the ASes on the route to a prefix, ``None`` where nothing answers."""
        assert self._finder is not None  # noqa: S101 - made before
        hops = await self._stored(prefix)
        if hops is not None:
            self._count("stored")
            return self._finder.origins(hops)
        if self._closed:  # meanwhile
            raise CancelledError
        await self._started(self._finder)
        self._count("traced")
        try:
            route = await self._finder.trace(ip)
        except TraceError:
            return None
        processor = self._crawler.engine.scraper.itemproc
        if isinstance(processor, SurveyItemProcessor):
            processor.submit(route)
        return self._finder.origins(route.hops) if route.hops else None

    def _count(self, what: str) -> None:
        self._crawler.stats.inc_value(f"smtpsurvey/route/{what}")

    async def _stored(self, prefix: str) -> list[Hop] | None:
        settings = self._crawler.settings
        urls = [str(url) for url in settings.getlist("SMTPSURVEY_SHARDS") if str(url).strip()]
        if not urls:
            return None
        if self._known is None:
            from smtpsurvey.routes.known import KnownRoutes  # noqa: PLC0415 - SQLAlchemy, only where there are databases

            self._known = KnownRoutes(urls, settings.getint("SMTPSURVEY_TABLES_PER_SHARD", 1))
        since = iso_time(time.time() - self._age)
        return await deferToThread(self._known.hops, prefix, since)

    async def _started(self, finder: RouteFinder) -> None:
        """Start the finder, once, however many wait for it."""
        if self._starting is None:
            self._starting = finder.start()
        waiter: Deferred[None] = Deferred()

        def pass_on(result: Failure | None) -> Failure | None:
            waiter.callback(None) if result is None else waiter.errback(result)
            return result

        self._starting.addBoth(pass_on)
        await waiter

    def _found(self, path: tuple[int, ...] | None, prefix: str) -> None:
        self._paths[prefix] = path
        for waiter in list(self._waiting.pop(prefix)):
            try:
                self._judge(prefix)
            except Exclude as excluded:
                waiter.errback(excluded)
            else:
                waiter.callback(None)

    def _failed(self, failure: Failure, prefix: str) -> None:
        """End the survey, by the first that waits: what cannot be checked must not be probed."""
        for waiter in list(self._waiting.pop(prefix)):
            if self._broken:
                waiter.cancel()
            else:
                self._broken = True
                waiter.errback(failure)
