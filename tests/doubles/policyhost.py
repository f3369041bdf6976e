"""An HTTPS server of the test that hosts the policies of many domains, each with a certificate of its own."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


LONG = 30.0  # seconds


class Hosted(NamedTuple):
    """What a host answers, and the file of its chain and key."""

    chain: Path
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = {"Content-Type": "text/plain"}
    cut: int | None = None  # bytes after which the connection ends


class PolicyServer(ThreadingHTTPServer):
    """``asked`` are host, path and User-Agent of each request; answers come while ``open`` is set."""

    def __init__(self, address: tuple[str, int], hosts: Mapping[str, Hosted]) -> None:
        self.hosts = hosts
        self.asked: list[tuple[str, str, str]] = []
        self.open = Event()
        self.open.set()
        self._more = Condition()
        self._contexts = {name: _context(hosted.chain) for name, hosted in hosts.items()}
        self._first = _context(next(iter(hosts.values())).chain)
        self._first.sni_callback = self._choose
        super().__init__(address, _Handler)

    def note(self, asked: tuple[str, str, str]) -> None:
        with self._more:
            self.asked.append(asked)
            self._more.notify_all()

    def wait_until_asked(self) -> None:
        """Wait for the first request."""
        with self._more:
            assert self._more.wait_for(lambda: self.asked, LONG)

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            secure = self._first.wrap_socket(request, server_side=True)
        except (ssl.SSLError, ConnectionError):
            return
        super().finish_request(secure, client_address)
        secure.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go when they like."""

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name in self._contexts:
            connection.context = self._contexts[name]


class _Handler(BaseHTTPRequestHandler):
    server: PolicyServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host = self.headers["Host"]
        self.server.note((host, self.path, self.headers["User-Agent"]))
        assert self.server.open.wait(LONG)
        hosted = self.server.hosts[host]
        self.send_response(hosted.status)
        for name, value in hosted.headers.items():
            self.send_header(name, value)
        if "Transfer-Encoding" in hosted.headers:
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(hosted.body), hosted.body))
        else:
            self.send_header("Content-Length", str(len(hosted.body)))
            self.end_headers()
            self.wfile.write(hosted.body[: hosted.cut])
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


def _context(chain: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


@contextmanager
def policy_server(address: tuple[str, int], hosts: Mapping[str, Hosted]) -> Iterator[PolicyServer]:
    """Serve until the end of the block."""
    with PolicyServer(address, hosts) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
