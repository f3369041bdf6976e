"""The header sections of messages in mboxes, Maildirs and folders of them; bodies are passed over."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from smtpsurvey.targets.line_blocks import line_blocks
from smtpsurvey.targets.source import GZIP_MAGIC, ZSTD_MAGIC, TargetsError, open_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpsurvey.targets.sources import Report

MAX_SECTION = 1 << 18
"""Bytes of a header section that are read."""

MAX_DEPTH = 32
"""Folders within folders that are looked into."""

_END = re.compile(rb"\n\r?\n")
_EMPTY = re.compile(rb"\r?\n")
_FIELD = re.compile(rb"[!-9;-~]{1,100}[ \t]*:")  # RFC 5322 section 2.2
_RECEIVED = re.compile(rb"^received[ \t]*:(.*(?:\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)
# RFC 4155: the address, then a date as asctime() writes it. A line of text that begins with "From " has no time.
_FROM = re.compile(rb"From .{0,400}[0-9]:[0-9]{2}.*\n")


def received_values(section: bytes) -> list[bytes]:
    """Return the values of the Received fields of a header section, the one written last first."""
    return _RECEIVED.findall(section)


def sections(path: str, report: Report) -> Iterator[bytes]:
    """Yield the header section of each message in a file or folder; what is no mail is told to ``report``."""
    if path != "-" and Path(path).is_dir():
        yield from _folder(path, report, 0)
    else:
        yield from _file(path, report)


def mbox_sections(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the header sections of an mbox, given as pieces that end with LF.

    A message begins with a ``From `` line behind an empty line; in the text such lines are quoted (``>From ``).
    """
    head: list[bytes] | None = None  # None: in a body
    size = 0
    empty = True  # the line before this piece is
    for block in blocks:
        at = 0
        while at < len(block):
            if head is None:
                at = _next_from(block, at, after_empty=empty)
                if at == len(block):
                    break
                head, size, at = [], 0, block.index(b"\n", at) + 1
                continue
            end = _section_end(block, at)
            piece = block[at : end if end >= 0 else len(block)]
            head.append(piece[: MAX_SECTION - size])
            size += len(head[-1])
            if end < 0:
                break
            yield b"".join(head)
            # The empty line stays before what is looked at next: a From line may follow it.
            head, at = None, end
        empty = block.endswith((b"\n\n", b"\n\r\n")) or block in (b"\n", b"\r\n")
    if head:
        yield b"".join(head)


def _next_from(block: bytes, at: int, *, after_empty: bool) -> int:
    """Return where the next From line is, or the length of the block."""
    if at == 0 and after_empty and _FROM.match(block):
        return 0
    while (found := block.find(b"\nFrom ", at)) >= 0:
        before = block[:found].removesuffix(b"\r") if found < 2 else block[found - 2 : found].removesuffix(b"\r")  # noqa: PLR2004
        if (not before or before.endswith(b"\n")) and _FROM.match(block, found + 1):
            return found + 1
        at = found + 1
    return len(block)


def _section_end(block: bytes, at: int) -> int:
    """Return where the empty line begins that ends a header section, or -1."""
    if _EMPTY.match(block, at):
        return at
    found = _END.search(block, at)
    return found.start() + 1 if found else -1


def _folder(path: str, report: Report, depth: int) -> Iterator[bytes]:
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        report.broke(f"{path}: {error.strerror}")
        return
    folders = {entry.name: entry.path for entry in found if entry.is_dir(follow_symlinks=False)}
    maildir = folders.keys() & {"new", "cur"}
    for name in sorted(maildir):
        yield from _messages(folders[name], report)
    if depth < MAX_DEPTH:
        for name, folder in folders.items():
            if name not in {"new", "cur", "tmp"}:
                yield from _folder(folder, report, depth + 1)
    for entry in found:
        # A Maildir holds indexes beside its messages, and other folders hidden files.
        if not maildir and not entry.name.startswith(".") and entry.is_file():
            yield from _file(entry.path, report)


def _messages(folder: str, report: Report) -> Iterator[bytes]:
    """Yield the header sections of a folder with a message a file."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file():
                    yield from _message(entry.path, report)
    except OSError as error:
        report.broke(f"{folder}: {error.strerror}")


def _message(path: str, report: Report) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- a Path for each of millions of messages takes longer
            section = file.read(MAX_SECTION)
    except OSError as error:  # a mail reader moved it, perhaps
        report.broke(f"{path}: {error.strerror}")
        return
    if section.startswith((GZIP_MAGIC, ZSTD_MAGIC)):
        yield from _file(path, report)
    else:
        yield from _single(path, section, report)


def _single(path: str, content: bytes, report: Report) -> Iterator[bytes]:
    """Yield the header section of a message that ``content`` begins with."""
    if not _FIELD.match(content):
        report.bad(path, 1, "neither an mbox nor a message")
        return
    end = _section_end(content, 0)
    yield content[: end if end >= 0 else MAX_SECTION]


def _file(path: str, report: Report) -> Iterator[bytes]:
    """Yield the header sections of an mbox, or of a message in a file of its own."""
    try:
        blocks = line_blocks(open_targets(path), report)
        first = next(blocks, b"")
    except TargetsError as error:
        report.broke(str(error))
        return
    start = first.lstrip(b"\r\n")
    if start.startswith(b"From "):
        yield from mbox_sections(_put_back(start, blocks))
    elif start:
        yield from _single(path, start, report)
        blocks.close()  # type: ignore[attr-defined]  # a generator, which closes its file


def _put_back(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks
