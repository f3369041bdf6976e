"""Queries out, and the answers that belong to them in."""

from __future__ import annotations

import os
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING

from smtpsurvey.dns.lookup import Lookup
from smtpsurvey.dns.query import query
from smtpsurvey.dns.reader import is_answer
from smtpsurvey.dns.tcp import Streams
from smtpsurvey.dns.udp import UdpSocket
from smtpsurvey.probe.wheel import TimerWheel

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from twisted.internet.base import ReactorBase

    from smtpsurvey.dns.servers import Server

SOCKETS = 8  # of one family: who wants to forge an answer has to guess which, beside number and server
NUMBERS = 30_000  # questions in flight on a socket at most: of 65,536 numbers a free one is soon found
_TRUNCATED = 0x02  # in the third byte


class Transport:
    """Keeps what is in flight; ``counts`` has the queries, and the datagrams that belong to none.

    An answer counts only from the server that was asked, on the socket that it was asked from, with the number and
    the question that it was asked. ``answered(lookup, server, message)`` is called for it, with ``None`` for a
    message when TCP gave none.
    """

    def __init__(
        self, reactor: ReactorBase, answered: Callable[[Lookup, Server, bytes | None], None], counts: Counter[str]
    ) -> None:
        """Open no socket yet."""
        self._reactor = reactor
        self._answered = answered
        self._counts = counts
        self._sockets: dict[bool, list[UdpSocket]] = {}
        self._wheel = TimerWheel(reactor.seconds())
        self._streams = Streams(reactor, self._streamed)

    def send(self, lookup: Lookup, server: Server, timeout: float) -> None:
        """Ask a server; raises ``OSError``, of which ``BlockingIOError`` means that there is no room for it now."""
        socket = self._socket(":" in server.address.host)
        number = _free_number(socket)
        socket.send(query(number, lookup.asked, edns=lookup.edns), server.address)
        self._counts["queries"] += 1
        server.sent()
        lookup.server = lookup.last = server
        lookup.socket, lookup.number = socket, number
        lookup.tries += 1
        socket.pending[number] = lookup
        self._wheel.set(lookup, self._reactor.seconds() + timeout)

    def release(self, lookup: Lookup) -> Server | None:
        """Forget that a question is with a server, and give that server."""
        self._wheel.cancel(lookup)
        socket, server = lookup.socket, lookup.server
        if socket is None or server is None:
            return None
        del socket.pending[lookup.number]
        server.in_flight -= 1
        lookup.socket = lookup.server = None
        return server

    def late(self) -> Iterator[tuple[Lookup, Server | None]]:
        """Give the questions whose time is over, released, with the servers that owe the answers."""
        for lookup in self._wheel.advance(self._reactor.seconds()):
            assert isinstance(lookup, Lookup)  # noqa: S101 - nobody else sets timers here
            yield lookup, self.release(lookup)

    def close(self) -> list[Lookup]:
        """Close all sockets; give what was in flight."""
        sockets = [socket for family in self._sockets.values() for socket in family]
        left = [lookup for socket in sockets for lookup in socket.pending.values()]
        for lookup in left:
            self.release(lookup)
        for socket in sockets:
            socket.close()
        self._sockets.clear()
        return left + self._streams.close()

    def _socket(self, ipv6: bool) -> UdpSocket:  # noqa: FBT001 - the key of a table
        sockets = self._sockets.setdefault(ipv6, [])
        while len(sockets) < SOCKETS:
            sockets.append(UdpSocket(self._reactor, AF_INET6 if ipv6 else AF_INET, self._received))
        first = os.urandom(1)[0]
        for step in range(SOCKETS):
            socket = sockets[(first + step) % SOCKETS]
            if len(socket.pending) < NUMBERS:
                return socket
        raise BlockingIOError

    def _received(self, socket: UdpSocket, wire: bytes, host: str, port: int) -> None:
        lookup = socket.pending.get(wire[0] << 8 | wire[1]) if len(wire) > 1 else None
        if lookup is None or (host, port) != lookup.server.address or not is_answer(wire, lookup.asked):
            self._counts["strays"] += 1
            return
        server = lookup.server
        self.release(lookup)
        if wire[2] & _TRUNCATED:
            server.answered()
            self._counts["tcp"] += 1
            self._streams.ask(lookup, server)
        else:
            self._answered(lookup, server, wire)

    def _streamed(self, lookup: Lookup, server: Server, number: bytes, wire: bytes | None) -> None:
        if wire is not None and not (wire[:2] == number and is_answer(wire, lookup.asked)):
            self._counts["strays"] += 1
            wire = None
        self._answered(lookup, server, wire)

    def forget(self, lookup: Lookup) -> None:
        """Drop a question that nobody waits for any more."""
        self.release(lookup)
        self._streams.forget(lookup)


def _free_number(socket: UdpSocket) -> int:
    """Draw a number that no question on this socket has; nobody can guess it."""
    while True:
        drawn = os.urandom(2)
        number = drawn[0] << 8 | drawn[1]
        if number not in socket.pending:
            return number
