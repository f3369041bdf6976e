"""The driver of look-ups: takes names from a list and keeps as many in flight as is good."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, TypeVar

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import CancelledError, Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.base import DelayedCall, ReactorBase
    from twisted.python.failure import Failure

E = TypeVar("E")
logger = logging.getLogger(__name__)
LOOKAHEAD = 4096
"""Entries begun and not ended: what the servers' rate does not let pass waits in the resolver."""

TURN = 256  # entries begun in one turn of the reactor
RETRY = 0.25  # seconds until another try when nothing of ours will wake us


class Lookups(Generic[E]):
    """Calls ``look_up(entry)`` for each entry; its Deferred says when that is done.

    ``hold()`` says whether to begin nothing new at the moment (paused, or the store lags). An error of
    ``look_up`` is ours: it ends the list.
    """

    def __init__(
        self,
        reactor: ReactorBase,
        look_up: Callable[[E], Deferred[None]],
        hold: Callable[[], bool],
        lookahead: int = LOOKAHEAD,
    ) -> None:
        """Be ready for :meth:`consume`."""
        self.in_flight = 0
        self._reactor = reactor
        self._look_up = look_up
        self._hold = hold
        self._lookahead = lookahead
        self._source: Iterator[E] | None = None
        self._consumed: Deferred[None] | None = None
        self._waiters: list[Deferred[None]] = []
        self._wake: DelayedCall | None = None
        self._soonest = False
        self._stopped = False
        self._failure: BaseException | None = None

    def consume(self, entries: Iterator[E]) -> Deferred[None]:
        """Take all entries, lazily; fires when the last one is taken, or at the end; after that, never."""
        self._source = entries
        consumed = self._consumed = Deferred()
        self._soon(0)
        return consumed

    def finished(self) -> Deferred[None]:
        """Fire when everything taken so far is done."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        self._soon(0)
        return waiter

    async def end(self) -> None:
        """Begin nothing new, and wait for what is in flight."""
        self._stopped = True
        self._close_source(None)
        await maybe_deferred_to_future(self.finished())

    def _pump(self) -> None:
        self._wake, self._soonest = None, False
        if self._source is not None and not self._stopped:
            if self._hold():
                self._soon(RETRY)
            else:
                self._fill(self._source)
        if self._waiters and not self.in_flight:
            waiters, self._waiters = self._waiters, []
            failure, self._failure = self._failure, None
            for waiter in waiters:
                waiter.callback(None) if failure is None else waiter.errback(failure)

    def _fill(self, source: Iterator[E]) -> None:
        try:
            for _ in range(min(TURN, self._lookahead - self.in_flight)):
                entry = next(source, None)
                if entry is None:
                    self._close_source(None)
                    return
                looking = self._look_up(entry)
                self.in_flight += 1
                looking.addCallbacks(self._done, self._failed)
        except Exception as error:  # noqa: BLE001 - the list's; to whoever gave it
            self._close_source(error)
            return
        if self.in_flight < self._lookahead:
            self._soon(0)

    def _done(self, _: None) -> None:
        self.in_flight -= 1
        self._soon(0)

    def _failed(self, failure: Failure) -> None:
        self._done(None)
        if not isinstance(failure.value, CancelledError):
            self._close_source(failure.value)

    def _close_source(self, error: BaseException | None) -> None:
        self._source = None
        consumed, self._consumed = self._consumed, None
        if consumed is None:
            self._failure = self._failure or error
        elif error is None:
            consumed.callback(None)
        else:
            consumed.errback(error)

    def _soon(self, seconds: float) -> None:
        """Pump again, if nothing else does before."""
        if self._wake is not None:
            if seconds or self._soonest:
                return
            self._wake.cancel()
        self._soonest = not seconds
        self._wake = self._reactor.callLater(seconds, self._pump)
