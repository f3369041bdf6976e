"""What the mill leaves behind: the list, its shards and the table of sources, whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import gzip
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast
from zlib import crc32

import attrs
import msgspec
import numpy as np

from smtpsurvey.errors import SurveyError
from smtpsurvey.targets.bulk import format_lines, shards_of
from smtpsurvey.targets.shard import shard_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    import duckdb
    from numpy.typing import NDArray

    from smtpsurvey.kinds import ReceivedItem
    from smtpsurvey.targets.mentions import Named
    from smtpsurvey.targets.mill import Batch
    from smtpsurvey.targets.sources import ZoneSize

ENDINGS = ("", ".gz", ".zst")
_TABLES = """CREATE TABLE pairs (number UINTEGER, source USMALLINT);
    CREATE TABLE other_pairs (address VARCHAR, number BIGINT, source USMALLINT)"""
# An address that is in the list at the default port and at another.
_TWICE = "DELETE FROM other_pairs o USING pairs p WHERE o.number = p.number AND o.source = p.source"
_TEXT = "concat_ws('.', number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255)"
_ALL = f"SELECT {_TEXT} AS address, source FROM pairs UNION ALL SELECT DISTINCT address, source FROM other_pairs"  # noqa: S608 -- ours


@attrs.frozen
class Names:
    """The files of a run: ``targets.csv.zst`` gives ``targets-1-of-8.csv.zst`` and ``targets.sources.parquet``."""

    stem: Path
    ending: str

    @classmethod
    def of(cls, out: str) -> Names:
        """Take the file's name apart; raises SurveyError for what is no file of a folder that is there."""
        path = Path(out)
        if path.is_dir() or not path.parent.is_dir() or not path.name:
            raise SurveyError(f"{out}: {'a folder' if path.is_dir() else 'its folder is not there'}")
        base = path.name
        packed = next((end for end in ENDINGS[1:] if base.endswith(end)), "")
        base = base.removesuffix(packed)
        text = next((end for end in (".csv", ".txt") if base.endswith(end)), "")
        stem = base.removesuffix(text)
        if not stem:
            raise SurveyError(f"{out}: no name before the ending")
        return cls(path.with_name(stem), text + packed)

    @property
    def out(self) -> Path:
        """The list itself."""
        return self.beside(self.ending)

    def shard(self, number: int, count: int) -> Path:
        """Return the name of a shard, from 1."""
        return self.beside(f"-{number}-of-{count}{self.ending}")

    def beside(self, ending: str) -> Path:
        """Return the name of another file."""
        return self.stem.with_name(self.stem.name + ending)


