"""A small SMTP server that writes down what it was sent; run as a program of its own.

It answers on every address of its namespace, IPv4 and IPv6. After each session it appends one line of JSON to
``--record``: ``{"address": where the client connected to, "commands": [...], "tls_commands": [...]}``. Tests look for
its readiness at ``READY``, so :func:`sessions` leaves that address out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import socketserver
import ssl
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.daemon import Daemon

if TYPE_CHECKING:
    from servers.certificate import ServerCertificate
    from servers.namespace import Namespace

EHLO = b"250-mx.test.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n"
REPLIES = {b"MAIL": b"250 Ok\r\n", b"RCPT": b"250 Ok\r\n", b"DATA": b"354 Go on\r\n"}
SESSION_TIME = 30.0
READY = "127.0.0.1"


class Session(socketserver.StreamRequestHandler):
    """One connection: greeting, replies, STARTTLS when there is a certificate."""

    server: Responder
    timeout = SESSION_TIME

    def handle(self) -> None:
        commands: list[str] = []
        tls_commands: list[str] = []
        try:
            threading.Event().wait(self.server.delay)
            self.wfile.write(b"220 mx.test.example ESMTP\r\n")
            if self._converse(commands, offer_tls=self.server.tls is not None):
                self._start_tls()
                self._converse(tls_commands, offer_tls=False)
        finally:
            address = self.request.getsockname()[0].removeprefix("::ffff:")
            self.server.write_down({"address": address, "commands": commands, "tls_commands": tls_commands})
        self.wfile.write(b"221 Bye\r\n")  # so that a client with its goodbye is on record

    def _converse(self, commands: list[str], *, offer_tls: bool) -> bool:
        """Answer until the client leaves; true when it is time for the handshake."""
        while line := self.rfile.readline(4096):
            commands.append(line.decode("latin-1"))
            verb = line[:4].upper()
            if verb == b"QUIT":
                break
            if verb == b"EHLO":
                self.wfile.write(EHLO + (b"250-STARTTLS\r\n" if offer_tls else b"") + b"250 8BITMIME\r\n")
            elif verb == b"STAR" and offer_tls:
                self.wfile.write(b"220 Ready\r\n")
                return True
            else:
                self.wfile.write(REPLIES.get(verb, b"250 Ok\r\n"))
        return False

    def _start_tls(self) -> None:
        assert self.server.tls is not None
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.setup()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.request.close()


class Responder(socketserver.ThreadingTCPServer):
    """The listener: IPv6 and IPv4 on one socket."""

    address_family = socket.AF_INET6
    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, port: int, delay: float, tls: ssl.SSLContext | None, record: Path | None) -> None:
        self.delay = delay
        self.tls = tls
        self.record = record
        self._writing = threading.Lock()
        super().__init__(("::", port), Session)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def write_down(self, session: dict[str, object]) -> None:
        if self.record is not None:
            with self._writing, self.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(session) + "\n")

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


def start_responder(
    namespace: Namespace,
    folder: Path,
    *,
    port: int = 25,
    delay: float = 0,
    tls: ServerCertificate | None = None,
) -> Daemon:
    """Start one and wait for it; its sessions go to ``folder/responder-PORT.jsonl``."""
    (folder / f"responder-{port}.jsonl").touch()
    argv: list[str | Path] = [
        "env",
        f"PYTHONPATH={Path(__file__).parents[1]}",
        sys.executable,
        "-m",
        "servers.responder",
    ]
    argv += [str(port), "--delay", str(delay), "--record", folder / f"responder-{port}.jsonl"]
    if tls is not None:
        argv += ["--certificate", tls.certificate, "--key", tls.key]
    daemon = Daemon(namespace, argv, folder / f"responder-{port}.log")
    daemon.wait_until_listening(READY, port)
    return daemon


def sessions(folder: Path, port: int = 25) -> list[dict[str, Any]]:
    """Return the sessions that the responder of ``folder`` had so far, in the order they ended."""
    lines = (folder / f"responder-{port}.jsonl").read_text("utf-8").splitlines()
    return [session for session in map(json.loads, lines) if session["address"] != READY]


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0, help="seconds before the greeting")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    options = parser.parse_args()
    tls = None
    if options.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate, options.key)
    with Responder(options.port, options.delay, tls, options.record) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
