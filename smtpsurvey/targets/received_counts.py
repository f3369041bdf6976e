"""Adds up what Received headers say, however much it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import duckdb
import msgspec

from smtpsurvey.items import Software
from smtpsurvey.targets.output import literal
from smtpsurvey.targets.received_route import Hop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEPT = 100_000
"""Different hops kept in memory; then they go to disk."""

AT_ONCE = 10_000
_MEMORY = "500MB"


class Counted(NamedTuple):
    """A hop, how many messages passed it, and when the newest of them came (seconds since the epoch)."""

    hop: Hop
    messages: int
    time: float


class ReceivedCounts:
    """Counts messages by hop."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder`` for what does not fit into memory."""
        self._folder = folder
        self._kept: dict[bytes, tuple[int, float]] = {}
        self._encode = msgspec.json.Encoder().encode
        self._files: list[Path] = []

    def add(self, hop: Hop, when: float) -> None:
        """Count a message that passed a hop."""
        key = self._encode(hop)
        messages, newest = self._kept.get(key, (0, 0.0))
        self._kept[key] = messages + 1, max(newest, when)
        if len(self._kept) >= KEPT:
            self._spill()

    def finish(self) -> Iterator[list[Counted]]:
        """Yield every hop once, 10,000 at a time, sorted."""
        self._spill()
        decode = msgspec.json.Decoder(tuple[str | None, str | None, Software | None, int, bool | None]).decode
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY,
            "temp_directory": str(self._folder / "spill"),
        }
        with duckdb.connect(config=config) as database:
            paths = ", ".join(map(literal, self._files))
            rows = database.execute(
                f"SELECT hop, sum(messages)::BIGINT, max(time) FROM read_csv([{paths}], header = false, "  # noqa: S608 -- paths of ours, quoted
                "columns = {'messages': 'BIGINT', 'time': 'DOUBLE', 'hop': 'VARCHAR'}, delim = '\t', quote = '', "
                "escape = '', comment = '', auto_detect = false) GROUP BY hop ORDER BY hop"
            )
            while found := rows.fetchmany(AT_ONCE):
                yield [Counted(Hop(*decode(hop)), messages, when) for hop, messages, when in found]
        for path in self._files:
            path.unlink()

    def _spill(self) -> None:
        path = self._folder / f"received-{id(self):x}-{len(self._files)}"
        with path.open("wb") as file:
            # JSON writes control characters as escapes: a tab or a line feed ends no field.
            file.writelines(b"%d\t%r\t%s\n" % (messages, newest, key) for key, (messages, newest) in self._kept.items())
        self._files.append(path)
        self._kept = {}
