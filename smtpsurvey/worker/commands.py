"""Command files: lines in, commands out. A bad line names its file, its number and the reason."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from smtpsurvey.dns.lines import dns_name
from smtpsurvey.dns.reverse import reverse_name
from smtpsurvey.targets.names import host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_LINE = 4096  # bytes
HEARTBEAT = 60.0  # seconds, where none are given
LONGEST = 366 * 86_400.0  # seconds
_COMMENT = re.compile(r"(?:^|\s)#.*")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_PORT = re.compile(r"[0-9]{1,5}")


class Word(StrEnum):
    """The commands."""

    START = "START"
    END = "END"
    COMMAND_FETCH = "COMMAND-FETCH"
    SLEEP = "SLEEP"
    SERVICE_THREAD = "SERVICE-THREAD"
    HEARTBEAT_THREAD = "HEARTBEAT-THREAD"
    SMTP_PROBE = "SMTP-PROBE"
    DEST_AS_CHECK = "DEST-AS-CHECK"
    TRACEROUTE = "TRACEROUTE"
    MX_LOOKUP = "MX-LOOKUP"
    DNS_LOOKUP = "DNS-LOOKUP"
    DNS_REVERSE = "DNS-REVERSE"
    IPV6_DNS_LOOKUP = "IPV6-DNS-LOOKUP"
    HTTP_FETCH = "HTTP-FETCH"
    LOG = "LOG"
    CAPABILITIES = "CAPABILITIES"


@attrs.frozen(eq=False)
class Command:
    """One line: the word and its arguments, checked and in canonical form (``docs/usage/worker.md``)."""

    word: Word
    arguments: tuple[Any, ...]
    file: str
    line: int

    @property
    def place(self) -> str:
        """Where it stands, ``FILE:LINE``."""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        """Write it as a line of a command file."""
        return " ".join(
            [self.word, *(f"{each:g}" if isinstance(each, float) else str(each) for each in self.arguments)]
        )


class BadCommandError(ValueError):
    """A line that is no command; the message is ``FILE:LINE: reason``."""


class CommandLines:
    """Makes commands of blocks of bytes; ``on_bad`` gets the error of each line that is none."""

    def __init__(self, file: str, on_bad: Callable[[BadCommandError], object]) -> None:
        """Read the file of this name."""
        self.lines = 0
        self._file = file
        self._on_bad = on_bad
        self._rest = b""
        self._skipping = False  # within a line that is too long, and told

    def feed(self, block: bytes) -> Iterator[Command]:
        """Yield the commands whose lines end in this block."""
        *complete, self._rest = (self._rest + block).split(b"\n")
        for line in complete:
            yield from self._line(line)
        if len(self._rest) > MAX_LINE:
            if not self._skipping:
                self._refuse(self.lines + 1, f"longer than {MAX_LINE} bytes")
            self._rest, self._skipping = b"", True

    def finish(self) -> Iterator[Command]:
        """Yield the command of a last line without an end."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._line(rest)

    def _line(self, raw: bytes) -> Iterator[Command]:
        self.lines += 1
        if self._skipping:
            self._skipping = False
        elif len(raw) > MAX_LINE:
            self._refuse(self.lines, f"longer than {MAX_LINE} bytes")
        else:
            try:
                command = read_command(raw, self._file, self.lines)
            except ValueError as error:
                self._refuse(self.lines, str(error))
            else:
                if command is not None:
                    yield command

    def _refuse(self, line: int, reason: str) -> None:
        self._on_bad(BadCommandError(f"{self._file}:{line}: {reason}"))


def read_command(raw: bytes, file: str, line: int) -> Command | None:
    """Read one line, ``None`` for one without a command; raises ValueError with the reason."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if line == 1:
        text = text.removeprefix("\ufeff")
    text = _COMMENT.sub("", text).strip()
    if not text:
        return None
    first, *rest = text.split(None, 1)
    try:
        word = Word(first.upper())
    except ValueError:
        raise ValueError(f"{_shown(first)} is no command") from None
    return Command(word, _READERS[word](rest[0] if rest else ""), file, line)


def _shown(text: str) -> str:
    return ascii(text[:80])


def _none(text: str) -> tuple[()]:
    if text:
        raise ValueError(f"{_shown(text)}: there are no arguments")
    return ()


def _text(text: str) -> tuple[str]:
    if not text:
        raise ValueError("there is no text")
    text = text.replace("\t", " ")
    if not text.isprintable():
        raise ValueError(f"{_shown(text)} is no text that can be printed")
    return (text,)


def _seconds(text: str) -> tuple[float]:
    if not _SECONDS.fullmatch(text) or float(text) > LONGEST:
        raise ValueError(f"{_shown(text)} is no number of seconds")
    return (float(text),)


def _interval(text: str) -> tuple[float]:
    (seconds,) = _seconds(text) if text else (HEARTBEAT,)
    if not seconds:
        raise ValueError("an interval of 0 seconds")
    return (seconds,)


def _port(text: str) -> tuple[int]:
    if not _PORT.fullmatch(text) or int(text) >= 1 << 16:
        raise ValueError(f"{_shown(text)} is no port")
    return (int(text),)


def is_address(text: str) -> bool:
    """Tell whether a host is an address, not a name."""
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def _address(text: str) -> tuple[str]:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is no IPv4 or IPv6 address") from None
    if getattr(address, "scope_id", None) or getattr(address, "ipv4_mapped", None):
        raise ValueError(f"{_shown(text)} is an address of this machine alone")
    return (str(address),)


def _target(text: str) -> tuple[str, ...]:
    address, *name = text.split() or [""]
    if len(name) > 1:
        raise ValueError(f"{_shown(text)} is more than address and name")
    return (*_address(address), *map(host_name, name))


def _name(text: str) -> tuple[str]:
    name = dns_name(text)
    if name is None:
        raise ValueError(f"{_shown(text)} is no name of the DNS")
    return (name,)


def _url(text: str) -> tuple[str]:
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text or "@" in parts.netloc:
        raise ValueError(f"{_shown(text)} is no http or https URL (in ASCII, without credentials)")
    return (text,)


def _url_and_file(text: str) -> tuple[str, str]:
    url, _, file = text.partition(" ")
    if not _FILE.fullmatch(file.strip()):
        raise ValueError(f"{_shown(file)} is no plain file name (letters, digits, . _ -)")
    return (*_url(url), file.strip())


_READERS: dict[Word, Callable[[str], tuple[Any, ...]]] = {
    Word.START: _none,
    Word.END: _none,
    Word.COMMAND_FETCH: _url_and_file,
    Word.SLEEP: _seconds,
    Word.SERVICE_THREAD: _port,
    Word.HEARTBEAT_THREAD: _interval,
    Word.SMTP_PROBE: _target,
    Word.DEST_AS_CHECK: _address,
    Word.TRACEROUTE: _address,
    Word.MX_LOOKUP: _name,
    Word.DNS_LOOKUP: _name,
    Word.DNS_REVERSE: lambda text: (reverse_name(*_address(text)),),
    Word.IPV6_DNS_LOOKUP: _name,
    Word.HTTP_FETCH: _url,
    Word.LOG: _text,
    Word.CAPABILITIES: _none,
}
