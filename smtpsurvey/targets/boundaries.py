"""``boundaries:FILE``: the first and last address of each allocation, or of each prefix of an AS map.

Reverse names at the edges of networks tell whose they are, and so lead to mail servers that no list has.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import maxminddb
import numpy as np

from smtpsurvey.admission.asmap import DATABASE_TYPE
from smtpsurvey.admission.delegated import read_row
from smtpsurvey.items import Target
from smtpsurvey.targets.line_blocks import check_readable, line_blocks
from smtpsurvey.targets.source import TargetsError, open_targets
from smtpsurvey.targets.sources import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.targets.sources import Report

    Edges = tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]

MAX_LINE = 4096
AT_ONCE = 1 << 16  # networks in a block
_MMDB_MARK = b"\xab\xcd\xefMaxMind.com"
_MMDB_END = 1 << 17  # bytes at the end of an MMDB file in which its mark is


class BoundariesSource:
    """A delegated-extended file of a RIR, or an MMDB file; the content tells, not the name."""

    def __init__(self, argument: str, report: Report) -> None:
        """Look whether the file (``-``: standard input, no MMDB) can be read; raises TargetsError."""
        self.label = f"boundaries:{argument}"
        self._path = argument
        self._report = report
        check_readable(argument)

    def blocks(self) -> Iterator[Block]:
        """Yield the edges. An archive that is cut off is told, and what came before it kept."""
        edges = self._of_map() if _is_mmdb(self._path) else self._of_rows()
        while some := list(islice(edges, AT_ONCE)):
            yield _block(some)

    def _of_rows(self) -> Iterator[Edges]:
        number = 0
        for complete in line_blocks(open_targets(self._path), self._report, MAX_LINE):
            for number, line in enumerate(complete.split(b"\n")[:-1], number + 1):  # noqa: B020 -- goes on counting
                try:
                    row = read_row(_text(line))
                except ValueError as error:
                    self._report.bad(self._path, number, str(error))
                else:
                    if row is not None:
                        yield row.first, row.last

    def _of_map(self) -> Iterator[Edges]:
        """Yield the edges of each prefix once, however many parts more specific ones cut it into.

        Maps of others, which name no prefixes, have the parts alone.
        """
        seen: set[str] = set()
        try:
            with maxminddb.open_database(self._path) as networks:
                ours = networks.metadata().database_type == DATABASE_TYPE
                for part, record in networks:
                    prefix = _prefix(record)
                    if prefix is None:
                        if not ours:
                            yield part[0], part[-1]
                    elif prefix not in seen:
                        seen.add(prefix)
                        network = ip_network(prefix)
                        yield network[0], network[-1]
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise TargetsError(f"{self._path}: {error}") from None


def _is_mmdb(path: str) -> bool:
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        file.seek(-min(_MMDB_END, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return _MMDB_MARK in file.read()


def _prefix(record: Any) -> str | None:
    prefix = record.get("prefix") if isinstance(record, dict) else None
    return prefix if isinstance(prefix, str) else None


def _text(line: bytes) -> str:
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE:,} bytes")
    return line.decode("ascii", "backslashreplace").strip()


def _block(edges: list[Edges]) -> Block:
    addresses = [address for pair in edges for address in dict.fromkeys(pair)]
    numbers = [int(address) for address in addresses if isinstance(address, IPv4Address)]
    return Block(
        v4=np.array(numbers, np.uint32),
        targets=[Target(str(address)) for address in addresses if isinstance(address, IPv6Address)],
    )
