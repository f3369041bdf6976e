"""All sockets of a survey in one private epoll set, which is a single reader in the reactor.

A connection costs the reactor nothing of its own: no callLater, no registration, no Failure. The
protocols are ordinary Twisted ones, for servers that speak first: ``connectionMade`` is called
when the first bytes, or the end, arrive, since nobody asks before whether the connection stands.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpsurvey.probe.wheel import TICK, TimerWheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.base import DelayedCall, ReactorBase

logger = logging.getLogger(__name__)
MAX_EVENTS = 512  # events taken in one turn of the reactor
READ = 16384  # bytes taken from one socket in one turn
_FAMILY = {False: socket.AF_INET, True: socket.AF_INET6}
_TYPE = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0)
# Ours, and over as soon as something is closed: never an outcome of the target.
EXHAUSTED = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EADDRINUSE)
)


class ExhaustedError(Exception):
    """No descriptor, local port or buffer is to be had right now: try again when one is free."""


class ProbeProtocol(Protocol):
    """What the pool asks of a protocol, beside Twisted's own methods."""

    transport: PoolTransport | None

    def makeConnection(self, transport: PoolTransport) -> None:  # noqa: D102 - Twisted's names
        ...

    def dataReceived(self, data: bytes) -> None:  # noqa: D102
        ...

    def connectionLost(self, reason: Failure) -> None:  # noqa: D102
        ...

    def connectFailed(self, code: int, *, local: bool) -> None:
        """Take note that there is no connection: errno, and whether our own side said so."""

    def timedOut(self, *, connected: bool) -> None:
        """Take note that the deadline passed."""


