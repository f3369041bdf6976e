"""One conversation of a polite mail server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import TYPE_CHECKING, ClassVar, cast

import attrs

if TYPE_CHECKING:
    from smtpsurvey.lab.hosts import Host

MAX_COMMAND = 4096


@attrs.define(eq=False)
class Tally:
    """What the lab saw of its visitors.

    ``early`` counts sessions that spoke before the final line of the greeting, ``uninvited`` the
    commands that a survey has no business to send.
    """

    sessions: int = 0
    early: int = 0
    uninvited: int = 0
    handshakes: int = 0
    open: dict[Session, float] = attrs.field(factory=dict)

    def summary(self) -> str:
        """Say it in one line."""
        return (
            f"lab: {self.sessions} sessions, {self.handshakes} TLS handshakes, {self.early} spoke too early, "
            f"{self.uninvited} commands beside EHLO, HELO, STARTTLS and QUIT"
        )


class TlsLayer:
    """TLS over memory BIOs, so that sessions decide what goes on the wire and when."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Wait for the client's hello."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the wire, give what was said in them. Raises ``ssl.SSLError``."""
        self._incoming.write(data)
        plain = b""
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while chunk := self._object.read(MAX_COMMAND):
                plain += chunk
        except ssl.SSLWantReadError:
            pass
        return plain

    def encrypt(self, data: bytes) -> bytes:
        """Give the bytes of the wire that say ``data``."""
        self._object.write(data)
        return self._outgoing.read()

    def pending(self) -> bytes:
        """Give what the layer itself has to say: handshake, tickets, alerts."""
        return self._outgoing.read()

    def close(self) -> bytes:
        """Give the closing alert."""
        with contextlib.suppress(ssl.SSLError):  # it waits for the client's own; we do not
            self._object.unwrap()
        return self._outgoing.read()


class Session(asyncio.Protocol):
    """A polite server; the nasty ones (``nasty.py``) override what they do differently."""

    _COMMANDS: ClassVar[dict[bytes, str]] = {
        b"EHLO": "on_ehlo",
        b"HELO": "on_helo",
        b"STARTTLS": "on_starttls",
        b"QUIT": "on_quit",
    }

    def __init__(self, host: Host, tally: Tally) -> None:
        """Serve one connection to ``host``."""
        self.host = host
        self.tally = tally
        self.greeted = False
        self.tls: TlsLayer | None = None
        self.argument = b""
        self._buffer = b""
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, after the time this host takes."""
        self.transport = cast("asyncio.Transport", transport)
        self.loop = asyncio.get_running_loop()
        self.tally.sessions += 1
        self.tally.open[self] = self.loop.time()
        self.loop.call_later(self.host.delay, self.greet)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        """Forget the session."""
        self.tally.open.pop(self, None)

    def data_received(self, data: bytes) -> None:
        """Read commands, of plain text or in TLS."""
        if not self.greeted:
            self.tally.early += 1
            self.greeted = True
        if self._finished:
            return
        if self.tls is not None:
            data = self.decrypt(self.tls, data)
        self._buffer += data
        if len(self._buffer) > MAX_COMMAND:
            self.transport.abort()
            return
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            self.command(line.strip())

    def decrypt(self, tls: TlsLayer, data: bytes) -> bytes:
        """Take TLS bytes, answer for the layer, give what was said in them."""
        established = tls.established
        try:
            plain = tls.receive(data)
        except ssl.SSLError:
            self.write_raw(tls.pending())
            self.transport.close()
            return b""
        self.tally.handshakes += tls.established and not established
        self.write_raw(tls.pending())
        return plain

    def command(self, line: bytes) -> None:
        """Answer one command."""
        verb, _, self.argument = line.partition(b" ")
        name = self._COMMANDS.get(verb.upper())
        if name is None:
            self.tally.uninvited += 1
            self.write(self.host.wire.unknown)
        else:
            getattr(self, name)()

    # What a session says, in the order it is said.

    def greet(self) -> None:
        """Send the greeting."""
        self.write(self.host.wire.greeting)
        self.greeted = True

    def on_ehlo(self) -> None:
        """Name ourselves and our extensions."""
        wire = self.host.wire
        self.write(self.personal(wire.ehlo if self.tls is None else wire.ehlo_tls))

    def on_helo(self) -> None:
        """Name ourselves."""
        self.write(self.personal(self.host.wire.helo))

    def personal(self, reply: bytes) -> bytes:
        """Fill in the visitor's name and address."""
        if b"{" not in reply:
            return reply
        peer = self.transport.get_extra_info("peername")[0].encode()
        return reply.replace(b"{client}", self.argument[:255]).replace(b"{client_ip}", peer)

    def on_starttls(self) -> None:
        """Begin TLS, where it is offered."""
        if self.host.context is None or self.tls is not None:
            self.tally.uninvited += 1
            self.write(self.host.wire.unknown)
            return
        self.write(self.host.wire.starttls)
        self.begin_tls()

    def begin_tls(self) -> None:
        """Everything from here is TLS; what was said before it is forgotten (RFC 3207 section 4.2)."""
        self._buffer = b""
        self.tls = TlsLayer(cast("ssl.SSLContext", self.host.context))

    def on_quit(self) -> None:
        """Say goodbye and close."""
        self.write(self.host.wire.quit)
        if self.tls is not None:
            self.write_raw(self.tls.close())
        self.transport.close()

    def write(self, data: bytes) -> None:
        """Say something, in TLS where it has begun."""
        self.write_raw(data if self.tls is None else self.tls.encrypt(data))

    def write_raw(self, data: bytes) -> None:
        """Put bytes on the wire, unless the visitor has gone."""
        if data and not self._finished and not self.transport.is_closing():
            self.transport.write(data)

    def finish(self) -> None:
        """End our half. The visitor's commands are still read, so that it sees an end and never a reset."""
        self._finished = True
        if not self.transport.is_closing():
            self.transport.write_eof()

    def reset(self) -> None:
        """End the connection with an RST."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
