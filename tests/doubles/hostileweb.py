"""An HTTP server of the test that behaves as no server should; each path is a way of its own."""

from __future__ import annotations

import gzip
import socketserver
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GIGABYTE = 1 << 30
BLOCK = b"LOG x\n" * 10_000
BOMB = gzip.compress(b"LOG x\n" * 5_000_000)
ANSWERS = {
    "/bomb": (b"200 OK", (b"Content-Encoding: gzip", b"Content-Type: text/plain"), BOMB),
    "/noise": (b"200 OK", (b"Content-Type: text/plain",), b"\x00\xff\xfe\n" * 3 + b"LOG from noise\n"),
    "/loop": (b"302 Found", (b"Location: /loop",), b""),
    "/file": (b"302 Found", (b"Location: file:///etc/passwd",), b""),
    "/html": (b"200 OK", (b"Content-Type: Text/HTML; charset=utf-8",), b"LOG from html\n"),
    "/missing": (b"404 Not Found", (), b"LOG from 404\n"),
    "/busy": (b"503 Service Unavailable", (), b"LOG from 503\n"),
    "/good": (b"200 OK", (b"Content-Type: text/plain",), b"LOG good\nEND\nLOG never\n"),
}


class HostileWeb(socketserver.ThreadingTCPServer):
    """``asked`` are the paths; ``sent`` the bytes of the endless answer that went out."""

    daemon_threads = False

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sent = 0
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(socketserver.StreamRequestHandler):
    server: HostileWeb

    def handle(self) -> None:
        with suppress(OSError):
            path = self.rfile.readline(1000).split()[1].decode()
            while self.rfile.readline(1000).strip():
                pass
            self.server.asked.append(path)
            match path:
                case "/stall":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nL")
                    self.server.over.wait(30)
                case "/endless":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
                    while self.server.sent < GIGABYTE:
                        self.wfile.write(BLOCK)
                        self.server.sent += len(BLOCK)
                case "/announced":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIGABYTE)
                    self.server.over.wait(30)
                case "/garbage":
                    self.wfile.write(b"\x16\x03\x01\x00 SSH-2.0 \xff\r\n\r\n" * 100)
                case _:
                    status, headers, body = ANSWERS[path]
                    length = b"Content-Length: %d" % len(body)
                    head = b"\r\n".join((b"HTTP/1.1 " + status, *headers, length, b"Connection: close", b"", b""))
                    self.wfile.write(head + body)


@contextmanager
def hostile_web() -> Iterator[HostileWeb]:
    """Serve until the end of the block."""
    with HostileWeb() as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield web
        finally:
            web.over.set()
            web.shutdown()
            thread.join()
