"""Queries over TCP (RFC 7766), for answers that do not fit into a datagram."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver

from smtpsurvey.dns.query import query

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from twisted.python.failure import Failure

    from smtpsurvey.dns.lookup import Lookup
    from smtpsurvey.dns.servers import Address, Server

AT_ONCE = 64
"""Connections at most; whoever needs another one waits."""

TIMEOUT = 5.0  # seconds for connection and answer


class Streams:
    """Asks questions over TCP, one a connection.

    ``answered(lookup, server, number, message)`` is called for each, with ``None`` for a message where none came
    in time. Each counts as a query in flight to its server, and against its rate.
    """

    def __init__(self, reactor: Any, answered: Callable[[Lookup, Server, bytes, bytes | None], None]) -> None:
        """Open no connection yet."""
        self._reactor = reactor
        self._answered = answered
        self._waiting: dict[Lookup, Server] = {}
        self._open: dict[Lookup, tuple[Server, Deferred[bytes]]] = {}

    def ask(self, lookup: Lookup, server: Server) -> None:
        """Ask a server as soon as there is a connection to be had."""
        self._waiting[lookup] = server
        self._begin()

    def forget(self, lookup: Lookup) -> None:
        """Drop a question, if it is here."""
        self._waiting.pop(lookup, None)
        server, asking = self._open.pop(lookup, (None, None))
        if server is not None and asking is not None:
            server.in_flight -= 1
            asking.cancel()
            self._begin()

    def close(self) -> list[Lookup]:
        """Drop everything, and give what was dropped."""
        left = [*self._waiting, *self._open]
        self._waiting.clear()
        for lookup in left:
            self.forget(lookup)
        return left

    def _begin(self) -> None:
        while self._waiting and len(self._open) < AT_ONCE:
            lookup = next(iter(self._waiting))
            server = self._waiting.pop(lookup)
            number = os.urandom(2)
            message = query(number[0] << 8 | number[1], lookup.asked, edns=lookup.edns)
            asking = Deferred.fromCoroutine(_ask(self._reactor, server.address, message))
            server.sent()
            self._open[lookup] = server, asking
            asking.addTimeout(TIMEOUT, self._reactor)
            asking.addCallbacks(self._done, self._failed, (lookup, number), errbackArgs=(lookup, number))

    def _failed(self, _: Failure, lookup: Lookup, number: bytes) -> None:
        self._done(None, lookup, number)

    def _done(self, wire: bytes | None, lookup: Lookup, number: bytes) -> None:
        server, _ = self._open.pop(lookup, (None, None))
        if server is not None:  # else somebody dropped it
            server.in_flight -= 1
            self._answered(lookup, server, number, wire)
            self._begin()


class _Conversation(Int16StringReceiver):
    """Sends one message and waits for one, of 64 KiB at most."""

    def __init__(self, message: bytes, answer: Deferred[bytes]) -> None:
        self._message = message
        self._answer = answer

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self.sendString(self._message)  # type: ignore[no-untyped-call]  # Twisted has no hints there

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        if not self._answer.called:
            self._answer.callback(string)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        if not self._answer.called:
            self._answer.errback(reason)


async def _ask(reactor: Any, server: Address, message: bytes) -> bytes:
    kind = TCP6ClientEndpoint if ":" in server.host else TCP4ClientEndpoint
    answer: Deferred[bytes] = Deferred()
    factory: Any = Factory.forProtocol(lambda: _Conversation(message, answer))
    connected = await kind(reactor, server.host, server.port, timeout=TIMEOUT).connect(factory)
    try:
        return await answer
    finally:
        connected.transport.abortConnection()
