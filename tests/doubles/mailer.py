"""A small mail server in threads of the test: greets, answers EHLO and QUIT, and counts who came."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from typing import TYPE_CHECKING, Self

from doubles.peer import WAIT, fresh_ip

if TYPE_CHECKING:
    from types import TracebackType


class _Session(socketserver.StreamRequestHandler):
    server: Mailer
    timeout = WAIT

    def handle(self) -> None:
        self.server.arrived(self.request.getsockname()[0])
        self.server.may_greet.wait(WAIT)
        with contextlib.suppress(OSError):
            self.wfile.write(self.server.greeting)
            while line := self.rfile.readline(1000):
                if line.startswith(b"QUIT"):
                    self.wfile.write(b"221 Bye\r\n")
                    break
                self.wfile.write(b"250-mx.test.example\r\n250 SIZE 1000\r\n")


class Mailer(socketserver.ThreadingTCPServer):
    """Listens on a port of every address of a loopback network; ``came`` are the addresses connected to."""

    request_queue_size = 1000
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, greeting: bytes = b"220 mx.test.example ESMTP Postfix\r\n", ip: str | None = None) -> None:
        self.greeting = greeting
        self.may_greet = threading.Event()
        self.may_greet.set()
        self.came: list[str] = []
        self._change = threading.Condition()
        super().__init__((ip or "0.0.0.0", 0), _Session)
        self.ip = ip or fresh_ip()
        self.port: int = self.socket.getsockname()[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def arrived(self, ip: str) -> None:
        with self._change:
            self.came.append(ip)
            self._change.notify_all()

    def wait_for(self, count: int) -> None:
        """Return when so many have come."""
        with self._change:
            assert self._change.wait_for(lambda: len(self.came) >= count, WAIT), self.came

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.may_greet.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
