"""The spool: what a shard could not take yet, on disk, in the order in which it is to be written.

A file holds frames: length and CRC-32 of what follows (big-endian, four bytes each), then a record in
MessagePack. A frame is on the disk (fsync) before it counts, so a last one that is torn was never
acknowledged, and is dropped. A frame that names the columns goes before the records that have them.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, overload
from zlib import crc32

import msgspec

from smtpsurvey.store import StoreError
from smtpsurvey.store.kinds import place_of
from smtpsurvey.store.layout import Layout
from smtpsurvey.store.refusals import Refusals
from smtpsurvey.store.writer import Batch, Begin, End, Tallies, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.settings import BaseSettings

    from smtpsurvey.store.schema import Schema
    from smtpsurvey.store.shards import Shards
    from smtpsurvey.store.writer import Record

_FRAME = struct.Struct(">II")
_MOST = 100  # files of one shard: of jobs that run side by side in one folder
_UNSAFE = re.compile(r"[^A-Za-z0-9.:-]+")
_NAME_LENGTH = 200
_SUFFIX = ".spool"


_DECODER: msgspec.msgpack.Decoder[Layout | Record] = msgspec.msgpack.Decoder(Layout | Batch | Begin | End | Tallies)
_ENCODER = msgspec.msgpack.Encoder(enc_hook=str)  # a subclass of str, from somebody's pipeline


class Spool:
    """The file of one shard. It is this process's alone, and is there only while something is in it."""

    def __init__(self, path: Path, layout: Layout) -> None:
        """Use this file; nothing is opened yet."""
        self.path = path
        self._now = layout
        self._file = -1
        self._start = self._end = 0  # what is between is still to be written
        self._last: Layout | None = None  # the layout at the end
        self._first: Layout | None = None  # and at the start
        self.rows = 0

    @property
    def empty(self) -> bool:
        """Whether everything in it was taken."""
        return self._start == self._end

    def open(self, *, create: bool = True) -> bool:
        """Open the file and find its end; say whether it is there and ours: no other process has it.

        Raises :class:`StoreError` for a file that is damaged, :class:`OSError`.
        """
        if self._file >= 0:
            return True
        if create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        except FileNotFoundError:
            return False
        if not _take(file):
            os.close(file)
            return False
        self._file = file
        if create:
            _sync_folder(self.path.parent)
        try:
            self._scan()
        except StoreError:
            self._release()
            raise
        return True

    def append(self, record: Record) -> None:
        """Put a record at the end, on the disk when this returns. Raises :class:`OSError`; then nothing changed."""
        data = _framed(record) if self._last == self._now else _framed(self._now) + _framed(record)
        try:
            rest = memoryview(data)
            position = self._end
            while rest:
                written = os.pwrite(self._file, rest, position)
                rest, position = rest[written:], position + written
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(data)
        self._last = self._now
        self.rows += _rows(record)

    def peek(self) -> tuple[Record, int] | None:
        """Give the first record, and what :meth:`drop` needs to go on to the next."""
        position = self._start
        while position < self._end:
            found, position = self._read(position)
            if isinstance(found, Layout):
                self._first = found
            else:
                assert self._first is not None  # noqa: S101 - _scan() has seen to it
                return self._first.adapt(found, self._now), position
        return None

    def drop(self, record: Record, position: int) -> None:
        """Forget the first record, which has been written; the last one gives the room back."""
        self._start = position
        self.rows -= _rows(record)
        if self.empty:
            os.ftruncate(self._file, 0)
            os.fsync(self._file)  # or a crash would bring back what later rows have replaced
            self._start = self._end = 0
            self._first = self._last = None

    def close(self) -> None:
        """Close the file, and remove it if nothing is in it."""
        if self._file >= 0:
            if self.empty:
                self.path.unlink(missing_ok=True)
            self._release()

    def _release(self) -> None:
        os.close(self._file)
        self._file = -1

    def _scan(self) -> None:
        """Find the end of the last whole record, and cut off what follows: a torn one, and its layout."""
        size, position = os.fstat(self._file).st_size, 0
        layout: Layout | None = None
        while position < size:
            try:
                found, position = self._read(position)
            except EOFError:
                break
            if isinstance(found, Layout):
                if found.shard != self._now.shard:
                    raise StoreError(f"{self.path}: the spool of {found.shard}, not of {self._now.shard}")
                layout = found
            elif layout is None:
                raise StoreError(f"{self.path}: no spool, or its beginning is lost")
            else:
                self.rows += _rows(found)
                self._last, self._end = layout, position
        os.ftruncate(self._file, self._end)

    def _read(self, position: int) -> tuple[Layout | Record, int]:
        """Read a frame; raises :class:`EOFError` if it is torn, :class:`StoreError` if it is damaged."""
        head = os.pread(self._file, _FRAME.size, position)
        if len(head) < _FRAME.size:
            raise EOFError
        length, checksum = _FRAME.unpack(head)
        end = position + _FRAME.size + length
        size = os.fstat(self._file).st_size
        if end > size or not (length or any(os.pread(self._file, size - position, position))):
            raise EOFError  # a power cut may leave zeros where the last frame should be
        data = os.pread(self._file, length, position + _FRAME.size)
        if crc32(data) != checksum:
            if end == size:
                raise EOFError
            raise StoreError(f"{self.path}: damaged at byte {position}; move it away, or cut it there")
        try:
            return _DECODER.decode(data), end
        except msgspec.MsgspecError as error:
            raise StoreError(f"{self.path}: no record at byte {position} ({error})") from None


