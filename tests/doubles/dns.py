"""A name server of the test on 127.0.0.1: a table of A records, or no answers at all."""

from __future__ import annotations

import socketserver
import threading
from typing import TYPE_CHECKING, Any, Self

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from types import TracebackType


class _Query(socketserver.BaseRequestHandler):
    server: NameServer

    def handle(self) -> None:
        data, sock = self.request
        query = dns.message.from_wire(data)
        (question,) = query.question
        name = question.name.to_text()
        self.server.asked.append(name)
        if self.server.records is None:
            return
        answer: Any = dns.message.make_response(query)
        if name not in self.server.records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", *self.server.records[name]))
        sock.sendto(answer.to_wire(), self.client_address)


class NameServer(socketserver.UDPServer):
    """``asked`` are the names it was asked for; with ``None`` for records it never answers."""

    def __init__(self, records: dict[str, list[str]] | None) -> None:
        self.records = records
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Query)
        self.port: int = self.socket.getsockname()[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
