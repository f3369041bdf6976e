"""UDP sockets for queries, each a reader in the reactor, without a Twisted protocol between."""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.base import ReactorBase
    from twisted.python.failure import Failure

    from smtpsurvey.dns.servers import Address

logger = logging.getLogger(__name__)
BUFFER = 4 << 20  # bytes of answers that the kernel may keep while we are busy
READ = 4096  # bytes of one datagram: more than anybody was asked for
TURN = 200  # datagrams taken in one turn of the reactor


@implementer(IReadDescriptor)
class UdpSocket:
    """A socket on a port of the kernel's choice; ``pending`` has what waits for an answer, by number.

    ``received(socket, datagram, host, port)`` is called for each datagram.
    """

    def __init__(
        self, reactor: ReactorBase, family: int, received: Callable[[UdpSocket, bytes, str, int], None]
    ) -> None:
        """Open it and join the reactor; raises ``OSError``."""
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104 - queries go out of it
        except OSError:
            self._socket.close()
            raise
        self._reactor = cast("Any", reactor)  # an IReactorFDSet as well
        self._received = received
        self.pending: dict[int, Any] = {}
        self._reactor.addReader(self)

    def send(self, data: bytes, address: Address) -> None:
        """Send a datagram; raises ``OSError``, of which ``BlockingIOError`` means that there is no room yet."""
        try:
            self._socket.sendto(data, address)
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                raise BlockingIOError(error.errno, error.strerror) from None
            raise

    def close(self) -> None:
        """Leave the reactor."""
        self._reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Name ourselves in Twisted's log."""
        return "smtpsurvey dns"

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Part of IReadDescriptor; a datagram socket is never lost."""

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Take what is there."""
        receive = self._socket.recvfrom
        for _ in range(TURN):
            try:
                data, source = receive(READ)
            except BlockingIOError:
                return
            except OSError:  # what an ICMP error of an earlier query left behind
                continue
            try:
                self._received(self, data, source[0], source[1])
            except Exception:
                logger.exception("DNS: a datagram of %s could not be dealt with", source[0])
