"""aiosmtpd in a thread of the test, on a free port of 127.0.0.1, for tests that need no namespace."""

from __future__ import annotations

import socket
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from aiosmtpd.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Iterator


class Sessions:
    """Keeps the name of each EHLO in ``names``."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's hook
        self, _server: object, session: Any, _envelope: object, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.names.append(hostname)
        return responses


@contextmanager
def smtp_server() -> Iterator[tuple[int, Sessions]]:
    """Run a server that greets as ``mx.test.example ESMTP Exim 4.98``; give its port and its sessions."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    sessions = Sessions()
    greeting = "ESMTP Exim 4.98 Tue, 24 Nov 2026 10:00:00 +0000"
    controller = Controller(
        sessions, hostname="127.0.0.1", port=port, ident=greeting, server_hostname="mx.test.example"
    )
    controller.start()
    try:
        yield port, sessions
    finally:
        controller.stop()
