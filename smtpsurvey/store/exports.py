"""Writes a survey out of the store: JSON lines, CSV, Parquet, zgrab2's results. Memory does not grow with it."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

import attrs
import msgspec
from msgspec import inspect

from smtpsurvey.items import SmtpItem, Software
from smtpsurvey.report.text import cell
from smtpsurvey.store import StoreError
from smtpsurvey.store.kind_items import READ
from smtpsurvey.store.kinds import PROBE
from smtpsurvey.store.zgrab import write as zgrab

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpsurvey.items import EhloItem, ReplyItem
    from smtpsurvey.store.reader import Reader

_ENCODER = msgspec.json.Encoder()
_MAX_OBJECT = 32 * 1024 * 1024  # bytes of an item that DuckDB reads: twice what an import does
_MEMORY = "512MB"  # that DuckDB may use
_ROW_GROUP = 20_480  # rows that it gathers before it writes them


def write_jsonl(reader: Reader, survey: str, kind: str, file: IO[bytes]) -> int:
    """Write the items of a kind as a feed has them, and count them."""
    count = 0
    for items in reader.batches(survey, kind):
        file.write(_ENCODER.encode_lines(items))
        count += len(items)
    return count


def write_csv(reader: Reader, survey: str, kind: str, file: IO[bytes]) -> int:
    """Write the items of a kind as lines (RFC 4180), for people and spreadsheets, and count them.

    No cell is a formula, and what has no glyph is an escape, so each line of the file is a row.
    """
    count = 0
    columns, lines = (CSV_COLUMNS, _lines) if kind == PROBE else (READ[kind].columns, READ[kind].lines)
    text = io.TextIOWrapper(file, "utf-8", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(columns)
        for items in reader.batches(survey, kind):
            writer.writerows([_cell(value) for value in line] for item in items for line in lines(item))
            count += len(items)
    finally:
        text.detach()
    return count


def write_zgrab(reader: Reader, survey: str, _kind: str, file: IO[bytes]) -> int:
    """Write the observations as zgrab2 would have, but for targets that were excluded, and count them."""
    count = 0
    for shard, rows in reader.pages(survey):
        digests = {digest for row in rows if row.chain for digest in msgspec.json.decode(row.chain)}
        digests |= {row.certificate for row in rows if row.certificate}
        ders = reader.ders(shard, digests) if digests else {}
        lines = [line for row in rows if (line := zgrab.line(row, ders)) is not None]
        file.write(b"".join(line + b"\n" for line in lines))
        count += len(lines)
    return count


def write_parquet(reader: Reader, survey: str, kind: str, path: Path) -> int:
    """Write the items of a kind, nested as in a feed, to a new file, and count them."""
    import duckdb  # noqa: PLC0415 - 40 MB that only this needs

    with tempfile.TemporaryFile(dir=path.parent) as lines, duckdb.connect(":memory:") as database:
        with zstd.ZstdFile(lines, "w") as packed:
            count = write_jsonl(reader, survey, kind, cast("IO[bytes]", packed))
        lines.flush()
        database.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        database.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 2")
        items = database.read_json(
            f"/dev/fd/{lines.fileno()}",  # has no name that could be taken for a pattern
            columns=parquet_columns(SmtpItem if kind == PROBE else READ[kind].item),
            format="newline_delimited",
            compression="zstd",
            maximum_object_size=_MAX_OBJECT,
        )
        items.write_parquet(str(path), compression="zstd", row_group_size=_ROW_GROUP)
    return count


_STREAMS = {"jsonl": write_jsonl, "csv": write_csv, "zgrab2": write_zgrab}


def to_stream(reader: Reader, survey: str, kind: str, form: str, file: IO[bytes]) -> int:
    """Write a survey's items of a kind as ``jsonl``, ``csv`` or ``zgrab2``; count them. Raises ``StoreError``."""
    return _STREAMS[form](reader, survey, kind, file)


def export(reader: Reader, survey: str, kind: str, form: str, path: Path) -> int:
    """Write a survey's items of a kind, as ``parquet`` too, to a file, which appears only when complete; count them.

    ``.gz`` and ``.zst`` at the end of the name compress. What is there and no file (a pipe, a device) is
    written to directly. Raises ``StoreError`` and ``OSError``.
    """
    path = path.resolve()  # a link stays one
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent}: no such folder")
    if path.exists() and not path.is_file():
        if form == "parquet":
            raise StoreError(f"{path}: not a regular file, which Parquet needs")
        with path.open("wb") as file:
            return to_stream(reader, survey, kind, form, file)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if form == "parquet":
            count = write_parquet(reader, survey, kind, part)
        else:
            with part.open("xb") as file, _packed(file, path.suffix) as packed:
                count = to_stream(reader, survey, kind, form, packed)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


