"""The other end of a connection, played by the test itself: it listens, accepts and says what the test has it say."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
from typing import TYPE_CHECKING, Self

from smtpsurvey.items import Target

if TYPE_CHECKING:
    from types import TracebackType

WAIT = 10.0  # seconds for what the other side is about to do
NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends RST
_hosts = itertools.count(os.getpid() % 200 * 200)


def fresh_ip() -> str:
    """Give a loopback address that no other test of this process uses."""
    number = next(_hosts)
    return f"127.77.{number // 200 % 250}.{number % 200 + 1}"


class Peer:
    """A listening socket on an address of its own."""

    def __init__(self, ip: str | None = None, backlog: int = 50, receive_buffer: int | None = None) -> None:
        self.ip = ip or fresh_ip()
        self._listener = socket.socket(socket.AF_INET6 if ":" in self.ip else socket.AF_INET)
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((self.ip, 0))
        self._listener.listen(backlog)
        self._listener.settimeout(WAIT)
        self.port: int = self._listener.getsockname()[1]
        self._accepted: list[socket.socket] = []

    def target(self, **more: str) -> Target:
        return Target(self.ip, self.port, **more)

    def accept(self) -> socket.socket:
        connection, _ = self._listener.accept()
        connection.settimeout(WAIT)
        self._accepted.append(connection)
        return connection

    def waiting(self) -> bool:
        """Tell whether somebody waits to be accepted."""
        self._listener.settimeout(0)
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        finally:
            self._listener.settimeout(WAIT)
        self._accepted.append(connection)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._accepted:
            with contextlib.suppress(OSError):
                connection.close()
        self._listener.close()


def reset(connection: socket.socket) -> None:
    """End a connection with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    connection.close()


def closed_port(ip: str) -> int:
    """Give a port of an address where nobody listens."""
    with socket.socket() as once:
        once.bind((ip, 0))
        port: int = once.getsockname()[1]
    return port
