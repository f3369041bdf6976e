"""Reads observations from files: our own feeds, zgrab2's results, ZMap's lists, told apart by each line.

A file may be plain, gzip or Zstandard. What cannot be used is told with its line, and never holds back the rest.
"""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import DEFAULT_PORT, Observation, SmtpItem, Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.store.checks import BadItemError, address, checked, label, timestamp
from smtpsurvey.store.kind_checks import CHECKS, checked_kind
from smtpsurvey.store.kinds import NAMED
from smtpsurvey.store.zgrab.format import NOTHING
from smtpsurvey.store.zgrab.read import observations
from smtpsurvey.targets.address import read_number, shown
from smtpsurvey.targets.source import open_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

T = TypeVar("T", bound=Any)
MAX_LINE = 16 * 1024 * 1024
"""Bytes of a line at most: an item has no more than 64 KiB of each reply, escaped."""

NO_SMTP = "open"
"""Under this ``left_out`` counts addresses that answered a SYN, which says nothing about SMTP."""

_BOM = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder(SmtpItem).decode


class _Head(msgspec.Struct):
    """What tells the lines of other files apart."""

    kind: str | None = None
    data: msgspec.Raw = NOTHING


_decode_head = msgspec.json.Decoder(_Head).decode
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind) for name, kind in NAMED.items() if kind in CHECKS
}


class Feed:
    """One file of observations.

    ``bad`` counts the lines that could not be used, ``left_out`` those that are fine but nothing that was asked for:
    items of other kinds, results of other modules, and :data:`NO_SMTP`.
    """

    def __init__(self, path: str, survey: str | None, on_bad: Callable[[int, str], object]) -> None:
        """Read the file at ``path``, ``-`` for standard input; a label given replaces those of the items.

        ``on_bad`` is called with line number (from 1) and reason.
        """
        self.path = path
        self.bad = 0
        self.left_out: Counter[str] = Counter()
        self._survey = survey
        self._on_bad = on_bad
        self._columns: Mapping[str, int] = {}  # of a ZMap list with header
        self._decoders: Mapping[str, msgspec.json.Decoder[Any]] = {}

    def items(self) -> Iterator[tuple[int, SmtpItem]]:
        """Give observations with the numbers of their lines; all values are checked.

        Raises :class:`SurveyError` when the file cannot be read (further), or needs a label that is not given.
        """
        self._decoders = {}
        return self._items()

    def all_items(self) -> Iterator[tuple[int, Any]]:
        """Give items of all kinds that the store has tables for, as :meth:`items` does observations."""
        self._decoders = _DECODERS
        return self._items()

    def _items(self) -> Iterator[tuple[int, Any]]:
        for number, line, whole in self._lines():
            if not line or line.isspace():
                continue
            try:
                items = self._read(line)
            except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
                end = "" if whole else "half-written last line, left out: "
                self._refuse(number, f"{end}{error}")
                continue
            for item in items:
                yield number, item

    def _lines(self) -> Iterator[tuple[int, bytes, bool]]:
        """Give number, line and whether its end came; a line too long is refused."""
        blocks = open_targets(self.path)
        number, rest, dropping = 1, b"", False
        try:
            while block := blocks.read():
                *complete, last = block.split(b"\n")
                for line in complete:
                    if not dropping:
                        yield number, (rest + line if rest else line).removeprefix(_BOM if number == 1 else b""), True
                    number, rest, dropping = number + 1, b"", False
                rest = b"" if dropping else rest + last
                if len(rest) > MAX_LINE:
                    self._refuse(number, f"longer than {MAX_LINE:,} bytes")
                    rest, dropping = b"", True
        finally:
            blocks.close()
        if rest:
            yield number, rest, False

    def _read(self, line: bytes) -> Iterable[Any]:
        if not line.startswith(b"{"):
            return self._zmap(line)
        try:
            item = _decode(line)
        except msgspec.ValidationError:
            head = _decode_head(line)
            if head.data != NOTHING:
                return self._zgrab(line)
            if head.kind is None:
                raise
            if head.kind not in self._decoders:
                self.left_out[head.kind] += 1
                return ()
            return (checked_kind(self._labelled(self._decoders[head.kind].decode(line))),)
        return (checked(self._labelled(item)),)

    def _labelled(self, item: T) -> T:
        item.survey = label(item.survey) if self._survey is None else self._survey
        return item

    def _zgrab(self, line: bytes) -> list[SmtpItem]:
        survey = self._label("a result of zgrab2")
        seen = observations(line)
        if not seen:
            self.left_out["no smtp"] += 1
        return [checked(SmtpItem.from_observation(each, survey)) for each in seen]

    def _zmap(self, line: bytes) -> Iterable[SmtpItem]:
        """Read a line of ZMap's CSV: only an address that refused the connection is an observation."""
        try:
            fields = next(csv.reader([line.decode().rstrip("\r")], strict=True))
        except (UnicodeDecodeError, csv.Error):
            fields = []
        if "saddr" in fields:
            self._columns = {name: at for at, name in enumerate(fields)}
            return ()
        if not self._columns and len(fields) != 1:
            raise BadItemError(f"neither JSON nor a list of ZMap's: {shown(line[:100].decode(errors='replace'))}")
        row = {name: fields[at] for name, at in self._columns.items() if at < len(fields)}
        ip = address(row.get("saddr", fields[0] if fields else ""))
        if row.get("classification") != "rst":
            self.left_out[NO_SMTP] += 1
            return ()
        port = row.get("sport")
        target = Target(ip, read_number(port, 0, 65535, "sport") if port else DEFAULT_PORT)
        return (
            SmtpItem.from_observation(
                Observation(target, _zmap_time(row), 0.0, Outcome.REFUSED), self._label("a list of ZMap's")
            ),
        )

    def _label(self, what: str) -> str:
        if self._survey is None:
            raise SurveyError(f"{self.path}: {what} has no survey's label: say --survey LABEL")
        return self._survey

    def _refuse(self, number: int, reason: str) -> None:
        self.bad += 1
        self._on_bad(number, reason)


def _zmap_time(row: Mapping[str, str]) -> float:
    if text := row.get("timestamp_str"):
        return timestamp(text)
    try:
        time = int(row["timestamp_ts"]) + int(row.get("timestamp_us") or 0) / 1e6
        datetime.fromtimestamp(time, UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        raise BadItemError("no time: let ZMap write the field timestamp_str or timestamp_ts") from None
    return time