class PoolTransport:
    """The transport of one connection: ``write``, ``loseConnection``, and one deadline."""

    __slots__ = (
        "_pending",
        "broken",
        "connected",
        "deadline",
        "disconnecting",
        "fd",
        "pool",
        "protocol",
        "slot",
        "sock",
    )

    def __init__(self, pool: ProbePool, sock: socket.socket, protocol: ProbeProtocol) -> None:
        """Belong to a pool."""
        self.pool = pool
        self.sock = sock
        self.fd = sock.fileno()
        self.protocol = protocol
        self.connected = False
        self.broken = False  # a send failed: the end of what the server still said is a reset
        self.disconnecting = False
        self.deadline = 0.0
        self.slot: int | None = None
        self._pending = b""

    def write(self, data: bytes) -> None:
        """Send now what the socket takes; the rest when it takes more."""
        if self._pending:
            self._pending += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken = True
            return
        if sent < len(data):
            self._pending = data[sent:]
            self.pool.want_write(self, wanted=True)

    def writeSequence(self, data: list[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close, without waiting for what could not be sent yet: a probe has nothing to lose."""
        self.pool.close(self, DONE)

    abortConnection = loseConnection  # noqa: N815 - Twisted's name

    def expire(self, deadline: float) -> None:
        """Call the protocol's ``timedOut`` at this time of the pool's clock."""
        self.pool.wheel.set(self, deadline)

    def flush(self) -> None:
        """Send more of what is pending."""
        data, self._pending = self._pending, b""
        if data:
            self.write(data)
        if not self._pending:
            self.pool.want_write(self, wanted=False)


DONE: Failure = Failure(ConnectionDone())  # type: ignore[no-untyped-call]  # Twisted has no hints there
LOST: Failure = Failure(ConnectionLost())  # type: ignore[no-untyped-call]  # Twisted has no hints there


@implementer(IReadDescriptor)
class ProbePool:
    """The epoll set. ``after_turn`` is called after each turn, when new connections may be made."""

    def __init__(self, reactor: ReactorBase, after_turn: Callable[[], None]) -> None:
        """Join the reactor. Needs ``select.epoll`` (Linux)."""
        self._reactor = reactor
        self._after_turn = after_turn
        self._epoll = select.epoll()
        self._transports: dict[int, PoolTransport] = {}
        self._ticking: DelayedCall | None = None
        self.wheel = TimerWheel(reactor.seconds())
        self.serving = False
        self._set = cast("Any", reactor)  # an IReactorFDSet as well
        self._set.addReader(self)

    def __len__(self) -> int:
        """How many connections are in flight."""
        return len(self._transports)

    def connect(self, ip: str, port: int, protocol: ProbeProtocol, timeout: float) -> None:
        """Begin a connection to a numeric address.

        Raises :class:`ExhaustedError` when nothing more can be opened at the moment.
        """
        try:
            sock = socket.socket(_FAMILY[":" in ip], _TYPE)
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise ExhaustedError(error.strerror) from None
            raise
        code = sock.connect_ex((ip, port))
        if code not in (errno.EINPROGRESS, 0):
            sock.close()
            if code in EXHAUSTED:
                raise ExhaustedError(errno.errorcode[code])
            protocol.connectFailed(code, local=code != errno.ECONNREFUSED)
            return
        transport = PoolTransport(self, sock, protocol)
        protocol.transport = transport
        self._transports[transport.fd] = transport
        self._epoll.register(transport.fd, select.EPOLLIN)
        self.wheel.set(transport, self._reactor.seconds() + timeout)
        if self._ticking is None:
            self._ticking = self._reactor.callLater(TICK, self._tick)

    def close(self, transport: PoolTransport, reason: Failure | None) -> None:
        """End a connection; a reason is told to the protocol."""
        if self._transports.pop(transport.fd, None) is None:
            return
        self.wheel.cancel(transport)
        transport.sock.close()  # the kernel takes a closed descriptor out of the set
        if reason is not None:
            transport.protocol.connectionLost(reason)

    def want_write(self, transport: PoolTransport, *, wanted: bool) -> None:
        """Watch for room to write, or stop."""
        if transport.fd in self._transports:
            self._epoll.modify(transport.fd, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def shutdown(self) -> None:
        """Leave the reactor; what is in flight is dropped without a word."""
        self._set.removeReader(self)
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        for transport in list(self._transports.values()):
            self.close(transport, None)
        self._epoll.close()

    def fileno(self) -> int:
        """Give the set's own descriptor, readable when one of its sockets is."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """Name ourselves in Twisted's log."""
        return "smtpsurvey probes"

    def connectionLost(self, reason: Failure) -> None:
        """Part of IReadDescriptor; an epoll set is never lost."""

    def doRead(self) -> None:
        """Serve the sockets that have something to say."""
        transports = self._transports
        self.serving = True  # a descriptor closed and opened again in here would get the events of the old one
        for fd, event in self._epoll.poll(0, MAX_EVENTS):
            transport = transports.get(fd)
            if transport is None:  # closed by an earlier event of this turn
                continue
            self._guard(transport, self._serve, event)
        self.serving = False
        self._after_turn()

    def _serve(self, transport: PoolTransport, event: int) -> None:
        protocol = transport.protocol
        if event & select.EPOLLOUT:
            transport.flush()
            if event == select.EPOLLOUT:
                return
        try:
            data = transport.sock.recv(READ)
        except BlockingIOError:
            return
        except OSError as error:
            if transport.connected:
                self.close(transport, LOST)
            else:
                self.close(transport, None)
                protocol.connectFailed(error.errno or 0, local=False)
            return
        if not transport.connected:
            transport.connected = True
            protocol.makeConnection(transport)
        if data:
            protocol.dataReceived(data)
        else:
            self.close(transport, LOST if transport.broken else DONE)

    def _guard(self, transport: PoolTransport, serve: Callable[..., None], *args: int) -> None:
        """Serve; one probe's mistake must not silence all the others (Twisted would take the whole set out)."""
        try:
            serve(transport, *args)
        except Exception:
            logger.exception("A probe failed; its target counts as local_error")
            self.close(transport, None)
            transport.protocol.connectFailed(0, local=True)

    def _remind(self, transport: PoolTransport) -> None:
        if not transport.connected and _is_connected(transport.sock):
            transport.connected = True
            transport.protocol.makeConnection(transport)
        transport.protocol.timedOut(connected=transport.connected)

    def _tick(self) -> None:
        self._ticking = None
        for transport in self.wheel.advance(self._reactor.seconds()):
            assert isinstance(transport, PoolTransport)  # noqa: S101 - nobody else sets timers here
            self._guard(transport, self._remind)
        self._after_turn()
        if self._transports and self._ticking is None:
            self._ticking = self._reactor.callLater(TICK, self._tick)


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
