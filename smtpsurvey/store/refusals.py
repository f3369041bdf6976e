"""Sets apart the rows that a database refuses, so that they neither hold back nor lose the others."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import msgspec

from smtpsurvey.store.writer import Batch, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Table

    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.schema import Schema
    from smtpsurvey.store.writer import Record, Writer

logger = logging.getLogger(__name__)

FILE = "refused.jsonl"
_SHOWN = 10_000  # characters of an item that cannot even become a row
_UNUSABLE = (AttributeError, TypeError, ValueError)  # a field of another type than it is declared


class Refusals:
    """What one shard refuses: a JSON line each, with the reason, in the spool's folder."""

    def __init__(self, folder: Path, shard: str, schema: Schema) -> None:
        """Write to the folder, which is made when needed."""
        self._path = folder / FILE
        self._shard = shard
        self._schema = schema

    def batch(self, writer: Writer, server: int, items: Sequence[SmtpItem]) -> Batch:
        """Make the rows of items, without those of which none can be made. Raises :class:`OSError`."""
        try:
            return writer.batch(server, items)
        except _UNUSABLE:
            pass
        usable, refused = [], []
        for item in items:
            try:
                writer.batch(server, [item])
            except _UNUSABLE as error:
                refused.append({"ip": str(item.ip), "reason": str(error), "item": repr(item)[:_SHOWN]})
            else:
                usable.append(item)
        self._set_apart(refused)
        return writer.batch(server, usable)

    def apply(self, writer: Writer, server: int, record: Record) -> None:
        """Write a record but for the rows that are refused; raises ``UnavailableError``, :class:`OSError`."""
        refused: list[dict[str, Any]] = []
        parts = [record]
        while parts:
            part = parts.pop()
            try:
                writer.apply(server, part)
            except RefusedError as error:
                halves = _halves(part)
                parts += reversed(halves)
                if not halves:
                    refused.append(self._line(part, str(error).removeprefix(f"{self._shard}: ")))
        self._set_apart(refused)

    def _line(self, record: Record, reason: str) -> dict[str, Any]:
        if not isinstance(record, Batch):
            return {"ip": None, "reason": reason, "record": record}
        if record.certificates:
            return {"ip": None, "reason": reason, "row": _named(self._schema.certificates, record.certificates[0])}
        row = _named(self._schema.observations[0], record.observations[0])
        return {"ip": row["ip"], "reason": reason, "row": row}

    def _set_apart(self, refused: list[dict[str, Any]]) -> None:
        if not refused:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        encoder = msgspec.json.Encoder(enc_hook=str)
        with self._path.open("ab", buffering=0) as file:
            file.write(b"".join(encoder.encode({"shard": self._shard, **line}) + b"\n" for line in refused))
            os.fsync(file.fileno())
        first = refused[0]
        logger.error(
            "Store: %s refuses %d of the rows (%s: %s); they are kept in %s",
            self._shard,
            len(refused),
            first["ip"] or "no address",
            first["reason"],
            self._path,
        )


def _named(table: Table, row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(map(str, table.columns.keys()), row, strict=True))


def _halves(record: Record) -> list[Record]:
    """Split a batch, certificates first; a single row cannot be."""
    if not isinstance(record, Batch):
        return []
    rows, chains = record.observations, record.certificates
    if rows and chains:
        return [Batch([], chains), Batch(rows, [])]
    middle = (len(rows) + len(chains)) // 2
    if not middle:
        return []
    return [Batch(rows[:middle], chains[:middle]), Batch(rows[middle:], chains[middle:])]
