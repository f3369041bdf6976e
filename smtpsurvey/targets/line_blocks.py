"""The lines of a list, many at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smtpsurvey.targets.source import TargetsError, open_targets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.targets.source import BlockReader
    from smtpsurvey.targets.sources import Report

LONGEST = 1 << 20
"""Bytes of a line at most: what goes beyond is dropped, so that whoever reads it finds it too long."""


def check_readable(path: str) -> None:
    """Raise :class:`~smtpsurvey.targets.source.TargetsError` for what can be seen at once to be no list."""
    if path != "-" and not Path(path).is_fifo():  # to open a FIFO may take until someone writes to it
        open_targets(path).close()


def line_blocks(reader: BlockReader, report: Report, longest: int = LONGEST) -> Iterator[bytes]:
    """Yield pieces of about 256 KiB that end with LF; a last line without one gets it.

    An archive that breaks off is told to ``report``, its last line dropped, for it may be half of one. Raises
    :class:`~smtpsurvey.targets.source.TargetsError` for what cannot be read at all.
    """
    rest = b""
    begun = False
    try:
        while block := reader.read():
            begun = True
            end = block.rfind(b"\n") + 1
            if end:
                yield rest + block[:end]
                rest = block[end:]
            else:
                rest = (rest + block)[: longest + 2]  # two more: CR LF does not count
    except TargetsError as error:
        if not begun:
            raise
        report.broke(str(error))
        rest = b""
    finally:
        reader.close()
    if rest:
        yield rest + b"\n"
