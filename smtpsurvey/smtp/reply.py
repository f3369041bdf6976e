r"""SMTP replies (RFC 5321 section 4.2) as real servers send them.

Accepted beside the standard: bare LF, a code with no text, a tab for the blank, codes that change
within a reply. A line that does not begin with three digits and a blank, a hyphen or its end is no
reply, and the reader says so at once.
"""

from __future__ import annotations

import re

import attrs

from smtpsurvey.outcomes import Trouble

# A whole reply: lines with a hyphen after the code, then one without. Possessive, so linear.
_REPLY = re.compile(rb"(?:[0-9]{3}-[^\n]*+\n)*+([0-9]{3})(?:[ \t\r][^\n]*+)?\n")
_MIDDLE = re.compile(rb"(?:[0-9]{3}-[^\n]*+\n)*+")
# What the beginning of a line can still become a reply from.
_BEGINNING = re.compile(rb"[0-9]{3}[- \t\r]|[0-9]{0,3}\Z")
_CODE = 4  # bytes of a line before its text: three digits and a separator
_MULTILINE = b"-"


def text_of(data: bytes) -> str:
    r"""Decode wire bytes for a feed: UTF-8 where it is, ``\xNN`` for every other byte."""
    return data.decode("utf-8", "backslashreplace")


@attrs.frozen
class Limits:
    """Bounds of a conversation: bytes a line (without its end), lines a reply, bytes in all."""

    line: int = 4096
    lines: int = 256
    bytes: int = 65536


@attrs.frozen(eq=False)
class Reply:
    r"""One reply.

    ``code`` is that of the last line (``None`` when the bytes were no complete reply); ``raw`` is
    what came, codes and line ends included; ``lines`` are the texts without codes and line ends.
    """

    code: int | None
    raw: bytes
    lines: tuple[bytes, ...]
    _text: str | None = attrs.field(default=None, init=False, repr=False)

    @property
    def text(self) -> str:
        r"""The lines joined with ``\n``, as in a feed; made once, since item and store both ask."""
        text = self._text
        if text is None:
            text = text_of(b"\n".join(self.lines))
            object.__setattr__(self, "_text", text)
        return text

    @property
    def mixed_codes(self) -> bool:
        """Whether the code changed within the reply."""
        return len({line[:3] for line in self.raw[:-1].split(b"\n")}) > 1


def complete(code: bytes, raw: bytes) -> Reply:
    """Make a :class:`Reply` of the bytes of a whole one, whose last line has ``code``."""
    if raw[3:4] != _MULTILINE:
        return Reply(int(code), raw, (raw[_CODE:].rstrip(b"\r\n"),))
    lines = raw[:-1].split(b"\n")
    return Reply(int(code), raw, tuple([line[_CODE:].rstrip(b"\r") for line in lines]))


def unfinished(raw: bytes) -> Reply:
    """Keep bytes that are no complete reply, as evidence: code ``None``, lines as they came."""
    return Reply(None, raw, tuple(raw.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")))


class NotAReplyError(Exception):
    """The bytes break a bound (``Trouble.OVERSIZE``) or are no SMTP (``Trouble.NOT_SMTP``)."""

    def __init__(self, trouble: Trouble) -> None:
        """Say which."""
        super().__init__(trouble)
        self.trouble = trouble


class ReplyReader:
    """Cuts the bytes of a connection into replies. A reply costs time linear in its length, however it is cut."""

    __slots__ = ("_buffer", "_limits", "_lines", "_passed", "_scanned")

    def __init__(self, limits: Limits) -> None:
        """Read within these bounds."""
        self._limits = limits
        self._buffer: bytes | bytearray = b""
        self._scanned = 0  # where the first line begins that is not known to be a middle line
        self._passed = 0  # lines before that
        self._lines = 0  # line ends after it

    def feed(self, data: bytes) -> None:
        """Take bytes as they come; :meth:`next_reply` gives the replies in them."""
        if not self._buffer:
            self._buffer = data
            self._lines = data.count(b"\n")
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        self._buffer += data
        self._lines += data.count(b"\n")

    def next_reply(self) -> Reply | None:
        """Give the next complete reply, or ``None`` until there is one.

        Raises :class:`NotAReplyError`; :meth:`rest` then has the bytes.
        """
        buffer = self._buffer
        if not buffer:
            return None
        if self._lines:
            match = _REPLY.match(buffer, self._scanned)
            if match is not None:
                return self._take(match.end(), match[1])
            self._scan()
        if not _BEGINNING.match(buffer, self._scanned):
            raise NotAReplyError(Trouble.NOT_SMTP)
        if len(buffer) - self._scanned > self._limits.line + 2:
            raise NotAReplyError(Trouble.OVERSIZE)
        return None

    def rest(self) -> bytes:
        """Give what was fed and not returned as a reply, and forget it."""
        rest = bytes(self._buffer)
        self._buffer, self._scanned, self._passed, self._lines = b"", 0, 0, 0
        return rest

    def _take(self, end: int, code: bytes) -> Reply:
        buffer, limits = self._buffer, self._limits
        raw = bytes(buffer) if end == len(buffer) else bytes(buffer[:end])
        if end > limits.lines or end > limits.line:  # shorter ones can break neither bound
            self._check(raw, raw.count(b"\n"))
        self._buffer, self._scanned, self._passed = buffer[end:], 0, 0
        self._lines = self._buffer.count(b"\n") if self._buffer else 0
        return complete(bytes(code), raw)

    def _scan(self) -> None:
        """Step over complete middle lines, so that they are looked at once."""
        middle = _MIDDLE.match(self._buffer, self._scanned)
        assert middle is not None  # noqa: S101 - the pattern matches the empty string
        passed = self._buffer[self._scanned : middle.end()]
        lines = passed.count(b"\n")
        self._scanned = middle.end()
        self._passed += lines
        self._lines -= lines
        self._check(passed, self._passed)
        if self._lines:  # a whole line that is none of a reply
            raise NotAReplyError(Trouble.NOT_SMTP)

    def _check(self, raw: bytes | bytearray, lines: int) -> None:
        if lines > self._limits.lines:
            raise NotAReplyError(Trouble.OVERSIZE)
        if len(raw) > self._limits.line:
            longest = max(map(len, raw.replace(b"\r\n", b"\n").split(b"\n")))
            if longest > self._limits.line:
                raise NotAReplyError(Trouble.OVERSIZE)
