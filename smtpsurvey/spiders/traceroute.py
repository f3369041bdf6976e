"""``scrapy crawl traceroute -a targets=FILE``: the routes to the prefixes, or to the addresses, of a list."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.admission import Exclude
from smtpsurvey.admission.gate import Gate
from smtpsurvey.dns.addresses import Hosts
from smtpsurvey.dns.lookups import Lookups
from smtpsurvey.errors import SurveyError
from smtpsurvey.probe.entries import TargetEntries, checked_name
from smtpsurvey.probe.feed import ListFeed
from smtpsurvey.probe.setup import identity_of
from smtpsurvey.routes.attachment import TraceError
from smtpsurvey.routes.setup import route_finder_of
from smtpsurvey.routes.trace import SMTP, Method
from smtpsurvey.spider import SurveySpider, read_switch, readable
from smtpsurvey.targets.lines import TargetLines

if TYPE_CHECKING:
    from smtpsurvey.items import Target
    from smtpsurvey.probe.ledger import Ledger
    from smtpsurvey.probe.prober import Entry
    from smtpsurvey.routes.finder import RouteFinder


class TracerouteSpider(SurveySpider):
    """Measures a route for each prefix, or address, that may be probed."""

    name = "traceroute"
    words: ClassVar[tuple[str, str]] = ("routes", "complete")

    def __init__(  # noqa: PLR0917 - Scrapy's spider arguments are constructor parameters
        self,
        targets: str = "",
        per: str = "prefix",
        method: str = Method.TCP,
        survey: str | None = None,
        source: str | None = None,
        strict: str | int = 0,
        **kwargs: Any,
    ) -> None:
        """Take the arguments of ``-a`` (docs/usage/routes.md); they are checked when the survey starts."""
        super().__init__(survey, **kwargs)
        self._path = targets
        self._source = readable(source or ("stdin" if targets == "-" else Path(targets).name))
        self._per, self._given_method, self._strict = per, method, strict
        self._seen: set[str] | None = None  # prefixes; None: every address counts
        self._feed: ListFeed | None = None
        self._traces: Lookups[Any] | None = None
        self._parked: set[Deferred[None]] = set()
        self._ledger: Ledger | None = None
        self._finder: RouteFinder

    def estimate(self) -> int | None:
        """Say nothing: how many prefixes a list is in shows only at its end."""
        return None

    @property
    def in_flight(self) -> int:
        """Traces begun and not ended."""
        return self._traces.in_flight if self._traces is not None else 0

    async def survey_all(self) -> None:
        """Trace everything."""
        from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

        from smtpsurvey.dns.setup import resolver_of  # noqa: PLC0415 - Scrapy imports every spider for each

        if not self._path:
            raise SurveyError("no targets: give -a targets=FILE, or - for standard input")
        if self._given_method not in tuple(Method):
            raise SurveyError(f"method={self._given_method!r} is neither tcp nor icmp")
        if self._per not in {"prefix", "address"}:
            raise SurveyError(f"per={self._per!r} is neither prefix nor address")
        self._method, strict = Method(self._given_method), read_switch("strict", self._strict)
        crawler, processor = self.crawler, self.take_processor()
        identity, hooks = identity_of(crawler.settings), processor.admit_hooks
        self._gate = Gate(hooks if identity.complete else [identity.admit, *hooks])
        self._finder = route_finder_of(crawler)
        if self._per == "prefix":
            self._seen = set()
        hosts = Hosts(resolver_of(crawler.settings, reactor, crawler.stats))
        lines_of = partial(TargetLines, self._path, self._source, SMTP)
        self._feed = ListFeed(self._path, lines_of, crawler.stats, strict=strict)
        self._ledger = self.take_up("targets", self._path, {"per": self._per, "method": self._given_method})
        self._traces = Lookups(reactor, self._begin, self.must_wait)
        processor.before_close += [self._end, hosts.stop]
        await maybe_deferred_to_future(self._finder.start())
        entries = TargetEntries(self._path, hosts, crawler.stats, self._ledger)
        await self._feed.run(self._traces, entries, lambda entry: identity.check(checked_name(entry)))

    def _begin(self, entry: Entry) -> Deferred[None]:
        return Deferred.fromCoroutine(self._each(entry))

    async def _each(self, entry: Entry) -> None:
        """Trace what an entry stands for: a target, or the addresses of a host name."""
        targets = await entry if isinstance(entry, Deferred) else [entry]
        for target in targets:
            await self._trace(target)

    async def _trace(self, target: Target) -> None:
        prefix = self._finder.prefix_of(target.ip)
        if self._seen is not None and prefix in self._seen:
            self._leave_out(target, "same_prefix")
            return
        try:
            waiting = self._gate.admit(target)
            if self._seen is not None:  # another address of the prefix will do where this one is excluded
                self._seen.add(prefix)
            if waiting is not None:
                await self._wait(waiting)
            route = await self._finder.trace(target.ip, self._method, self._source)
        except Exclude:
            self._leave_out(target, "excluded")
        except TraceError as error:
            self.logger.warning("%s", error)
            self._leave_out(target, "failed")
        else:
            route.put(target.position)
            self.processor.submit(route)

    async def _wait(self, waiting: Deferred[None]) -> None:
        self._parked.add(waiting)
        try:
            await waiting
        finally:
            self._parked.discard(waiting)

    def _leave_out(self, target: Target, why: str) -> None:
        self.crawler.stats.inc_value(f"smtpsurvey/route/{why}")
        if self._ledger is not None:
            self._ledger.done(target.position)

    async def _end(self) -> None:
        """Begin nothing new, and wait for the traces in flight."""
        for waiting in tuple(self._parked):
            waiting.cancel()
        self._finder.cancel_waiting()
        if self._traces is not None:
            with suppress(SurveyError):  # every trace in flight tells that scamper has ended; the first was heard
                await self._traces.end()
        await maybe_deferred_to_future(self._finder.stop())
