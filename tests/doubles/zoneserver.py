"""A name server of the test on 127.0.0.1 that answers from a zone, aliases followed, as a resolver would."""

from __future__ import annotations

import socketserver
import threading
from typing import TYPE_CHECKING, Any, Self

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.zone

if TYPE_CHECKING:
    from types import TracebackType


LONG = 30.0  # seconds


class _Query(socketserver.BaseRequestHandler):
    server: ZoneServer

    def handle(self) -> None:
        data, sock = self.request
        query = dns.message.from_wire(data)
        (question,) = query.question
        self.server.note(f"{question.name} {dns.rdatatype.to_text(question.rdtype)}")
        sock.sendto(self.server.answer(query).to_wire(), self.client_address)


class ZoneServer(socketserver.UDPServer):
    """``asked`` are the questions, ``NAME. TYPE``; the root has NS records, for whoever probes servers."""

    def __init__(self, text: str, origin: str) -> None:
        self.asked: list[str] = []
        self._more = threading.Condition()
        self._zone = dns.zone.from_text(text, origin, relativize=False, check_origin=False)
        super().__init__(("127.0.0.1", 0), _Query)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def note(self, question: str) -> None:
        with self._more:
            self.asked.append(question)
            self._more.notify_all()

    def wait_until_asked(self, count: int) -> None:
        """Wait for so many questions."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.asked) >= count, LONG), f"{len(self.asked)} of {count}"

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        answer: Any = dns.message.make_response(query)
        (question,) = query.question
        name = question.name
        if name == dns.name.root:
            answer.answer.append(dns.rrset.from_text(".", 60, "IN", "NS", "ns.test.example."))
            return answer
        for _ in range(8):
            node = self._zone.get_node(name)
            if node is None:
                if not any(known.is_subdomain(name) for known in self._zone):
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                break
            found = self._zone.get_rrset(name, question.rdtype)
            if found is not None:
                answer.answer.append(found)
                break
            alias = self._zone.get_rrset(name, "CNAME")
            if alias is None:
                break
            answer.answer.append(alias)
            name = alias[0].target
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
