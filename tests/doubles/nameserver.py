"""A resolver between a still reactor and name servers on loopback sockets that the test plays."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from doubles.clock import LONG, StillReactor
from scrapy.statscollectors import StatsCollector
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from smtpsurvey.dns.lookup import Options
from smtpsurvey.dns.resolver import Resolver
from smtpsurvey.dns.servers import Address

if TYPE_CHECKING:
    from smtpsurvey.dns.answer import Answer


class Dialling(StillReactor):
    """Keeps the factories of TCP connections that were begun."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[Any] = []

    def connectTCP(self, _host: str, _port: int, factory: Any, **_: Any) -> None:  # noqa: N802 - Twisted's name
        self.dialled.append(factory)

    def refuse(self) -> None:
        """Let all of them fail."""
        while self.dialled:
            self.dialled.pop(0).clientConnectionFailed(None, Failure(ConnectionLost()))

    def connected(self) -> tuple[Any, StringTransport]:
        """Let the first of them stand; give its protocol and transport."""
        protocol, transport = self.dialled.pop(0).buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport


class Nameserver:
    """A UDP socket on which the test reads queries and answers them as it likes."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(LONG)
        self.address = Address(host, self.socket.getsockname()[1])

    def query(self) -> tuple[dns.message.Message, tuple[str, int]]:
        wire, source = self.socket.recvfrom(4096)
        return dns.message.from_wire(wire), source

    def waiting(self) -> bool:
        """Tell whether a query is there."""
        self.socket.settimeout(0)
        try:
            self.socket.recvfrom(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.socket.settimeout(LONG)
        return True

    def answer(self, *records: str, rcode: str = "NOERROR", flags: int = 0) -> str:
        """Answer the next query; give its name and type."""
        query, source = self.query()
        self.socket.sendto(respond(query, *records, rcode=rcode, flags=flags), source)
        return f"{query.question[0].name} {dns.rdatatype.to_text(query.question[0].rdtype)}"


def respond(query: dns.message.Message, *records: str, rcode: str = "NOERROR", flags: int = 0) -> bytes:
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(dns.rcode.from_text(rcode))
    response.flags |= flags
    for record in records:
        kind, _, value = record.partition(" ")
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", kind, value))
    return response.to_wire(max_size=65535)


class Setting:
    """A resolver, its reactor, and the servers that it knows."""

    def __init__(self, servers: int, **options: object) -> None:
        self.reactor = Dialling()
        self.servers = [Nameserver() for _ in range(servers)]
        self.stats = _Stats()
        settings = Options(**{"rate": 0, "timeouts": (2, 3, 4)} | options)  # type: ignore[arg-type]  # given by name
        addresses = [server.address for server in self.servers]
        self.resolver = Resolver(self.reactor, addresses, settings, self.stats)  # type: ignore[arg-type]

    def start(self, *, answering: int | None = None) -> None:
        """Start, and answer the probes of all servers, or of the first ones."""
        self.started: list[object] = []
        self.resolver.start().addBoth(self.started.append)
        for server in self.servers[:answering]:
            assert server.answer(rcode="REFUSED") == ". NS"
        self.reactor.run_until(lambda: self.started)

    def ask(self, name: str = "example.org", kind: str = "MX") -> list[Answer]:
        found: list[Answer] = []
        self.resolver.resolve(name, kind).addCallback(found.append)
        return found

    def end(self, found: list[Answer]) -> Answer:
        self.reactor.run_until(lambda: found)
        return found[0]

    def stat(self, name: str) -> object:
        self.resolver.stop()
        return self.stats.get_value(f"smtpsurvey/dns/{name}")


class _Stats(StatsCollector):
    def __init__(self) -> None:
        self._stats: dict[str, object] = {}


Make = Callable[..., Setting]


@contextmanager
def resolvers() -> Iterator[Make]:
    """Give what makes a resolver with so many servers and options; in the end nothing of them may be left."""
    made: list[Setting] = []

    def new(servers: int = 1, **options: object) -> Setting:
        made.append(Setting(servers, **options))
        return made[-1]

    yield new
    for each in made:
        each.resolver.stop()
        assert each.resolver.in_flight == 0
        assert each.reactor.getDelayedCalls() == []
        assert each.reactor.readers == []
        for server in each.servers:
            server.socket.close()
