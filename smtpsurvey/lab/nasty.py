"""Sessions of servers that do what no RFC says, and real ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsurvey.lab.session import Session, TlsLayer

if TYPE_CHECKING:
    import asyncio

TEASER = b"220-%b ESMTP, please wait\r\n"
TEASER_PAUSE = 1.2
ENDLESS_PAUSE = 0.5
DRIP_PAUSE = 0.05
ENDLESS_LINES = 20_000
# A fatal internal_error alert (RFC 8446 section 6), in a TLS 1.2 record.
ALERT = bytes.fromhex("15 03 03 00 02 02 50")
NOT_TLS = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
STRAY = b"250 2.0.0 Queued as 4XyZ\r\n"


class Silent(Session):
    """Accepts, and says nothing."""

    def greet(self) -> None:
        """Say nothing."""


class Closes(Session):
    """Accepts, and closes."""

    def greet(self) -> None:
        """Close."""
        self.finish()


class Resets(Session):
    """Accepts, and resets at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Reset."""
        super().connection_made(transport)
        self.reset()


class Farewell(Session):
    """Greets (with 421, with 554), and closes without waiting for QUIT."""

    def greet(self) -> None:
        """Greet and close."""
        super().greet()
        self.finish()


class Teaser(Session):
    """Two lines of the greeting now, the rest a good second later; postscreen and others catch early talkers so."""

    def greet(self) -> None:
        """Send the teaser."""
        lines = self.host.wire.greeting.splitlines(keepends=True)
        self.write(b"".join(lines[:2]))
        self.loop.call_later(TEASER_PAUSE, self._rest, b"".join(lines[2:]))

    def _rest(self, lines: bytes) -> None:
        self.write(lines)
        self.greeted = True


class EndlessTeaser(Session):
    """A line of the greeting every half second, and never the last."""

    def greet(self) -> None:
        """Send one line more."""
        if not self.transport.is_closing():
            self.write(TEASER % self.host.name_on_wire)
            self.loop.call_later(ENDLESS_PAUSE, self.greet)


class Drip(Session):
    """A whole greeting, a byte at a time."""

    def greet(self) -> None:
        """Send the first byte, and the others after it."""
        self._drip(0)

    def _drip(self, position: int) -> None:
        greeting = self.host.wire.greeting
        self.write(greeting[position : position + 1])
        if position + 1 == len(greeting):
            self.greeted = True
        elif not self.transport.is_closing():
            self.loop.call_later(DRIP_PAUSE, self._drip, position + 1)


class EndlessLines(Session):
    """Lines of a greeting as fast as they are read, some megabyte of them."""

    def greet(self) -> None:
        """Write until the visitor's window is full."""
        self._left, self._paused = ENDLESS_LINES, False
        self._pour()

    def _pour(self) -> None:
        line = b"220-%b is a very busy server, have a line\r\n" % self.host.name_on_wire
        while self._left and not self._paused and not self.transport.is_closing():
            self.write(line)
            self._left -= 1

    def pause_writing(self) -> None:
        """Wait for the visitor."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._pour()


class EhloRefused(Session):
    """Knows HELO only."""

    def on_ehlo(self) -> None:
        """Refuse."""
        self.write(b"500 Command unrecognized\r\n")


class EhloCloses(Session):
    """Closes when it hears EHLO."""

    def on_ehlo(self) -> None:
        """Close."""
        self.finish()


class EhloResets(Session):
    """Resets when it hears EHLO."""

    def on_ehlo(self) -> None:
        """Reset."""
        self.reset()


class EhloGarbage(Session):
    """Answers EHLO with something that is no reply."""

    def on_ehlo(self) -> None:
        """Answer."""
        self.write(b"Segmentation fault (core dumped)\r\n")


class StarttlsRefused(Session):
    """Offers STARTTLS and then has no certificate."""

    def on_starttls(self) -> None:
        """Refuse for now."""
        self.write(b"454 4.7.0 TLS not available due to local problem\r\n")


class StarttlsCloses(Session):
    """Says 220 to STARTTLS, and closes."""

    def on_starttls(self) -> None:
        """Agree and close."""
        self.write(self.host.wire.starttls)
        self.finish()


class _HelloThen(Session):
    """Says 220 to STARTTLS, waits for the client's hello, answers it with ``ANSWER`` and closes."""

    ANSWER = b""

    def decrypt(self, tls: TlsLayer, data: bytes) -> bytes:  # noqa: ARG002 - overrides the real thing
        """Answer the hello."""
        self.write_raw(self.ANSWER)
        self.finish()
        return b""


class TlsGarbage(_HelloThen):
    """Answers the client's hello in HTTP."""

    ANSWER = NOT_TLS


class TlsAlert(_HelloThen):
    """Answers the client's hello with a fatal alert."""

    ANSWER = ALERT


class TlsStalls(Session):
    """Never answers the client's hello."""

    def decrypt(self, tls: TlsLayer, data: bytes) -> bytes:  # noqa: ARG002 - overrides the real thing
        """Say nothing."""
        return b""


class StrayPlaintext(Session):
    """Says more than 220 to STARTTLS, in plain text, and then goes on as it should."""

    def on_starttls(self) -> None:
        """Agree, and let slip a reply that belongs elsewhere."""
        self.write(self.host.wire.starttls + STRAY)
        self.begin_tls()


class TlsEhloCloses(Session):
    """Closes when it hears EHLO inside TLS."""

    def on_ehlo(self) -> None:
        """Answer in plain text, close in TLS."""
        if self.tls is None:
            super().on_ehlo()
        else:
            self.finish()


class QuitCloses(Session):
    """Closes on QUIT without a 221."""

    def on_quit(self) -> None:
        """Close."""
        self.finish()


class QuitHangs(Session):
    """Never answers QUIT, never closes."""

    def on_quit(self) -> None:
        """Say nothing."""
