"""Measures routes and names the AS of each hop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smtpsurvey.items import iso_time
from smtpsurvey.kinds import Hop, RouteItem
from smtpsurvey.routes.trace import Method, network_around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from smtpsurvey.admission.asmap import AsMap
    from smtpsurvey.routes.scamper import Scamper
    from smtpsurvey.routes.trace import Trace


class RouteFinder:
    """Traces routes, as items of a survey."""

    def __init__(self, scamper: Scamper, survey: str, as_map: AsMap | None = None) -> None:
        """Use this process, label and map."""
        self._scamper = scamper
        self._survey = survey
        self._as_map = as_map

    def start(self) -> Deferred[None]:
        """Get ready; fails with :class:`~smtpsurvey.errors.SurveyError` without scamper or raw sockets."""
        return self._scamper.start()

    def stop(self) -> Deferred[None]:
        """End; traces in flight fail."""
        return self._scamper.stop()

    def cancel_waiting(self) -> None:
        """Cancel the traces that are not begun."""
        self._scamper.cancel_waiting()

    def trace(self, address: str, method: Method = Method.ICMP, source: str | None = None) -> Deferred[RouteItem]:
        """Measure the route to an address in canonical text.

        Fails with :class:`~smtpsurvey.routes.attachment.TraceError`, or
        :class:`~smtpsurvey.errors.SurveyError` when scamper has ended.
        """
        begun = time.time()

        def made(trace: Trace) -> RouteItem:
            hops = [self._hop(step.ttl, step.address, step.rtt) for step in trace.steps]
            prefix = self.prefix_of(address)
            return RouteItem(self._survey, iso_time(begun), address, prefix, hops, trace.stop, method, source)

        return self._scamper.trace(address, method).addCallback(made)

    def prefix_of(self, address: str) -> str:
        """Give the announced prefix of an address; where no map knows it, its /24 or /48."""
        prefix = self._as_map.lookup(address).prefix if self._as_map is not None else None
        return prefix or network_around(address)

    def origins(self, hops: Sequence[Hop]) -> tuple[int, ...]:
        """Give the ASes that announce the addresses of hops, each once."""
        if self._as_map is None:
            return ()
        lookup = self._as_map.lookup
        return tuple(dict.fromkeys(asn for hop in hops for asn in lookup(hop.address).origins))

    def _hop(self, ttl: int, address: str, rtt: float) -> Hop:
        if self._as_map is None:
            return Hop(ttl, address, rtt)
        found = self._as_map.lookup(address)
        return Hop(ttl, address, rtt, found.asn, found.prefix)
