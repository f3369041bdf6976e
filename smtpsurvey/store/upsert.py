"""The statement that inserts rows or replaces them, many at once."""

from __future__ import annotations

from itertools import chain, compress
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, text
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Dialect, Table

    Row = Sequence[Any]

_LONGEST = 1_000_000  # characters of rows a statement, unless one row alone has more; servers take 16 MiB


class Upsert:
    """Inserts rows of one table, or replaces them; with ``keep`` only what is NULL is replaced.

    Values are parameters. The driver for MySQL writes these as literals into the text, one by one;
    here it is asked to do so once for each distinct value of a column, and a column that is NULL in
    all rows is left out, so that a row costs half.
    """

    def __init__(self, table: Table, dialect: Dialect, *, keep: bool = False) -> None:
        """Prepare the statement for a database of this kind."""
        quote = dialect.identifier_preparer.quote
        self._names = [quote(column.name) for column in table.c]
        self._needed = [not column.nullable for column in table.c]
        self._begin = f"INSERT INTO {quote(table.name)}"
        self._lite = _sqlite(table, dialect, keep=keep) if dialect.name == "sqlite" else None
        rest = [quote(column.name) for column in table.c if not column.primary_key]
        new = (f"{name}=COALESCE({name},VALUES({name}))" if keep else f"{name}=VALUES({name})" for name in rest)
        self._end = f"ON DUPLICATE KEY UPDATE {','.join(new)}"

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Write rows, each with a value for every column in the order of the schema."""
        if self._lite is not None:
            connection.exec_driver_sql(self._lite, list(map(tuple, rows)))
            return
        plain = connection.execution_options(no_parameters=True)  # else a per cent sign would be one
        for statement in self._statements(connection.connection.cursor(), rows):
            if len(statement) > 2 * _LONGEST:  # one row, and the server would hang up instead of refusing it
                _check_length(connection, len(statement.encode()))
            plain.exec_driver_sql(statement)

    def _statements(self, cursor: Any, rows: Sequence[Row]) -> Iterator[str]:
        columns = list(zip(*rows, strict=True))
        used = [need or column.count(None) < len(rows) for need, column in zip(self._needed, columns, strict=True)]
        begin = f"{self._begin} ({','.join(compress(self._names, used))}) VALUES "
        literals = _literals(cursor, list(compress(columns, used)))
        values: list[str] = []
        length = 0
        for value in map(",".join, zip(*literals, strict=True)):
            if values and length + len(value) > _LONGEST:
                yield f"{begin}({'),('.join(values)}) {self._end}"
                values, length = [], 0
            values.append(value)
            length += len(value)
        yield f"{begin}({'),('.join(values)}) {self._end}"


def _check_length(connection: Connection, length: int) -> None:
    limit = connection.scalar(text("SELECT @@max_allowed_packet"))
    if length >= limit:
        raise ValueError(f"the row takes {length} bytes, the server at most {limit}")


def _literals(cursor: Any, columns: Sequence[Row]) -> list[list[str]]:
    """Escape columns: one call of the driver for all their distinct values, of which none becomes two lines."""
    distinct = [list(set(column)) for column in columns]
    values = list(chain.from_iterable(distinct))
    escaped = cursor.mogrify("\n".join(["%s"] * len(values)), values).split("\n")
    if len(escaped) != len(values):
        raise ValueError("a value is escaped with a line feed in it")
    rest = iter(escaped)
    literals = []
    for column, found in zip(columns, distinct, strict=True):
        literal = dict(zip(found, rest, strict=False))
        literals.append(
            [literal[value] for value in column] if len(found) > 1 else list(literal.values()) * len(column)
        )
    return literals


def _sqlite(table: Table, dialect: Dialect, *, keep: bool) -> str:
    statement = sqlite.insert(table)
    old, new = table.c, statement.excluded
    values = {
        column.name: func.coalesce(old[column.name], new[column.name]) if keep else new[column.name]
        for column in table.c
        if not column.primary_key
    }
    upsert = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)
    return str(upsert.compile(dialect=dialect))
