"""Collects the items of one shard into batches and writes these one after another."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from smtpsurvey.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.kinds import Rows

logger = logging.getLogger(__name__)

ROWS = 500
"""Items that are written without waiting for more."""
MOST = 2000
"""Items a batch at most: what gathered while the one before was written."""
SECONDS = 0.2
"""The longest an item waits for others before its batch is due."""


class Batches:
    """The batches of one shard, at most one of them being written.

    While one is written, items gather in the next. How many wait is bounded by whoever adds them:
    each :meth:`add` is answered only when its item is stored.
    """

    def __init__(
        self,
        write: Callable[[list[SmtpItem | Rows]], Deferred[None]],
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        """Write with ``write``, whose Deferred fires when the items are committed, or fails for all of them.

        ``call_later`` is the reactor's.
        """
        self._write = write
        self._call_later = call_later
        self._waiting: list[tuple[SmtpItem | Rows, Deferred[None]]] = []
        self._writing = False
        self._due = False
        self._timer: Any = None
        self._idle: list[Deferred[None]] = []

    def add(self, item: SmtpItem | Rows) -> Deferred[None]:
        """Take an item; the Deferred fires when it is stored; its failure is a :class:`StoreError`."""
        stored: Deferred[None] = Deferred()
        self._waiting.append((item, stored))
        if len(self._waiting) == 1:
            self._timer = self._call_later(SECONDS, self._time_out)
        if len(self._waiting) >= ROWS:
            self._begin()
        return stored

    def flush(self) -> Deferred[None]:
        """Write what waits without waiting for more; fires when nothing is left, and never fails."""
        if not self._waiting and not self._writing:
            return succeed(None)
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._due = True
        self._begin()
        return idle

    def _time_out(self) -> None:
        self._timer = None
        self._due = True
        self._begin()

    def _begin(self) -> None:
        if self._writing or not self._waiting:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._writing = True
        self._due = bool(self._idle) or bool(self._waiting)  # those left have waited for the write before
        done = maybeDeferred(self._write, [item for item, _ in batch])
        done.addCallbacks(self._stored, self._failed, callbackArgs=(batch,), errbackArgs=(batch,))
        done.addBoth(self._next)

    def _stored(self, _result: None, batch: list[tuple[SmtpItem | Rows, Deferred[None]]]) -> None:
        for _, stored in batch:
            stored.callback(None)

    def _failed(self, failure: Failure, batch: list[tuple[SmtpItem | Rows, Deferred[None]]]) -> None:
        message = str(failure.value)
        if not isinstance(failure.value, StoreError):
            logger.error("Store: %d items are lost: %s", len(batch), message, exc_info=failure.value)
        for _, stored in batch:
            stored.errback(StoreError(message))  # one each: a traceback grows wherever it is raised

    def _next(self, _result: None) -> None:
        self._writing = False
        if self._due or len(self._waiting) >= ROWS:
            self._begin()
        if not self._writing and not self._waiting:
            self._due = False
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)
