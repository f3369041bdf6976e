"""Target lists as bytes: a file or standard input, plain, gzip or Zstandard, block by block."""

from __future__ import annotations

import gzip
import io
import os
import select
import stat
import sys
import threading
import zlib
from typing import TYPE_CHECKING

from smtpsurvey.errors import SurveyError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 256 * 1024
GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952 section 2.3.1
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1


class TargetsError(SurveyError):
    """A target list that cannot be read (further); the message is one line: file and reason."""


class BlockReader:
    """The decompressed bytes of an open list. What it holds, not its name, says how it is compressed.

    :meth:`read` blocks, so call it in a thread; :meth:`close` may be called from another one and
    ends a :meth:`read` that waits for a pipe.
    """

    def __init__(self, label: str, file: io.FileIO) -> None:
        """Read the unbuffered ``file``, called ``label`` in messages."""
        self._label = label
        self._source = _Source(file)
        self._read1: Callable[[int], bytes | None] | None = None  # chosen by the first bytes
        self._closed = False
        self._reading = threading.Lock()

    @property
    def fraction(self) -> float | None:
        """How much of the file is read, 0 to 1 (of its compressed bytes); ``None`` for a pipe."""
        return self._source.fraction

    def read(self) -> bytes:
        """Return the next block: 1 byte to 256 KiB, of a pipe what is there; ``b""`` at the end.

        Raises :class:`TargetsError` for binary data, a truncated or corrupt archive (after what came
        before that) and a failing file.
        """
        with self._reading:
            if self._closed:
                return b""
            try:
                return self._next_block() if self._read1 is None else self._read1(BLOCK) or b""
            except _ClosedError:
                return b""
            except EOFError:
                reason = "the archive is truncated"
            except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
                reason = f"the archive is corrupt ({error})"
            except OSError as error:
                reason = error.strerror or str(error)
            raise TargetsError(f"{self._label}: {reason}")

    def close(self) -> None:
        """Close the file (standard input itself stays open); :meth:`read` then returns ``b""``."""
        if not self._closed:
            self._closed = True
            self._source.wake()
            with self._reading:
                self._source.close()

    def _next_block(self) -> bytes:
        """Find out how the list is compressed and return its first block."""
        head = b""
        while any(magic.startswith(head) and magic != head for magic in (GZIP_MAGIC, ZSTD_MAGIC)):
            more = self._source.read(BLOCK)
            if not more:
                break
            head += more
        self._source.head = head
        # The readers of archives take a short read for the end, so a buffer fills their reads.
        if head.startswith(GZIP_MAGIC):
            self._read1 = gzip.GzipFile(fileobj=io.BufferedReader(self._source)).read1
        elif head.startswith(ZSTD_MAGIC):
            self._read1 = zstd.ZstdFile(io.BufferedReader(self._source)).read1
        else:
            self._read1 = self._source.read
        block = self._read1(BLOCK) or b""
        if b"\0" in block:
            raise TargetsError(f"{self._label}: binary data, not a list of targets")
        return block


def open_targets(path: str) -> BlockReader:
    """Open the list at ``path``, or standard input for ``-``; blocks as ``open`` does (a FIFO without a writer).

    Raises :class:`TargetsError` when it is missing, a directory, or not ours to read.
    """
    try:
        if path == "-":
            return BlockReader("standard input", io.FileIO(0, closefd=False))
        return BlockReader(path, io.FileIO(path))
    except OSError as error:
        raise TargetsError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise TargetsError(f"{path!r}: no file name ({error})") from error


class _ClosedError(Exception):
    """The list was closed while a read waited for it."""


class _Source(io.RawIOBase):
    """A file whose waiting read another thread can end, and whose first bytes can be given back."""

    def __init__(self, file: io.FileIO) -> None:
        self.head = b""
        self._file = file
        status = os.fstat(file.fileno())
        self._size = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._bytes = 0
        woken, wake = os.pipe()
        self._woken, self._wake = io.FileIO(woken), io.FileIO(wake, "w")
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)
        self._poll.register(woken, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # a buffer of bytes it is
        if self.head:
            start = self.head[: len(buffer)]
            buffer[: len(start)], self.head = start, self.head[len(start) :]
            return len(start)
        size: int | None = None
        while size is None:  # None: not blocking, and another reader of the pipe was faster
            if any(ready == self._woken.fileno() for ready, _ in self._poll.poll()):
                raise _ClosedError
            size = self._file.readinto(buffer)
        self._bytes += size
        return size

    @property
    def fraction(self) -> float | None:
        if self._size is None:
            return None
        return min(1.0, self._bytes / self._size) if self._size else 1.0

    def wake(self) -> None:
        self._wake.close()

    def close(self) -> None:
        for file in (self._wake, self._woken, self._file):
            file.close()
        super().close()
