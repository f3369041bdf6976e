"""Sets apart the rows that a database refuses, so that they neither hold back nor lose the others."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import msgspec

from smtpsurvey.store.kinds import group_of
from smtpsurvey.store.writer import Batch, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Table

    from smtpsurvey.items import SmtpItem
    from smtpsurvey.store.kinds import Rows
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

    def batch(self, writer: Writer, server: int, items: Sequence[SmtpItem | Rows]) -> Batch:
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
                refused.append(
                    {"ip": str(getattr(item, "ip", None)), "reason": str(error), "item": repr(item)[:_SHOWN]}
                )
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
                halves = _halves(part, self._schema)
                parts += reversed(halves)
                if not halves:
                    refused += self._lines(part, str(error).removeprefix(f"{self._shard}: "))
        self._set_apart(refused)

    def _lines(self, record: Record, reason: str) -> list[dict[str, Any]]:
        if not isinstance(record, Batch):
            return [{"ip": None, "reason": reason, "record": record}]
        tables = {"certificates": record.certificates, "observations": record.observations, **record.others}
        schema = {**self._schema.others, "certificates": self._schema.certificates}
        schema["observations"] = self._schema.observations[0]
        named = [(name, _named(schema[name], row)) for name, rows in tables.items() for row in rows]
        return [
            {"ip": row.get("ip", row.get("address")), "reason": reason, "table": name, "row": row}
            for name, row in named
        ]

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


def _halves(record: Record, schema: Schema) -> list[Record]:
    """Split a batch, certificates first, then by tables, then between rows; a single group of rows cannot be."""
    if not isinstance(record, Batch):
        return []
    parts = [Batch([], record.certificates), Batch(record.observations, [])]
    parts += [Batch([], [], {name: rows}) for name, rows in record.others.items()]
    parts = [part for part in parts if part.certificates or len(part)]
    return [*parts] if len(parts) > 1 else [half for part in parts for half in _split(part, schema)]


def _split(part: Batch, schema: Schema) -> list[Batch]:
    """Split what is of one table, but no group that replaces another as a whole."""
    for name, rows in part.others.items():
        group = group_of(schema.others[name])
        groups = sorted({group(row) for row in rows})
        middle = groups[len(groups) // 2]
        halves = ([row for row in rows if group(row) < middle], [row for row in rows if group(row) >= middle])
        return [Batch([], [], {name: half}) for half in halves] if len(groups) > 1 else []
    rows = part.observations or part.certificates
    cut = slice(len(rows) // 2), slice(len(rows) // 2, None)
    return [Batch(part.observations[each], part.certificates[each]) for each in cut] if len(rows) > 1 else []
