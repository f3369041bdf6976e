"""Spreads the targets over time: so many a second in all, in one network, in one AS."""

from __future__ import annotations

import time
from math import isfinite
from typing import TYPE_CHECKING, Any, Self

from scrapy.exceptions import NotConfigured
from twisted.internet.defer import Deferred

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.pace import Pacer

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings
    from twisted.internet.base import DelayedCall, ReactorBase
    from twisted.internet.task import Clock

    from smtpsurvey.items import Target

RATES = ("SMTPSURVEY_RATE", "SMTPSURVEY_PREFIX_RATE", "SMTPSURVEY_AS_RATE")
TICK = 0.005  # seconds between two releases at least: one wake-up serves many targets (see pace.SLACK)


class RateLimitPipeline:
    """Makes a target wait in :meth:`admit` until a token is there at every level."""

    def __init__(self, pacer: Pacer[Deferred[None]], clock: ReactorBase | Clock, now: Callable[[], float]) -> None:
        """Pace with timers of ``clock``; ``now`` gives the seconds that tokens are counted in.

        They are two because the time of an event loop may stand still while a callback runs.
        """
        self._pacer = pacer
        self._clock = clock
        self._now = now
        self._timer: DelayedCall | None = None
        self._fires_at = 0.0
        self._pending: dict[Deferred[None], None] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Read the rates; raises AdmissionError for one that is none, NotConfigured when there is no limit at all."""
        rates = [_rate(crawler.settings, name) for name in RATES]
        if not any(rates):
            raise NotConfigured(f"no limit: {', '.join(RATES)} are all 0")
        from twisted.internet import reactor  # noqa: PLC0415 -- importing it installs one

        return cls(Pacer(*rates), reactor, time.monotonic)

    def admit(self, target: Target) -> Deferred[None] | None:
        """Return None if the target may go now, else a Deferred that fires when it may.

        Whoever waits may cancel the Deferred; the target is then out of the queue.
        """
        now = self._now()
        if self._pacer.admit(target.ip, target.asn, now):
            return None
        waiter: Deferred[None] = Deferred(self._pending.pop)
        self._pending[waiter] = None
        self._pacer.park(waiter, target.ip, target.asn, now)
        self._set_timer(now)
        return waiter

    def process_item(self, item: Any) -> Any:
        """Return the item: what there is to do is done before the probe."""
        return item

    def close_spider(self) -> None:
        """Cancel whoever still waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in list(self._pending):
            waiter.cancel()

    def _release(self) -> None:
        self._timer = None
        for waiter in self._pacer.release(self._now()):
            if waiter in self._pending:
                del self._pending[waiter]
                waiter.callback(None)
        self._set_timer(self._now())

    def _set_timer(self, now: float) -> None:
        """See to it that the timer fires when the next target is due."""
        due = self._pacer.next_due()
        if due is None:
            return
        due = max(due, now + TICK)
        if self._timer is not None:
            if self._fires_at <= due:
                return
            self._timer.cancel()
        self._fires_at = due
        self._timer = self._clock.callLater(due - now, self._release)


def _rate(settings: BaseSettings, name: str) -> float:
    value = settings.get(name)
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = -1.0
    if not (isfinite(rate) and rate >= 0):
        raise AdmissionError(f"{name} must be a number of targets a second, or 0 for no limit, not {value!r}")
    return rate
