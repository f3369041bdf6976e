"""The prober: takes targets, asks the gate, keeps the pool full, and gives back observations."""

from __future__ import annotations

import errno
import logging
import select
from collections import deque
from typing import TYPE_CHECKING

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import CancelledError, Deferred

from smtpsurvey.admission import Exclude
from smtpsurvey.items import Observation, Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.probe.pool import EXHAUSTED, ExhaustedError, ProbePool
from smtpsurvey.probe.protocol import Probe, SmtpProbe
from smtpsurvey.probe.reactor_pool import ReactorPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.base import DelayedCall, ReactorBase
    from twisted.python.failure import Failure

    from smtpsurvey.admission.gate import Gate

    Entry = Target | Deferred[list[Target]]

logger = logging.getLogger(__name__)
LOOKAHEAD = 65_536  # targets read while the networks of earlier ones are not due
LOOKUPS = 2048  # host names or domains being looked up at a time
TURN = 512  # connections begun in one turn of the reactor
FRESH = 0.02  # seconds that a permission to go holds
RETRY = 0.25  # seconds until another try when nothing of ours will wake us
_EXHAUSTED = frozenset(errno.errorcode[code] for code in EXHAUSTED)


def open_pool(reactor: ReactorBase, after_turn: Callable[[], None]) -> ProbePool | ReactorPool:
    """Open the best pool that this system has."""
    return (ProbePool if hasattr(select, "epoll") else ReactorPool)(reactor, after_turn)


