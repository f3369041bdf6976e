"""``dnsbl:FILE``: what a DNS blocklist lists: ip4set, ip4trie and ip4tset data of rbldnsd, plain lists of addresses."""

from __future__ import annotations

import re
from itertools import chain, islice
from socket import AF_INET
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Self

import numpy as np

from smtpsurvey.targets.address import BadTargetError, Span, shown
from smtpsurvey.targets.bulk import parse_lines
from smtpsurvey.targets.line_blocks import check_readable, line_blocks
from smtpsurvey.targets.source import open_targets
from smtpsurvey.targets.sources import Block

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from smtpsurvey.targets.source import BlockReader
    from smtpsurvey.targets.sources import Report

    Numbers = NDArray[np.uint32]

MAX_LINE = 4096
AT_ONCE = 4096  # spans in a block at most
READ_BACK = 1 << 16  # entries
READ_TYPES = frozenset({"ip4set", "ip4trie", "ip4tset"})
"""Datasets that list IPv4 addresses; those of any other type in a combined one are passed over."""

_BITS = 32
_SPECIAL = re.compile(r"[#;:]?\$(\S*)\s*(.*)")
_OCTET = r"\d{1,3}"
_PREFIX = rf"{_OCTET}(?:\.{_OCTET}){{0,3}}"
_ENTRY = re.compile(
    rf"(?P<not>!\s*)?(?P<low>{_PREFIX})(?:/(?P<bits>\d{{1,2}})|-(?P<high>{_PREFIX}))?(?=[\s#;:]|\Z)", re.ASCII
)


def read_entry(text: str) -> tuple[int, int, bool]:
    """Read the range at the start of an ip4set line: first and last address, and whether it is excluded.

    An address or its first octets (``127.0.0``, but no octet alone), a CIDR of either (``127/8``), or a range of two
    that are as long; or whose last part is the last octet given of the first (``127.16-31``). What follows it, A value
    and text, does not matter. Raises BadTargetError.
    """
    match = _ENTRY.match(text)
    if match is None:
        raise BadTargetError(f"{shown(text)} is no IPv4 address, prefix or range")
    low, length = _octets(match["low"])
    if match["high"] is not None:
        last = _last(match["high"], low, length)
    elif match["bits"] is None and length == _BITS // 4:
        raise BadTargetError(f"{shown(text)} is one octet alone: {match['low']}/8?")
    else:
        bits = length if match["bits"] is None else int(match["bits"])
        if bits > _BITS:
            raise BadTargetError(f"{shown(text)}: prefix length over {_BITS}")
        rest = (1 << _BITS - bits) - 1
        low, last = low & ~rest, low | rest
    if last < low:
        raise BadTargetError(f"the range {shown(text)} ends before it starts")
    return low, last, match["not"] is not None


def _octets(text: str) -> tuple[int, int]:
    """Return the first address of a prefix and its length in bits."""
    octets = [int(octet) for octet in text.split(".")]
    if max(octets) > 255:  # noqa: PLR2004
        raise BadTargetError(f"{shown(text)}: an octet over 255")
    return int.from_bytes(bytes(octets).ljust(4, b"\0"), "big"), 8 * len(octets)


def _last(text: str, low: int, length: int) -> int:
    """Return the last address of a range from what stands behind its hyphen."""
    high, width = _octets(text)
    if width == 8 < length:  # noqa: PLR2004 -- one octet: the last of those given before the hyphen
        keep = _BITS - length + 8
        high, width = low >> keep << keep | high >> length - 8, length
    return high | (1 << _BITS - width) - 1