def folder_of(settings: BaseSettings) -> Path:
    """Give the folder of the spool files: ``spool`` in JOBDIR, or in the working folder."""
    return Path(settings.get("JOBDIR") or ".", "spool")


@overload
def claim(folder: Path, shard: str, schema: Schema) -> Spool: ...
@overload
def claim(folder: Path, shard: str, schema: Schema, *, create: bool) -> Spool | None: ...
def claim(folder: Path, shard: str, schema: Schema, *, create: bool = True) -> Spool | None:
    """Open a spool file of a shard that is no other process's: one that is there, or, with ``create``, a new one.

    Raises :class:`StoreError`, :class:`OSError`.
    """
    for path in _paths(folder, shard):
        spool = Spool(path, Layout.of(shard, schema))
        if spool.open(create=create):
            return spool
    if create:
        raise StoreError(f"{folder}: other processes have {_MOST} files for {shard}")
    return None


def replay_all(shards: Shards, folder: Path) -> dict[str, int]:
    """Write what is spooled in a folder (that of :func:`folder_of`), and count the rows by shard.

    Raises :class:`StoreError` at the first shard that cannot be written (the rest stays where it is), and for
    files that are of none of the shards, or of a crawl that runs.
    """
    writer, done = Writer(shards), {}
    for server, shard in enumerate(shards):
        refusals = Refusals(folder, shard.name, shards.schema)
        done[shard.name] = 0
        try:
            while (spool := claim(folder, shard.name, shards.schema, create=False)) is not None:
                try:
                    while (found := spool.peek()) is not None:
                        _check_placement(shards, server, found[0], spool.path)
                        refusals.apply(writer, server, found[0])
                        done[shard.name] += _rows(found[0])
                        spool.drop(*found)
                finally:
                    spool.close()
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror}") from None
    if left := sorted(folder.glob(f"*{_SUFFIX}")):
        raise StoreError(f"{left[0]}: in use by a crawl, or of a database that SMTPSURVEY_SHARDS does not name")
    return done


def _paths(folder: Path, shard: str) -> Iterator[Path]:
    name = _UNSAFE.sub("_", shard)[-_NAME_LENGTH:]
    yield folder / f"{name}{_SUFFIX}"
    for number in range(2, _MOST + 1):
        yield folder / f"{name}.{number}{_SUFFIX}"


def _check_placement(shards: Shards, server: int, record: Record, path: Path) -> None:
    if not isinstance(record, Batch):
        return
    keys = [row[1] for row in record.observations]
    keys += [place_of(shards.schema, name, row) for name, rows in record.others.items() for row in rows]
    if any(shards.placement.server(key) != server for key in keys):
        raise StoreError(
            f"{path}: made with another list of databases, and its rows do not belong to {shards[server].name} now; "
            "give SMTPSURVEY_SHARDS as it was, replay, then rebalance"
        )


def _take(file: int) -> bool:
    """Lock a file; ``False`` if another process has it, or has emptied and removed it just now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file).st_nlink > 0


def _framed(record: Layout | Record) -> bytes:
    data = _ENCODER.encode(record)
    return _FRAME.pack(len(data), crc32(data)) + data


def _rows(record: Record) -> int:
    return len(record) if isinstance(record, Batch) else 0


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
