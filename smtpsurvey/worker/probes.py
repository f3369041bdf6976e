"""SMTP-PROBE, DEST-AS-CHECK and TRACEROUTE: what concerns one address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.admission.asmap import UNKNOWN, AsMap
from smtpsurvey.admission.exclusions import Exclusions, networks_of
from smtpsurvey.admission.gate import Gate
from smtpsurvey.admission.optout import OptOutFile
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE
from smtpsurvey.errors import SurveyError
from smtpsurvey.items import Observation, Target
from smtpsurvey.kinds import AsItem
from smtpsurvey.probe.prober import Prober
from smtpsurvey.probe.recorder import Recorder
from smtpsurvey.probe.setup import connections_allowed, identity_of, probe_of
from smtpsurvey.routes.attachment import TraceError
from smtpsurvey.routes.setup import route_finder_of
from smtpsurvey.worker.begin import Beginning
from smtpsurvey.worker.results import line_of, now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings
    from twisted.internet.base import ReactorBase

    from smtpsurvey.processor import SurveyItemProcessor
    from smtpsurvey.worker.commands import Command
    from smtpsurvey.worker.results import Results


class Probes:
    """Probes addresses as ``scrapy crawl smtp`` does, past the same gate; each makes an item, whatever the outcome."""

    def __init__(
        self, crawler: Crawler, reactor: ReactorBase, processor: SurveyItemProcessor, results: Results
    ) -> None:
        """Open one pool for all; raises :class:`SurveyError` for settings that cannot be."""
        settings = crawler.settings
        self._gate = Gate([identity_of(settings).admit, *processor.admit_hooks])
        self._record = Recorder(results.survey, processor, crawler.stats, None, everything=True)
        self._waiting: dict[Target, Deferred[None]] = {}  # for the end of the probe, or to pass the gate
        self._prober = Prober(
            reactor,
            probe_of(settings, reactor, starttls=True),
            self._gate,
            self._observed,
            concurrency=connections_allowed(settings),
            hold=lambda: False,
            failed=self._failed,
        )

    async def probe(self, command: Command) -> None:
        """SMTP-PROBE: probe one address."""
        ip, name, *_ = (*command.arguments, None)
        target = Target(ip, name=name, source=command.place)
        waiting = self._waiting[target] = Deferred()
        self._prober.add(target)
        await maybe_deferred_to_future(waiting)

    async def admit(self, target: Target) -> None:
        """Let a target pass that is contacted in another way; raises ``Exclude``, ``CancelledError`` at the end."""
        waiting = self._gate.admit(target)
        if waiting is not None:
            self._waiting[target] = waiting
            try:
                await maybe_deferred_to_future(waiting)
            finally:
                self._waiting.pop(target, None)

    async def end(self) -> None:
        """Let what is being probed end, and cancel what has not begun."""
        await self._prober.end()
        for waiting in tuple(self._waiting.values()):
            waiting.cancel()

    def _observed(self, seen: Observation) -> None:
        self._record(seen)
        self._waiting.pop(seen.target).callback(None)

    def _failed(self, target: Target, error: BaseException) -> None:
        self._waiting.pop(target).errback(error)


class Ownership:
    """Says whose an address is, and whether he opted out."""

    def __init__(self, settings: BaseSettings, results: Results) -> None:
        """Read map and lists; raises :class:`SurveyError` for one that cannot be used."""
        self._map = AsMap(path) if (path := settings.get("SMTPSURVEY_AS_MAP")) else None
        optout = settings.get("SMTPSURVEY_OPTOUT")
        self._optout = OptOutFile(optout, with_as_map=self._map is not None) if optout else None
        allow = networks_of("SMTPSURVEY_ALLOW", settings.getlist("SMTPSURVEY_ALLOW"))
        self._reserved = Exclusions(SPECIAL_PURPOSE, allow)
        self._results = results
        self._put_together()

    async def check(self, command: Command) -> None:
        """DEST-AS-CHECK: tell prefix, AS, and whether and why it opted out."""
        if self._optout is not None and self._optout.changed(time.monotonic()):
            self._put_together()
        (ip,) = command.arguments
        found = UNKNOWN if self._map is None else self._map.lookup(ip)
        entry = self._out.of_target(ip, None) or self._out.of_origins(found.origins)
        special = self._reserved.of_target(ip, None)
        self._results.submit(
            AsItem(
                self._results.survey,
                now(),
                ip,
                found.prefix,
                found.asn,
                None if self._optout is None else entry is not None,
                str(entry) if entry else f"{special.reason}: {special}" if special else None,
                line_of(command),
            )
        )

    def _put_together(self) -> None:
        self._out = Exclusions((), (), self._optout.entries if self._optout else ())


class Routes:
    """Traces routes past the same gate as probes, with a scamper that starts when the first is asked for."""

    def __init__(self, crawler: Crawler, admit: Callable[[Target], Awaitable[None]], results: Results) -> None:
        """Trace for this crawl; raises :class:`SurveyError` for settings that cannot be."""
        self._admit = admit
        self._results = results
        self._finder = route_finder_of(crawler)
        self._beginning = Beginning(self._finder.start)

    async def trace(self, command: Command) -> None:
        """TRACEROUTE: find the route, with the AS of each hop."""
        (ip,) = command.arguments
        try:
            await self._beginning.wait()
        except SurveyError as error:
            raise SurveyError(f"no routes: {error}") from None
        await self._admit(Target(ip, source=command.place))
        try:
            route = await maybe_deferred_to_future(self._finder.trace(ip, source=command.place))
        except TraceError as error:
            raise SurveyError(str(error)) from None
        self._results.submit(route)

    async def end(self) -> None:
        """End scamper."""
        if self._beginning.done:
            await maybe_deferred_to_future(self._finder.stop())
