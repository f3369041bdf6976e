"""``list:FILE``: addresses, CIDRs and ranges one a line, ZMap's CSV, the JSON lines of zgrab2 and zdns."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from smtpsurvey.items import DEFAULT_PORT
from smtpsurvey.targets.address import BadTargetError, Span
from smtpsurvey.targets.bulk import parse_lines
from smtpsurvey.targets.json_lines import read_json_line
from smtpsurvey.targets.line_blocks import check_readable, line_blocks
from smtpsurvey.targets.lines import TargetLines
from smtpsurvey.targets.source import open_targets
from smtpsurvey.targets.sources import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from smtpsurvey.items import Target
    from smtpsurvey.targets.lines import HostName
    from smtpsurvey.targets.source import BlockReader
    from smtpsurvey.targets.sources import Report

AT_ONCE = 4096  # targets of unusual lines in a block at most
_DEFAULT = b",%d\n" % DEFAULT_PORT


class ListSource:
    """A list of targets. Lines that are an IPv4 address and nothing else are read by the hundred thousand."""

    scheme = "list"

    def __init__(self, argument: str, report: Report) -> None:
        """Look whether the file (``-``: standard input) can be read; raises TargetsError."""
        self.label = f"{self.scheme}:{argument}"
        self._path = argument
        self._report = report
        self._reader: BlockReader | None = None
        check_readable(argument)
        self._lines = SpanLines(argument, self._bad)
        self._json = False
        self._json_lines = 0

    @property
    def fraction(self) -> float | None:
        """How much of the file is read; ``None`` for a pipe."""
        return None if self._reader is None else self._reader.fraction

    def blocks(self) -> Iterator[Block]:
        """Yield what the lines stand for. An archive that is cut off is told, and what came before it kept."""
        self._reader = open_targets(self._path)
        for complete in line_blocks(self._reader, self._report):
            if not (self._json or self._lines.lines):
                self._json = complete.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
            yield from self._of_json(complete) if self._json else self._lines.read(complete)

    def _of_json(self, complete: bytes) -> Iterator[Block]:
        found: list[Target | HostName] = []
        for number, line in enumerate(complete.split(b"\n")[:-1], self._json_lines + 1):
            if line.strip():
                try:
                    found += read_json_line(line, number)
                except BadTargetError as error:
                    self._bad(number, str(error))
            self._json_lines = number
        yield Block(targets=found)

    def _bad(self, line: int, reason: str) -> None:
        self._report.bad(self._path, line, reason)


class SpanLines(TargetLines):
    """Reads complete lines of a list into blocks; CIDRs and ranges without name, tag or port stay spans."""

    def __init__(self, path: str, on_bad: Callable[[int, str], object]) -> None:
        """Read the list at ``path``; ``on_bad`` is called for bad lines."""
        super().__init__(path, None, DEFAULT_PORT, on_bad)

    def read(self, complete: bytes) -> Iterator[Block]:
        """Yield what lines stand for, each with its LF."""
        if b"\r" in complete:
            complete = complete.replace(b"\r\n", b"\n")
        if self._header is None:  # the first lines decide what the others are
            complete = yield from self._until_header(complete)
        first = self.lines
        if not self._bare:
            yield from self._unusual([(first, complete)])
            return
        if self._sport == 1:  # ZMap's saddr,sport
            complete = complete.replace(_DEFAULT, b"\n")
        parsed = parse_lines(complete)
        self.targets += len(parsed.numbers)
        if len(parsed.numbers):
            yield Block(v4=parsed.numbers)
        if len(parsed.others):
            # Neighbours go together.
            cuts = [0, *(np.flatnonzero(np.diff(parsed.others) > 1) + 1).tolist(), len(parsed.others)]
            yield from self._unusual(
                (first + int(parsed.others[begin]), complete[parsed.begins[begin] : parsed.ends[end - 1] + 1])
                for begin, end in pairwise(cuts)
            )
        self.lines = first + parsed.lines

    def _until_header(self, complete: bytes) -> Generator[Block, None, bytes]:
        while complete and self._header is None:
            line, _, complete = complete.partition(b"\n")
            yield from self._unusual([(self.lines, line + b"\n")])
        return complete

    def _unusual(self, pieces: Iterable[tuple[int, bytes]]) -> Iterator[Block]:
        """Read lines one by one; each piece comes with the number of lines before it."""
        block = Block()
        for before, piece in pieces:
            self.lines = before
            for found in self.feed(piece):
                if isinstance(found, Span):
                    block.spans.append(found)
                else:
                    block.targets.append(found)
                if len(block.targets) + len(block.spans) >= AT_ONCE:
                    yield block
                    block = Block()
        if block.targets or block.spans:
            yield block

    def _expand(  # type: ignore[override]  # a span too is what its feed() yields
        self, span: Span, port: int, name: str | None, tag: str | None
    ) -> Iterator[Target | Span]:
        if span.first == span.last or (port, name, tag) != (DEFAULT_PORT, None, None):
            return super()._expand(span, port, name, tag)
        self.targets += span.last - span.first + 1
        return iter((span,))
