"""The sockets of a survey where there is no epoll (macOS): the reactor's own TCP clients, at several times the cost."""

from __future__ import annotations

import errno
import logging
import math
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.protocol import ClientFactory
from twisted.internet.task import LoopingCall

from smtpsurvey.probe.pool import EXHAUSTED, ExhaustedError
from smtpsurvey.probe.wheel import TICK, TimerWheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.base import ReactorBase
    from twisted.python.failure import Failure

    from smtpsurvey.probe.pool import PoolTransport, ProbeProtocol


class ReactorTransport(ClientFactory):
    """One connection: to the probe its transport, to the reactor its factory and its protocol."""

    noisy = False
    disconnecting = False
    deadline = 0.0
    slot: int | None = None
    _client: Any = None  # the reactor's transport, once there is a connection

    def __init__(self, pool: ReactorPool, ip: str, port: int, probe: ProbeProtocol) -> None:
        """Begin to connect; what comes of it is told in a later turn."""
        self._pool, self._ip, self._probe = pool, ip, probe
        self.dataReceived, self.expire = partial(self._tell, probe.dataReceived), partial(pool.wheel.set, self)
        probe.transport = cast("PoolTransport", self)  # all of it that probes use
        self._connector = pool.reactor.connectTCP(ip, port, self, timeout=None)

    def loseConnection(self) -> None:
        """Close; what cannot be sent until the next tick is dropped."""
        self.disconnecting = True
        self.expire(0)
        self._connector.disconnect()

    def expired(self) -> None:
        """Tell the probe, or cut off what it closed."""
        if self.disconnecting:
            self._client.abortConnection()
        else:
            self._tell(self._probe.timedOut, connected=self._client is not None)

    def buildProtocol(self, _: object) -> Any:  # noqa: D102 - Twisted's names, as below
        return self

    def makeConnection(self, client: Any) -> None:  # noqa: D102
        self._client, self.write = client, client.write
        self._probe.makeConnection(cast("PoolTransport", self))

    def connectionLost(self, reason: Failure) -> None:  # noqa: D102
        if self._pool.forget(self):
            self._probe.connectionLost(reason)

    def clientConnectionFailed(self, _: object, reason: Failure) -> None:  # noqa: D102
        code = getattr(reason.value, "osError", None) or 0
        if self._pool.forget(self, exhausted=code in EXHAUSTED):
            local = code in EXHAUSTED or (code != errno.ECONNREFUSED and not _has_route(self._ip))
            self._probe.connectFailed(code, local=local)

    def _tell(self, listener: Callable[..., None], *args: bytes, **more: bool) -> None:
        try:
            listener(*args, **more)
        except Exception:
            # Twisted would take it for a reset, the ticking would end.
            logging.getLogger(__name__).exception("A probe failed; its target counts as local_error")
            self._probe.connectFailed(0, local=True)
            self.loseConnection()


class ReactorPool:
    """A :class:`ProbePool` that may tell a protocol, after ``connect``, a local failure out of ``EXHAUSTED``."""

    serving = False  # the reactor copes with connections begun at any time

    def __init__(self, reactor: ReactorBase, after_turn: Callable[[], None]) -> None:
        """Begin to tick; the reactor must have ``connectTCP``."""
        self.reactor = cast("Any", reactor)
        self.wheel = TimerWheel(reactor.seconds())
        self._after_turn = after_turn
        self._transports: set[ReactorTransport] = set()
        self._limit = math.inf  # once something ran out: what was in flight then, doubled with each tick
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = self.reactor
        self._ticking.start(TICK, now=False)

    def __len__(self) -> int:
        """How many connections are in flight."""
        return len(self._transports)

    def connect(self, ip: str, port: int, protocol: ProbeProtocol, timeout: float) -> None:
        """Begin a connection to a numeric address, or raise :class:`ExhaustedError`."""
        if len(self) >= self._limit:
            raise ExhaustedError(f"no more than {len(self)} connections at a time")
        transport = ReactorTransport(self, ip, port, protocol)
        self._transports.add(transport)
        transport.expire(self.reactor.seconds() + timeout)

    def forget(self, transport: ReactorTransport, *, exhausted: bool = False) -> bool:
        """Take note of an end, maybe for want of something of ours; tell whether the connection was in flight."""
        if transport not in self._transports:
            return False
        self._transports.remove(transport)
        self.wheel.cancel(transport)
        self._limit = len(self) if exhausted else self._limit
        self.reactor.callLater(0, self._after_turn)
        return True

    def shutdown(self) -> None:
        """Drop what is in flight without a word."""
        self._ticking.stop()
        while self._transports:
            self._transports.pop().loseConnection()

    def _tick(self) -> None:
        self._limit = 2 * self._limit + 1
        for transport in self.wheel.advance(self.reactor.seconds()):
            cast("ReactorTransport", transport).expired()
        self._after_turn()


def _has_route(ip: str) -> bool:
    """Tell whether our own side would send there; asking sends nothing."""
    with suppress(OSError), socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as asks:
        asks.connect((ip, 9))
        return True
    return False