@contextmanager
def _packed(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".gz":
        with gzip.GzipFile(fileobj=file, filename="", mode="wb", compresslevel=6) as packed:
            yield cast("IO[bytes]", packed)
    elif suffix == ".zst":
        with zstd.ZstdFile(file, "w") as packed:
            yield cast("IO[bytes]", packed)
    else:
        yield file


CSV_COLUMNS = (
    *("survey", "ip", "port", "name", "tag", "source", "time", "duration", "outcome", "reason"),
    *("greeting_code", "greeting", "ehlo_code", "ehlo", "extensions", "helo_code", "helo"),
    *("starttls", "starttls_reply_code", "starttls_reply", "quit_code", "quit"),
    *("interrupted_stage", "interrupted_reason", "flags", "asn", "prefix", "country"),
    *("tls_version", "tls_cipher", "tls_error", "tls_ehlo_code", "tls_ehlo", "tls_extensions", "stray_plaintext"),
    *("certificate", "subject", "issuer", "names", "not_before", "not_after", "key", "chain"),
    *("trusted", "trust_error", "matches_name", *(field.name for field in attrs.fields(Software))),
    *("signature", "self_signed", "domain", "tls_group", "sni", "matches_domain", "staple", "second_tls", "dane"),
)
"""As in the tables of the store, with those of the certificate."""


def _lines(item: SmtpItem) -> Iterator[tuple[Any, ...]]:
    yield _flat(item)


def _flat(item: SmtpItem) -> tuple[Any, ...]:
    tls, broken, software = item.tls, item.interrupted, item.software
    leaf = tls and tls.certificate
    return (
        *(item.survey, item.ip, item.port, item.name, item.tag, item.source),
        *(item.time, item.duration, item.outcome, item.reason),
        *_reply(item.greeting),
        *_ehlo(item.ehlo),
        *_reply(item.helo),
        item.starttls,
        *_reply(item.starttls_reply),
        *_reply(item.quit),
        *((broken.stage, broken.reason) if broken else (None, None)),
        *(item.flags, item.asn, item.prefix, item.country),
        *((tls.version, tls.cipher, tls.error) if tls else (None, None, None)),
        *_ehlo(tls.ehlo if tls else None),
        tls and tls.stray_plaintext,
        *((leaf.sha256, leaf.subject, leaf.issuer, leaf.names) if leaf else (None,) * 4),
        *((leaf.not_before, leaf.not_after, leaf.key) if leaf else (None,) * 3),
        *((tls.chain, tls.trusted, tls.trust_error, tls.matches_name) if tls else (None,) * 4),
        *(attrs.astuple(software) if software else (None,) * len(attrs.fields(Software))),
        *((leaf.signature, leaf.self_signed) if leaf else (None, None)),
        item.domain,
        *((tls.group, tls.sni, tls.matches_domain, tls.staple) if tls else (None,) * 4),
        tls and tls.second and attrs.asdict(tls.second),
        tls and tls.dane,
    )


def _reply(item: ReplyItem | None) -> tuple[Any, Any]:
    return (None, None) if item is None else (item.code, item.text)


def _ehlo(item: EhloItem | None) -> tuple[Any, Any, Any]:
    return (None, None, None) if item is None else (item.code, item.text, item.extensions)


def _cell(value: object) -> object:
    if isinstance(value, str):
        return cell(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return cell(_ENCODER.encode(value).decode()) if isinstance(value, list | dict) else value


_SCALARS: dict[type[inspect.Type], str] = {
    inspect.StrType: "VARCHAR",
    inspect.IntType: "BIGINT",
    inspect.FloatType: "DOUBLE",
    inspect.BoolType: "BOOLEAN",
}


def _type(kind: inspect.Type) -> str:
    """Name DuckDB's type of a field."""
    match kind:
        case inspect.UnionType():
            return next(_type(one) for one in kind.types if not isinstance(one, inspect.NoneType))
        case inspect.DataclassType():
            fields = (f'"{field.name}" {_type(field.type)}' for field in kind.fields)
            return f"STRUCT({', '.join(fields)})"
        case inspect.ListType():
            return f"{_type(kind.item_type)}[]"
        case inspect.DictType():
            return f"MAP({_type(kind.key_type)}, {_type(kind.value_type)})"
        case _:
            return _SCALARS[type(kind)]


def parquet_columns(of: type) -> dict[str, str]:
    """Give DuckDB's types of the fields of an item."""
    item = inspect.type_info(of)
    assert isinstance(item, inspect.DataclassType)  # noqa: S101 - attrs classes are
    return {field.name: _type(field.type) for field in item.fields}