class DnsblSource:
    """Zone data as rbldnsd reads them. An address that an exclusion (``!``) covers is no target, listed or not.

    What is listed waits in a file without a name until the dataset has ended: exclusions may come last.
    """

    def __init__(self, argument: str, report: Report) -> None:
        """Look whether the file (``-``: standard input) can be read; raises TargetsError."""
        self.label = f"dnsbl:{argument}"
        self._path = argument
        self._report = report
        self._reader: BlockReader | None = None
        self._lines = 0
        self._max_range = 1 << _BITS
        self._type: str | None = None  # of the part of a combined dataset
        check_readable(argument)

    @property
    def fraction(self) -> float | None:
        """How much of the file is read; ``None`` for a pipe."""
        return None if self._reader is None else self._reader.fraction

    def blocks(self) -> Iterator[Block]:
        """Yield what is listed. An archive that is cut off is told, and what came before it kept."""
        self._reader = open_targets(self._path)
        with Dataset(self._report.options.work) as dataset:
            for complete in line_blocks(self._reader, self._report, MAX_LINE):
                yield from self._read(complete.replace(b"\r\n", b"\n"), dataset)
            yield from dataset.blocks()

    def _read(self, complete: bytes, dataset: Dataset) -> Iterator[Block]:
        before = self._lines
        if b"$" in complete or self._type not in {None, *READ_TYPES}:
            unusual = list(enumerate(complete.split(b"\n")[:-1], 1))
            self._lines += len(unusual)
        else:
            parsed = parse_lines(complete)
            dataset.list_addresses(parsed.numbers)
            rows = zip(parsed.others.tolist(), parsed.begins.tolist(), parsed.ends.tolist(), strict=True)
            unusual = [(at + 1, complete[begin:end]) for at, begin, end in rows]
            self._lines += parsed.lines
        for number, line in unusual:
            try:
                yield from self._line(line, dataset)
            except BadTargetError as error:
                self._report.bad(self._path, before + number, str(error))

    def _line(self, line: bytes, dataset: Dataset) -> Iterator[Block]:
        if len(line) > MAX_LINE:
            raise BadTargetError(f"longer than {MAX_LINE:,} bytes")
        text = line.decode("latin-1").strip()
        if special := _SPECIAL.fullmatch(text):
            yield from self._special(special[1].lower(), special[2], dataset)
        elif text and text[0] not in "#;:":  # a colon begins a default value
            if self._type not in {None, *READ_TYPES}:
                self._report.count("entries of other datasets passed over")
                return
            first, last, excluded = read_entry(text)
            if last - first >= self._max_range:
                raise BadTargetError(f"{shown(text)} is more than the {self._max_range:,} addresses of $MAXRANGE4")
            dataset.add(first, last, excluded=excluded)

    def _special(self, keyword: str, rest: str, dataset: Dataset) -> Iterator[Block]:
        """Read a line that begins with ``$``; those about how to answer queries say nothing to us."""
        if keyword == "dataset":
            yield from dataset.blocks()  # exclusions hold within their dataset
            dataset.clear()
            self._type = re.split(r"[:\s]", rest, maxsplit=1)[0]
        elif keyword == "maxrange4":
            match = re.fullmatch(r"(/?)(\d{1,10})", rest)
            if match is None or (match[1] and int(match[2]) > _BITS):
                raise BadTargetError(f"$MAXRANGE4 {shown(rest)} is neither a number of addresses nor /LENGTH")
            self._max_range = min(self._max_range, 1 << _BITS - int(match[2]) if match[1] else int(match[2]))


class Dataset:
    """Ranges listed and ranges excluded, given in any order."""

    def __init__(self, folder: Path) -> None:
        """Keep what is listed in a file in ``folder``."""
        self._file: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115 -- closed in __exit__
        self._waiting: list[tuple[int, int]] = []
        self._excluded: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, which removes it."""
        self._file.close()

    def add(self, first: int, last: int, *, excluded: bool) -> None:
        """Add a range."""
        (self._excluded if excluded else self._waiting).append((first, last))
        if len(self._waiting) == READ_BACK:
            self._flush()

    def list_addresses(self, numbers: Numbers) -> None:
        """List single addresses."""
        self._file.write(np.repeat(numbers, 2).tobytes())

    def clear(self) -> None:
        """Begin again with nothing."""
        self._file.seek(0)
        self._file.truncate()
        self._waiting, self._excluded = [], []

    def blocks(self) -> Iterator[Block]:
        """Yield what is listed and not excluded: single addresses as numbers, ranges as spans."""
        self._flush()
        starts, ends = _merged(self._excluded)
        self._file.seek(0)
        while read := self._file.read(READ_BACK * 8):
            pairs = np.frombuffer(read, np.uint32).reshape(-1, 2)
            at = np.searchsorted(ends, pairs[:, 0])  # the first exclusion that does not end before
            cut = starts[at] <= pairs[:, 1]
            single = pairs[:, 0] == pairs[:, 1]
            whole = pairs[single & ~cut, 0]
            if len(whole):
                yield Block(v4=whole)
            ranges = chain(
                map(tuple, pairs[~single & ~cut].tolist()),
                chain.from_iterable(_cut(first, last, starts, ends) for first, last in pairs[~single & cut].tolist()),
            )
            while some := [Span(AF_INET, first, last) for first, last in islice(ranges, AT_ONCE)]:
                yield Block(spans=some)

    def _flush(self) -> None:
        self._file.write(np.array(self._waiting, np.uint32).tobytes())
        self._waiting = []


_NONE = (1 << _BITS, 1 << _BITS)  # behind the last address: every search finds an exclusion


def _merged(ranges: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last addresses of disjoint ranges in order, and one behind all addresses."""
    ends = np.array([*sorted(ranges), _NONE], np.int64)
    reach = np.maximum.accumulate(ends[:, 1])
    new = np.concatenate(([True], ends[1:, 0] > reach[:-1] + 1))
    last = np.concatenate((np.flatnonzero(new)[1:] - 1, [len(ends) - 1]))
    return ends[new, 0], reach[last]


def _cut(first: int, last: int, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield what of a range lies between the exclusions."""
    at = int(np.searchsorted(ends, first))
    while first <= last:
        start = int(starts[at])
        if first < start:
            yield first, min(last, start - 1)
        first = int(ends[at]) + 1
        at += 1