class Prober:
    """Feeds targets through the gate into the pool.

    ``record(observation)`` is called for every target, those that the gate excludes included;
    ``hold()`` says whether to begin nothing new at the moment (paused, or the store lags).
    """

    def __init__(
        self,
        reactor: ReactorBase,
        probe: Probe,
        gate: Gate,
        record: Callable[[Observation], None],
        *,
        concurrency: int,
        hold: Callable[[], bool],
        failed: Callable[[Target, BaseException], None] | None = None,
        choose: Callable[[Target], Probe] | None = None,
    ) -> None:
        """Be ready for :meth:`consume`; ``concurrency`` is connections in flight at most.

        ``choose(target)`` gives the probe of a target, where that is not ``probe`` for all.

        ``failed(target, error)`` is called when a hook breaks on a target; without it that ends the
        list it came from.
        """
        self.pool = open_pool(reactor, self._pump)
        self._reactor = reactor
        self._probe = probe
        self._admit = gate.admit
        self._record = record
        self._concurrency = concurrency
        self._hold = hold
        self._failed = failed or self._close_with
        self._choose = choose or (lambda _: probe)
        self._source: Iterator[Entry] | None = None
        self._consumed: Deferred[None] | None = None
        self._ready: deque[tuple[Target, float]] = deque()  # admitted, and when they were due
        self._found: deque[Target] = deque()  # from host names, not yet admitted
        self._parked: set[Deferred[None]] = set()  # waiting at the gate
        self._lookups = 0
        self._waiters: list[Deferred[None]] = []
        self._wake: DelayedCall | None = None
        self._stopped = False
        self._failure: BaseException | None = None  # for the next that waits
        self._warned = False

    @property
    def in_flight(self) -> int:
        """Connections at the moment."""
        return len(self.pool)

    def consume(self, entries: Iterator[Entry]) -> Deferred[None]:
        """Take all entries, lazily; fires when the last one is taken (not when it is done).

        An entry is a target, or a Deferred of the targets that a host name stands for. An exception
        of the iterator or of the gate comes through the Deferred.
        """
        self._source, self._consumed = entries, Deferred()
        consumed = self._consumed
        self._soon(0)
        return consumed

    def add(self, target: Target) -> None:
        """Take one target more."""
        self._found.append(target)
        self._soon(0)

    def finished(self) -> Deferred[None]:
        """Fire when everything taken so far is done."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        self._soon(0)
        return waiter

    async def end(self) -> None:
        """Begin nothing new, wait for what is in flight, and give back the descriptors."""
        self._stopped = True
        self._ready.clear()
        self._found.clear()
        for waiting in tuple(self._parked):
            waiting.cancel()
        self._close_source(None)
        try:
            await maybe_deferred_to_future(self.finished())
        finally:
            if self._wake is not None:
                self._wake.cancel()
                self._wake = None
            self.pool.shutdown()

    def _pump(self) -> None:
        """Begin as many connections as may be begun now."""
        if not self._stopped:
            if self._hold():
                self._soon(RETRY)
            else:
                try:
                    self._fill()
                except Exception as error:  # noqa: BLE001 - the list's; to whoever gave it
                    self._close_source(error)
        looking = self._lookups and not self._stopped
        if self._waiters and not (self.pool or self._ready or self._found or self._parked or looking):
            waiters, self._waiters = self._waiters, []
            failure, self._failure = self._failure, None
            for waiter in waiters:
                waiter.callback(None) if failure is None else waiter.errback(failure)

    def _fill(self) -> None:
        pool, ready, concurrency = self.pool, self._ready, self._concurrency
        for _ in range(TURN):
            if len(pool) >= concurrency:
                return
            if ready:
                target, due = ready.popleft()
                # Its tokens were for that moment, and somebody may have opted out since.
                go = self._probe.seconds() - due < FRESH or self._admitted(target)
            else:
                entry = self._next()
                if entry is None:
                    return
                if type(entry) is not Target:
                    self._look_up(entry)  # type: ignore[arg-type]  # what is no target is a Deferred
                    continue
                target = entry
                go = self._admitted(target)
            if go and not self._connect(target):
                return
        self._soon(0)

    def _next(self) -> Entry | None:
        """Take one more entry, if there is one to take now."""
        if self._found:
            return self._found.popleft()
        if self._source is None or len(self._parked) >= LOOKAHEAD or self._lookups >= LOOKUPS:
            return None
        entry = next(self._source, None)
        if entry is None:
            self._close_source(None)
        return entry

    def _admitted(self, target: Target) -> bool:
        try:
            waiting = self._admit(target)
        except Exclude as excluded:
            self._exclude(target, excluded)
            return False
        except Exception as error:  # noqa: BLE001 - a hook that cannot judge lets nobody pass
            self._failed(target, error)
            return False
        if waiting is None:
            return True
        self._parked.add(waiting)
        waiting.addCallbacks(self._due, self._not_due, callbackArgs=(waiting, target), errbackArgs=(waiting, target))
        return False

    def _due(self, _: None, waiting: Deferred[None], target: Target) -> None:
        self._parked.discard(waiting)
        if not self._stopped:
            # At once where that is possible: the token is for this moment.
            if self._ready or self.pool.serving or len(self.pool) >= self._concurrency or self._hold():
                self._ready.append((target, self._probe.seconds()))
            else:
                self._connect(target)
        self._soon(0)

    def _not_due(self, failure: Failure, waiting: Deferred[None], target: Target) -> None:
        self._parked.discard(waiting)
        error = failure.value
        assert error is not None  # noqa: S101 - a failure has an exception
        if isinstance(error, Exclude):
            self._exclude(target, error)
        elif not isinstance(error, CancelledError):
            self._failed(target, error)
        self._soon(0)

    def _exclude(self, target: Target, excluded: Exclude) -> None:
        self._record(Observation(target, self._probe.now(), 0.0, Outcome.EXCLUDED, excluded.reason))

    def _look_up(self, entry: Deferred[list[Target]]) -> None:
        self._lookups += 1
        entry.addBoth(self._looked_up)

    def _looked_up(self, result: list[Target] | Failure) -> None:
        self._lookups -= 1
        if isinstance(result, list):
            if not self._stopped:
                self._found.extend(result)
        else:
            self._close_source(result.value)
        self._soon(0)

    def _connect(self, target: Target) -> bool:
        protocol = SmtpProbe(target, self._choose(target), self._observed)
        try:
            self.pool.connect(target.ip, target.port, protocol, protocol.patience)
        except ExhaustedError as error:
            self._put_off(target, str(error))
            return False
        except OSError as error:
            protocol.connectFailed(error.errno or 0, local=True)
        return True

    def _observed(self, observation: Observation) -> None:
        if observation.outcome is Outcome.LOCAL_ERROR and observation.reason in _EXHAUSTED:
            self._put_off(observation.target, observation.reason)
        else:
            self._record(observation)

    def _put_off(self, target: Target, reason: str) -> None:
        """Try again when something of ours is free."""
        if not self._warned:
            self._warned = True
            logger.warning("Out of descriptors or local ports (%s): going on as they become free", reason)
        if not self._stopped:
            self._ready.appendleft((target, self._probe.seconds()))
            self._soon(RETRY)

    def _close_with(self, _: Target, error: BaseException) -> None:
        self._close_source(error)

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
            if seconds:
                return
            self._wake.cancel()
        self._wake = self._reactor.callLater(seconds, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._pump()
