"""What is asked over TCP: so many at a time, the others in turn, and nothing is left behind."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import dns.message
import pytest
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from smtpsurvey.dns.lookup import Lookup
from smtpsurvey.dns.query import question
from smtpsurvey.dns.servers import Address, Server
from smtpsurvey.dns.tcp import AT_ONCE, TIMEOUT, Streams

if TYPE_CHECKING:
    from typing import Any


class Dialled:
    """Streams on a reactor of memory; ``ended`` has what came: look-up, whether the number is right, message."""

    def __init__(self, host: str = "192.0.2.1") -> None:
        self.reactor: Any = MemoryReactorClock()
        self.server = Server(Address(host, 53), 0, 0)
        self.ended: list[tuple[Lookup, bool, bytes | None]] = []
        self.streams = Streams(self.reactor, self._answered)

    def _answered(self, lookup: Lookup, server: Server, number: bytes, wire: bytes | None) -> None:
        assert server is self.server
        self.ended.append((lookup, wire is not None and wire[:2] == number, wire))

    def ask(self, count: int = 1) -> list[Lookup]:
        made = [Lookup(f"d{n}.example", "TXT", question(f"d{n}.example", "TXT"), 0) for n in range(count)]
        for lookup in made:
            self.streams.ask(lookup, self.server)
        return made

    def connected(self, number: int) -> tuple[Any, StringTransport]:
        """Let a connection stand; give its protocol and transport."""
        host, port, factory, *_ = self.reactor.tcpClients[number]
        assert (host, port) == self.server.address
        protocol, transport = factory.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport


def test_a_message_of_any_length_in_pieces() -> None:
    dialled = Dialled()
    (lookup,) = dialled.ask()
    protocol, transport = dialled.connected(0)
    (length,) = struct.unpack("!H", transport.value()[:2])
    assert length == len(transport.value()) - 2
    sent = dns.message.from_wire(transport.value()[2:])
    assert sent.question[0].to_text() == "d0.example. IN TXT"
    answer = sent.id.to_bytes(2, "big") + bytes(65533)
    data = struct.pack("!H", len(answer)) + answer
    for at in range(0, len(data), 4096):
        assert dialled.ended == []
        protocol.dataReceived(data[at : at + 4096])
    assert dialled.ended == [(lookup, True, answer)]
    assert transport.disconnected or transport.disconnecting
    assert dialled.server.in_flight == 0
    assert dialled.reactor.getDelayedCalls() == []


def test_no_more_at_once_than_are_good_and_the_others_in_turn() -> None:
    dialled = Dialled()
    lookups = dialled.ask(3 * AT_ONCE)
    for number, lookup in enumerate(lookups):
        assert len(dialled.reactor.tcpClients) == min(AT_ONCE + number, len(lookups))
        assert dialled.server.in_flight == min(AT_ONCE, len(lookups) - number)
        protocol, _ = dialled.connected(number)
        protocol.dataReceived(b"\0\2ab")
        assert dialled.ended[-1][0] is lookup
    assert dialled.server.in_flight == 0


def test_what_does_not_come_ends_too() -> None:
    dialled = Dialled()
    dialled.ask(3)
    dialled.reactor.tcpClients[0][2].clientConnectionFailed(None, Failure(Refused()))
    protocol, _ = dialled.connected(1)
    protocol.connectionLost(Failure(Refused()))
    silent, transport = dialled.connected(2)
    dialled.reactor.advance(TIMEOUT)
    assert [wire for _, _, wire in dialled.ended] == [None, None, None]
    assert transport.disconnected or transport.disconnecting
    silent.dataReceived(b"\0\2ab")
    assert len(dialled.ended) == 3
    assert dialled.server.in_flight == 0


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_what_is_dropped_is_never_heard_of_and_makes_room(host: str) -> None:
    dialled = Dialled(host)
    lookups = dialled.ask(AT_ONCE + 2)
    dialled.streams.forget(lookups[AT_ONCE])  # waits
    dialled.streams.forget(lookups[0])
    assert len(dialled.reactor.tcpClients) == AT_ONCE + 1
    assert dialled.server.in_flight == AT_ONCE
    assert set(dialled.streams.close()) == {*lookups[1:AT_ONCE], lookups[-1]}
    assert dialled.ended == []
    assert dialled.server.in_flight == 0
    assert dialled.reactor.getDelayedCalls() == []
