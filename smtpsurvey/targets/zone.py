"""``zone:FILE``: the registered domains of a zone file, its size, its name servers and their glue.

Lines in CZDS form are read many at a time by :mod:`~smtpsurvey.targets.zone_plain`, all others one by one by
:mod:`~smtpsurvey.targets.zone_master`; one file may have both.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import DEFAULT_PORT, Target
from smtpsurvey.targets.line_blocks import line_blocks
from smtpsurvey.targets.source import open_targets
from smtpsurvey.targets.sources import Block, ZoneSize
from smtpsurvey.targets.zone_master import MasterLines
from smtpsurvey.targets.zone_names import NameSorter
from smtpsurvey.targets.zone_plain import addresses, delegations, last_owner, name_servers, plain_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.targets.source import BlockReader
    from smtpsurvey.targets.sources import Report
    from smtpsurvey.targets.zone_master import ZoneRecord

AT_ONCE = 4096  # glue addresses in a block at most
_DATED = re.compile(r"(?P<path>.+)@(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})", re.DOTALL)
_SERIAL = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})[0-9]{2}")  # YYYYMMDDnn: RFC 1912 section 2.2
_OLDEST = 1990


class _Piece(NamedTuple):
    """Whole lines, as they are and in lower case, and where the plain ones at their beginning end."""

    block: bytes
    lower: bytes
    end: int

    @classmethod
    def of(cls, block: bytes) -> _Piece:
        lower = block.lower()
        return cls(block, lower, plain_end(lower, 0))


class ZoneSource:
    """A zone file; ``zone:FILE@YYYY-MM-DD`` says of what day it is."""

    def __init__(self, argument: str, report: Report) -> None:
        """Open the file (``-``: standard input); raises SurveyError."""
        self.label = f"zone:{argument}"
        dated = _DATED.fullmatch(argument)
        self._path = dated["path"] if dated else argument
        self._given = _date(dated["date"]) if dated else None
        self._report = report
        self._reader = open_targets(self._path)
        self._master = MasterLines(lambda line, reason: report.bad(self._path, line, reason))
        self._apex: str | None = None
        self._serial = ""
        self._glue: list[Target] = []

    @property
    def fraction(self) -> float | None:
        """How much of the file is read; ``None`` for a pipe."""
        return self._reader.fraction

    def blocks(self) -> Iterator[Block]:
        """Yield glue as targets with the names of their hosts, and at the end the domains and the size of the zone."""
        options = self._report.options
        with (
            TemporaryDirectory(prefix="zone-", dir=options.work) as folder,
            closing(NameSorter(Path(folder))) as names,
        ):
            lines = 0
            for piece in _ahead(map(_Piece.of, line_blocks(self._reader, self._report)), self._reader):
                lines += self._read(piece, lines, names)
                while self._glue:
                    yield Block(targets=[*self._glue[:AT_ONCE]])
                    del self._glue[:AT_ONCE]
            self._master.finish()
            path = Path(mkdtemp(prefix="zone-", dir=options.work)) / "domains.parquet"
            found = names.finish(self._apex, path)
        self._report.count("lines of zone files", lines)
        self._report.count("name servers", found.servers)
        for count, name in (
            (found.suffixes, "delegated public suffixes"),
            (found.below, "delegations below another"),
            (found.outside, "delegations outside of their zone"),
        ):
            if count:
                self._report.count(name, count)
        if self._apex is None:
            self._report.broke(f"{self._path}: no SOA record, so nobody knows of what zone its names are")
            sizes = []
        else:
            sizes = [ZoneSize(self._apex, self._day(), found.domains)]
        yield Block(domains_file=path, zone_sizes=sizes)

    def _read(self, piece: _Piece, before: int, names: NameSorter) -> int:
        """Read whole lines, ``before`` of which were read before; returns how many they are."""
        block, lower, first_end = piece
        start = lines = 0
        while start < len(block):
            end = start if self._master.within else plain_end(lower, start) if start else first_end
            if end > start:
                plain = lower[start:end]
                names.add(delegations(plain), name_servers(plain))
                self._glue += (Target(ip, DEFAULT_PORT, name) for name, ip in addresses(plain))
                self._master.owner = last_owner(plain)
                lines += plain.count(b"\n")
            else:
                end = block.index(b"\n", start) + 1
                lines += 1
                record = self._master.read(block[start:end], before + lines)
                if record is not None:
                    self._take(record, before + lines, names)
            start = end
        return lines

    def _take(self, record: ZoneRecord, line: int, names: NameSorter) -> None:
        if record.type == "NS":
            names.add(filter(None, [record.owner.encode()]), {*filter(None, [record.value.encode()])})
        elif record.type != "SOA":
            self._glue.append(Target(record.value, DEFAULT_PORT, record.owner))
        elif self._apex is None:
            self._apex, self._serial = record.owner, record.value
        elif self._apex != record.owner:
            self._report.bad(self._path, line, f"SOA record of {record.owner or '.'} in the zone {self._apex or '.'}")

    def _day(self) -> str:
        """Return the date that was given, that of the serial number if it looks like one, or that of the file."""
        if self._given is not None:
            return self._given.isoformat()
        modified = time.time() if self._path == "-" else Path(self._path).stat().st_mtime
        day = datetime.fromtimestamp(modified, UTC).date()
        if serial := _SERIAL.fullmatch(self._serial):
            with suppress(ValueError):
                written = date(*map(int, serial.groups()))
                # Nobody has a file from the future but for the time zone; other numbers only look like dates.
                if written.year >= _OLDEST and (written - day).days <= 1:
                    return written.isoformat()
        return day.isoformat()


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SurveyError(f"zone: {text} is no date") from None


def _ahead(pieces: Iterator[_Piece], reader: BlockReader) -> Iterator[_Piece]:
    """Decompress a piece, and look for what is plain in it, while the one before it is read.

    Neither holds Python's lock, so this takes another core.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            coming = thread.submit(next, pieces, None)
            while piece := coming.result():
                coming = thread.submit(next, pieces, None)
                yield piece
        finally:
            reader.close()  # ends the wait for a pipe
