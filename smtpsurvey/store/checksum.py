"""Checksums of rows that do not depend on their order, the same on SQLite and MySQL.

A row's digest is the first 60 bits of an MD5 of its values; the checksum of a table is their sum modulo 2^64.
MySQL computes both itself; SQLite, which has no MD5, calls :func:`digest`. A text or bytes count by their own MD5,
numbers as decimal digits, a floating-point number in billionths, rounded down, and a billion at most. MD5 is
enough: what is to be found is a mistake of ours, not a forgery.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import BigInteger, Double, LargeBinary, String, cast, func, select
from sqlalchemy.dialects.mysql import BIGINT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Column, ColumnElement, Connection

_DIGITS = 15  # hexadecimal: 60 bits, which are positive in every BIGINT
_MODULUS = 1 << 64
_BILLION = 1e9
_NULL = "-"  # no number and no MD5


@attrs.frozen
class Totals:
    """How many rows, and the sum of their digests modulo 2^64."""

    rows: int = 0
    checksum: int = 0

    def __add__(self, other: Totals) -> Totals:
        """Take both together."""
        return Totals(self.rows + other.rows, (self.checksum + other.checksum) % _MODULUS)

    def __sub__(self, other: Totals) -> Totals:
        """Leave the others out."""
        return Totals(self.rows - other.rows, (self.checksum - other.checksum) % _MODULUS)


def digest(*values: str | bytes | float | None) -> int:
    """Give the digest of a row with these values."""
    return int(_md5(",".join(map(_part, values)).encode())[:_DIGITS], 16)


def row_digest(connection: Connection, columns: Iterable[Column[Any]]) -> ColumnElement[int]:
    """Give the expression of the digest of a row of these columns, for the database of a connection."""
    if connection.dialect.name == "sqlite":
        return func.row_digest(*columns)
    joined = func.md5(func.concat_ws(",", *(func.coalesce(_sql_part(column), _NULL) for column in columns)))
    number: ColumnElement[int] = cast(func.conv(func.left(joined, _DIGITS), 16, 10), BIGINT(unsigned=True))
    return number


def totals(connection: Connection, columns: Iterable[Column[Any]]) -> Totals:
    """Count the rows of a table and sum them up, by these columns of it."""
    columns = tuple(columns)
    if connection.dialect.name == "sqlite":
        total: ColumnElement[Any] = func.row_checksum(*columns)
    else:
        total = func.sum(row_digest(connection, columns))  # of DECIMAL, so it is exact
    rows, checksum = connection.execute(select(func.count(), total).select_from(columns[0].table)).one()
    return Totals(rows, int(checksum or 0) % _MODULUS)


def register(connection: Any) -> None:
    """Give a connection of the driver for SQLite the functions that are used here."""
    connection.create_function("row_digest", -1, digest, deterministic=True)
    connection.create_aggregate("row_checksum", -1, _Sum)


class _Sum:
    """The aggregate function for SQLite; text, since its integers end at 2^63."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, *values: str | bytes | float | None) -> None:
        self._sum += digest(*values)

    def finalize(self) -> str:
        return str(self._sum % _MODULUS)


def _part(value: str | bytes | float | None) -> str:
    if value is None:
        return _NULL
    if isinstance(value, str):
        return _md5(value.encode())
    if isinstance(value, bytes):
        return _md5(value)
    if isinstance(value, float):
        return str(math.floor(max(-_BILLION, min(value, _BILLION)) * _BILLION))
    return str(value)


def _sql_part(column: Column[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, String | LargeBinary):
        return func.md5(column)
    if isinstance(column.type, Double):
        return cast(
            cast(func.floor(func.greatest(-_BILLION, func.least(column, _BILLION)) * _BILLION), BigInteger), String
        )
    return cast(column, String)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
