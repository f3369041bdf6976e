"""One query over TCP (RFC 7766), for answers that do not fit into a datagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver

if TYPE_CHECKING:
    from typing import Any

    from twisted.python.failure import Failure

    from smtpsurvey.dns.servers import Address

TIMEOUT = 5.0  # seconds for connection and answer


class _Conversation(Int16StringReceiver):
    """Sends one message and waits for one."""

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


def ask(reactor: Any, server: Address, message: bytes) -> Deferred[bytes]:
    """Send a message and give the answer, 64 KiB at most; its failure says that there is none in time."""
    kind = TCP6ClientEndpoint if ":" in server.host else TCP4ClientEndpoint
    endpoint = kind(reactor, server.host, server.port, timeout=TIMEOUT)
    return Deferred.fromCoroutine(_ask(endpoint, message)).addTimeout(TIMEOUT, reactor)


async def _ask(endpoint: Any, message: bytes) -> bytes:
    answer: Deferred[bytes] = Deferred()
    factory: Any = Factory.forProtocol(lambda: _Conversation(message, answer))
    connected = await endpoint.connect(factory)
    try:
        return await answer
    finally:
        connected.transport.abortConnection()
