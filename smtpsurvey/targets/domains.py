"""``domains:FILE``, and the unique domains of all sources."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb

from smtpsurvey.targets.address import BadTargetError, shown
from smtpsurvey.targets.line_blocks import check_readable, line_blocks
from smtpsurvey.targets.names import MAX_NAME, host_name
from smtpsurvey.targets.output import literal
from smtpsurvey.targets.source import open_targets
from smtpsurvey.targets.sources import Block

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpsurvey.targets.sample import Sample
    from smtpsurvey.targets.source import BlockReader
    from smtpsurvey.targets.sources import Report

MAX_LINE = 4096
# Lines that host_name() would return as they are; whoever matches all of a block knows all of it.
_PLAIN = re.compile(
    rb"(?:(?=[^\n]{1,253}+\n)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]\n)*+"
)


class DomainsSource:
    """A list of domain names, one a line; ``#`` begins a comment."""

    def __init__(self, argument: str, report: Report) -> None:
        """Look whether the file (``-``: standard input) can be read; raises TargetsError."""
        self.label = f"domains:{argument}"
        self._path = argument
        self._report = report
        self._reader: BlockReader | None = None
        check_readable(argument)

    @property
    def fraction(self) -> float | None:
        """How much of the file is read; ``None`` for a pipe."""
        return None if self._reader is None else self._reader.fraction

    def blocks(self) -> Iterator[Block]:
        """Yield the names, in lower case, as A-labels, without the last dot."""
        lines = 0
        self._reader = open_targets(self._path)
        for complete in line_blocks(self._reader, self._report, MAX_LINE):
            if _PLAIN.fullmatch(complete):
                names = complete.decode("ascii").split("\n")[:-1]
                lines += len(names)
            else:
                names = []
                for lines, line in enumerate(complete.split(b"\n")[:-1], lines + 1):  # noqa: B020 -- goes on counting
                    try:
                        name = _name(line, first=lines == 1)
                    except BadTargetError as error:
                        self._report.bad(self._path, lines, str(error))
                    else:
                        names += [name] if name else []
            yield Block(domains=names)


def _name(line: bytes, *, first: bool) -> str:
    if len(line) > MAX_LINE:
        raise BadTargetError(f"longer than {MAX_LINE:,} bytes")
    try:
        text = line.partition(b"#")[0].decode()
    except UnicodeDecodeError:
        raise BadTargetError("not UTF-8") from None
    text = (text.removeprefix("\ufeff") if first else text).strip()
    if len(text) > MAX_NAME + 1:
        raise BadTargetError(f"{shown(text)} is longer than {MAX_NAME} characters")
    return host_name(text) if text else ""


class Domains:
    """Takes domains by the million, and gives each once, in an order that depends on the seed alone."""

    def __init__(self, folder: Path, database: duckdb.DuckDBPyConnection) -> None:
        """Keep them in a file in ``folder`` until ``database`` sorts them."""
        self._text = folder / "domains.txt"
        self._file = self._text.open("w", encoding="ascii", newline="\n")
        self._parquet: list[Path] = []
        self._database = database
        self.given = 0

    def add(self, block: Block) -> int:
        """Take the domains of a block, and of its file, which stays where it is; returns how many."""
        count = len(block.domains)
        if count:
            self._file.write("\n".join(block.domains) + "\n")
        if block.domains_file is not None:
            self._parquet.append(block.domains_file)
            count += parquet_rows(block.domains_file)
        self.given += count
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, part: Path, opted_out: set[str], seed: int, sample: Sample | None) -> tuple[int, int]:
        """Write unique names that have not opted out, one a line, as ``part`` (Zstandard).

        Returns how many were written, and how many had opted out.
        """
        self._file.close()
        self._database.execute(f"CREATE VIEW given AS {self._all()}")
        self._database.execute("CREATE TABLE opted_out AS SELECT unnest($1::VARCHAR[]) AS domain", [sorted(opted_out)])
        depths = sorted({name.count(".") + 1 for name in opted_out})
        # The name itself and every domain above it of as many labels as some opt-out has.
        above = [
            f"array_to_string(string_split(domain, '.')[-{depth:d}:], '.') IN (FROM opted_out)" for depth in depths
        ]
        # The names of one file are unique as they are; to sort millions out once more would cost seconds.
        single = len(self._parquet) == 1 and not self._text.stat().st_size
        unique = "given" if single else "(SELECT DISTINCT domain FROM given)"
        self._database.execute(
            f"CREATE {'VIEW' if single and not above else 'TABLE'} domains AS "  # noqa: S608 -- ours
            f"SELECT *, {' OR '.join(above) or 'false'} AS out FROM {unique}"
        )
        counts = "SELECT count(*) FILTER (out), count(*) FILTER (NOT out) FROM domains"
        ((out, kept),) = self._database.execute(counts).fetchall()
        limit = kept if sample is None else sample.of(kept)
        # DuckDB's own hash: a third of what MD5 costs, and the same for a seed as long as DuckDB's release is.
        self._database.execute(
            f"COPY (SELECT domain FROM domains WHERE NOT out ORDER BY hash('{seed:d}.' || domain), domain "  # noqa: S608 -- numbers and paths of ours
            f"LIMIT {limit:d}) TO {literal(part)} (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', COMPRESSION zstd)"
        )
        return limit, int(out)

    def _all(self) -> str:
        text = (
            f"SELECT domain FROM read_csv({literal(self._text)}, header = false, columns = {{'domain': 'VARCHAR'}}, "  # noqa: S608
            "delim = '', quote = '', escape = '', comment = '', auto_detect = false)"
        )
        files = [f"SELECT domain FROM read_parquet({literal(path)})" for path in self._parquet]  # noqa: S608 -- quoted
        return " UNION ALL ".join([text, *files])


def parquet_rows(path: Path) -> int:
    """Count the rows of a Parquet file, which its end tells."""
    with duckdb.connect() as database:
        ((count,),) = database.execute("SELECT sum(num_rows) FROM parquet_file_metadata(?)", [str(path)]).fetchall()
    return int(count or 0)
