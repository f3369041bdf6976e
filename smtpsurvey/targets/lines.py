"""The lines of a target list: ``address[,name[,tag[,port]]]``, or ZMap's CSV."""

from __future__ import annotations

import csv
import re
from socket import AF_INET, inet_pton
from typing import TYPE_CHECKING

import attrs

from smtpsurvey.items import Target
from smtpsurvey.targets.address import BadTargetError, Span, read_number, read_span, shown
from smtpsurvey.targets.names import host_name
from smtpsurvey.targets.source import TargetsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_LINE = 4096
"""Bytes of a line at most, without its end."""

MAX_TAG = 255
"""Bytes of a tag at most, in UTF-8."""

COLUMNS = 4
_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")


@attrs.frozen
class HostName:
    """A target given by host name, for the caller to look up.

    ``label`` is the name column beside it, if any: what its targets are called instead of ``name``.
    All its addresses share one ``position``.
    """

    name: str
    tag: str | None
    port: int
    line: int
    position: int
    source: str | None = None
    label: str | None = None

    def target(self, ip: str) -> Target:
        """Return the target for one of its addresses."""
        return Target(ip, self.port, self.label or self.name, self.tag, self.source, self.position)


class TargetLines:
    """Reads a target list from blocks of bytes; memory does not grow with lines, CIDRs or the list.

    ``lines`` counts the lines read, ``bad`` those that were no target, ``targets`` the positions
    given out: one for each address and each host name, from 0.
    """

    def __init__(self, path: str, source: str | None, port: int, on_bad: Callable[[int, str], object]) -> None:
        """Read the list at ``path`` (for messages); ``source`` and ``port`` are for targets without their own.

        ``on_bad`` is called with line number (from 1) and reason for each bad line, and may raise
        :class:`TargetsError` to stop there.
        """
        self.lines = self.bad = self.targets = 0
        self._path = path
        self._source = source
        self._port = port
        self._on_bad = on_bad
        self._header: str | None = None  # known from the first line with content; "" is none
        self._saddr, self._sport = 0, -1  # the columns of a list with header; -1: not there
        self._bare = False  # the header is known, and a line may be an address and nothing else
        self._rest = b""  # a line whose end has not come yet
        self._dropping = False  # the rest of a line too long

    def feed(self, block: bytes) -> Iterator[Target | HostName]:
        """Yield lazily what the lines that end in ``block`` stand for; exhaust it before the next feed.

        Raises :class:`TargetsError` for a line over 4,096 bytes before any target.
        """
        if self._dropping:
            start = block.find(b"\n") + 1
            if not start:
                return
            block, self._dropping = block[start:], False
        end = block.rfind(b"\n") + 1
        if end:
            complete, self._rest = self._rest + block[: end - 1], block[end:]
            yield from self._read(complete)
        else:
            self._rest += block
        if len(self._rest.removesuffix(b"\r")) > MAX_LINE:
            self._rest, self._dropping = b"", True
            self.lines += 1
            self._refuse_long()

    def finish(self) -> Iterator[Target | HostName]:
        """Yield what a last line without an end stands for."""
        last, self._rest = self._rest.removesuffix(b"\r"), b""
        if last:
            yield from self._read(last)

    def _read(self, complete: bytes) -> Iterator[Target | HostName]:
        """Yield the targets of complete lines; a bare IPv4 address, the common line, costs no call of ours."""
        # Latin-1 cannot fail, and a character is a byte; what is not ASCII is decoded where it matters.
        text = complete.decode("latin-1")
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r")
        source, port = self._source, self._port
        for number, line in enumerate(text.split("\n"), self.lines + 1):
            self.lines = number
            try:
                inet_pton(AF_INET, line)  # accepts the canonical text and nothing else
            except (OSError, ValueError):  # ValueError: a NUL
                yield from self._other(line)
                continue
            if self._bare:
                position = self.targets
                self.targets = position + 1
                yield Target(line, port, None, None, source, position)
            else:
                yield from self._other(line)

    def _other(self, line: str) -> Iterable[Target | HostName]:
        """Return what any other line stands for: nothing, one host name, targets."""
        if len(line) > MAX_LINE:
            self._refuse_long()
            return ()
        try:
            columns = self._split(line)
            return self._targets(columns) if columns else ()
        except BadTargetError as bad:
            self._refuse(str(bad))
            return ()

    def _split(self, line: str) -> list[str] | None:
        """Return the columns of a line, ``None`` for one without content and for headers."""
        text = _decoded(line.partition("#")[0], first=self.lines == 1)
        if not text or text == self._header:  # ZMap files put together repeat their header
            return None
        if '"' in text:
            try:
                fields = next(csv.reader([text], strict=True))
            except csv.Error as error:
                raise BadTargetError(f"{shown(text)} is no CSV ({error})") from None
        else:
            fields = text.split(",")
        fields = [field.strip() for field in fields]
        if self._header is None:
            self._header = text if "saddr" in fields else ""
            if self._header:
                self._saddr, self._sport = fields.index("saddr"), fields.index("sport") if "sport" in fields else -1
            self._bare = self._saddr == 0
        return None if text == self._header else fields

    def _columns(self, fields: list[str]) -> list[str]:
        """Return address, name, tag and port, ``""`` for what is not there."""
        if self._header:
            address, port = (fields[at] if 0 <= at < len(fields) else "" for at in (self._saddr, self._sport))
            return [address, "", "", port]
        if len(fields) > COLUMNS:
            raise BadTargetError(f"{len(fields)} columns where there are at most {COLUMNS}: address,name,tag,port")
        return fields + [""] * (COLUMNS - len(fields))

    def _targets(self, fields: list[str]) -> Iterable[Target | HostName]:
        address, name, tag, port = self._columns(fields)
        tcp_port = read_number(port, 1, 65535, "port") if port else self._port
        if len(tag.encode()) > MAX_TAG or _CONTROL.search(tag):
            raise BadTargetError(f"tag {shown(tag)} is over {MAX_TAG} bytes or has control characters")
        label = host_name(name) if name else None
        span = read_span(address) if address else None
        if span is not None:
            return self._expand(span, tcp_port, label, tag or None)
        host = host_name(address) if address else label
        if host is None:
            raise BadTargetError("neither address nor name")
        position = self.targets
        self.targets = position + 1
        return (HostName(host, tag or None, tcp_port, self.lines, position, self._source, label),)

    def _expand(self, span: Span, port: int, name: str | None, tag: str | None) -> Iterator[Target]:
        source = self._source
        for ip in span:
            position = self.targets
            self.targets = position + 1
            yield Target(ip, port, name, tag, source, position)

    def _refuse_long(self) -> None:
        reason = f"longer than {MAX_LINE:,} bytes"
        if not self.targets:
            raise TargetsError(f"{self._path}:{self.lines}: {reason}: not a list of targets")
        self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        self.bad += 1
        self._on_bad(self.lines, reason)


def _decoded(line: str, *, first: bool) -> str:
    """Decode bytes held as Latin-1 characters, without white space around and a byte-order mark before."""
    try:
        text = line if line.isascii() else line.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise BadTargetError("not UTF-8") from None
    return (text.removeprefix("\ufeff") if first else text).strip()
