"""Splits a target list into shards, each a gzip'd list of its own, by the hash that ``-a shard=I/N`` has too."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from typing import TYPE_CHECKING
from zlib import crc32

from smtpsurvey.items import Target
from smtpsurvey.targets.lines import HostName, TargetLines
from smtpsurvey.targets.shard import shard_of
from smtpsurvey.targets.source import open_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_HELD = 1_000_000  # lines that wait in memory to be written
_LEVEL = 1  # of gzip: addresses shrink to a third with any


def split(path: str, port: int, shards: int, folder: Path, on_bad: Callable[[int, str], object]) -> int:
    """Write the shards of a list as ``FOLDER/N.csv.gz``, from 1, whole or not at all; the number of targets.

    Networks and ranges become addresses. A host name goes by its own hash. Raises ``SurveyError`` for a list that
    cannot be read; ``on_bad`` gets line number and reason of each bad line.
    """
    partial = folder.with_name(f"{folder.name}.part")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    held: list[list[str]] = [[] for _ in range(shards)]
    waiting = total = 0
    for target in _targets(path, port, on_bad):
        shard, line = _line(target, port, shards)
        held[shard].append(line)
        waiting, total = waiting + 1, total + 1
        if waiting >= _HELD:
            _write(partial, held)
            waiting = 0
    _write(partial, held)
    partial.replace(folder)
    return total


def shard_file(folder: Path, shard: int) -> Path:
    """Name the file of a shard, from 1."""
    return folder / f"{shard}.csv.gz"


def _targets(path: str, port: int, on_bad: Callable[[int, str], object]) -> Iterator[Target | HostName]:
    lines = TargetLines(path, None, port, on_bad)
    blocks = open_targets(path)
    try:
        while block := blocks.read():
            yield from lines.feed(block)
        yield from lines.finish()
    finally:
        blocks.close()


def _line(target: Target | HostName, port: int, shards: int) -> tuple[int, str]:
    if isinstance(target, Target):
        shard, address, name = shard_of(target.ip, shards), target.ip, target.name
    else:
        shard, address, name = (crc32(target.name.encode()) * shards) >> 32, target.name, target.label
    if name is None and target.tag is None and target.port == port:
        return shard, f"{address}\n"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow((address, name, target.tag, target.port))
    return shard, text.getvalue()


def _write(folder: Path, held: Iterable[list[str]]) -> None:
    """Add what waits to the files, each time as a gzip member of its own, so that few are open at a time."""
    for shard, lines in enumerate(held, 1):
        with gzip.open(shard_file(folder, shard), "ab", compresslevel=_LEVEL) as file:
            file.write("".join(lines).encode())
        lines.clear()