class Outputs:
    """Files under ``NAME.part`` that get their names together on :meth:`commit`; without it they are removed."""

    def __init__(self) -> None:
        """Begin with none."""
        self._files: list[tuple[Path, Path, IO[bytes] | None]] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove what was not committed."""
        for _, part, file in self._files:
            if file is not None:
                with contextlib.suppress(OSError):  # a full disk, which is told already
                    file.close()
            part.unlink(missing_ok=True)

    def part(self, path: Path) -> Path:
        """Return the name to write the file under."""
        part = path.with_name(path.name + ".part")
        self._files.append((path, part, None))
        return part

    def open(self, path: Path) -> IO[bytes]:
        """Open a file to write, compressed as its name says."""
        part = path.with_name(path.name + ".part")
        if path.name.endswith(".zst"):
            file = cast("IO[bytes]", zstd.ZstdFile(part, "wb"))
        elif path.name.endswith(".gz"):
            file = cast("IO[bytes]", gzip.GzipFile(part, "wb", compresslevel=6))
        else:
            file = part.open("wb")
        self._files.append((path, part, file))
        return file

    def commit(self) -> list[Path]:
        """Give the files their names; returns these."""
        for _, _, file in self._files:
            if file is not None:
                file.close()
        for path, part, _ in self._files:
            part.replace(path)
        made = [path for path, _, _ in self._files]
        self._files = []
        return made


class TargetWriter:
    """Writes batches to the list, to each shard of it, and to the table of (address, source) pairs."""

    def __init__(self, outputs: Outputs, names: Names, shards: int, database: duckdb.DuckDBPyConnection) -> None:
        """Open the list and its shards (0: none); the pairs gather in a table of ``database``."""
        self._out = outputs.open(names.out)
        self._shards = [outputs.open(names.shard(number, shards)) for number in range(1, shards + 1)]
        self._database = database
        self._twice = False  # whether an address may be in both tables of pairs
        database.execute(_TABLES)

    def write(self, batch: Batch) -> None:
        """Write the targets of a batch."""
        plain = not batch.named and not batch.others
        shards = shards_of(batch.numbers, len(self._shards)) if self._shards else None
        if plain:
            self._out.write(format_lines(batch.numbers))
            for number, file in enumerate(self._shards):
                file.write(format_lines(batch.numbers[shards == number]))
        else:
            lines, where = _lines(batch, shards, len(self._shards))
            self._out.write(b"".join(lines))
            for number, file in enumerate(self._shards):
                file.write(b"".join(line for line, at in zip(lines, where, strict=True) if at == number))
        self._keep_pairs(batch)

    def write_sources(self, part: Path, labels: Sequence[str]) -> None:
        """Write all pairs as Parquet: two columns of text, ``address`` and ``source``."""
        if self._twice:
            self._database.execute(_TWICE)
        self._database.execute("CREATE TABLE labels AS SELECT unnest($1) AS label", [list(labels)])
        label = "(SELECT list(label) FROM labels)[source + 1]"
        self._database.execute(
            f"COPY (SELECT address, {label} AS source FROM ({_ALL})) TO {literal(part)} "  # noqa: S608 -- quoted
            "(FORMAT parquet, COMPRESSION zstd)"
        )

    def _keep_pairs(self, batch: Batch) -> None:
        at, sources = batch.pairs
        self._insert("pairs", {"number": batch.numbers[at], "source": sources})
        others = [(other.address, other.number, source) for other in batch.others for source in other.sources]
        if others:
            addresses, numbers, numbered = zip(*others, strict=True)
            self._twice |= any(number is not None for number in numbers)
            columns = {
                "address": np.array(addresses, np.object_),
                "number": np.array([-1 if number is None else number for number in numbers], np.int64),
                "source": np.array(numbered, np.uint16),
            }
            self._insert("other_pairs", columns)

    def _insert(self, table: str, columns: Mapping[str, NDArray[Any]]) -> None:
        self._database.register("gathered", dict(columns))
        self._database.execute(f"INSERT INTO {table} SELECT {', '.join(columns)} FROM gathered")  # noqa: S608 -- ours
        self._database.unregister("gathered")


def _lines(batch: Batch, shards: NDArray[np.uint32] | None, count: int) -> tuple[list[bytes], list[int]]:
    """Make all lines of a batch, in order, and the shard of each (where there are shards)."""
    lines = format_lines(batch.numbers).splitlines(keepends=True)
    places = np.searchsorted(batch.keys, np.array([each.key for each in batch.named], np.uint32))
    for place, each in zip(places.tolist(), batch.named, strict=True):
        lines[place] = each.line
    lines += [other.line for other in batch.others]
    keys = np.concatenate([batch.keys, np.array([other.key for other in batch.others], np.uint32)])
    order = np.argsort(keys, kind="stable").tolist()
    if shards is None:
        return [lines[at] for at in order], []
    where = shards.tolist() + [_shard(other, count) for other in batch.others]
    return [lines[at] for at in order], [where[at] for at in order]


def _shard(other: Named, count: int) -> int:
    """Return the shard of an address, of a host name by its own text: its addresses are not known yet."""
    try:
        return shard_of(other.address, count)
    except OSError:
        return (crc32(other.address.encode()) * count) >> 32


def write_received(file: IO[bytes], items: Iterable[ReceivedItem]) -> None:
    """Write items as JSON lines, which ``scrapy import`` reads."""
    encoder = msgspec.json.Encoder()
    for item in items:
        file.write(encoder.encode(item) + b"\n")


def write_zone_sizes(path: Path, sizes: Iterable[ZoneSize]) -> None:
    """Write zone, date and number of domains as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("zone", "date", "domains"))
        writer.writerows(attrs.astuple(size) for size in sizes)


def literal(path: Path) -> str:
    """Quote a path for SQL, where no parameter may stand."""
    return "'" + str(path).replace("'", "''") + "'"
