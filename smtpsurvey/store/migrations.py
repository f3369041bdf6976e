"""Makes the tables of a database, and brings those of an earlier version up to date.

The table ``store`` holds the version. A step goes from one version to the next. SQLite takes all steps in
one transaction. MySQL commits each DDL statement by itself: there a step that was broken off is taken again from its
beginning, so a step has to be one that can be repeated. Never change a step that was released; add the next.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import func, inspect, select, text
from sqlalchemy.schema import CreateColumn

from smtpsurvey.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Table

    from smtpsurvey.store.schema import Schema

    Step = Callable[[Connection, Schema], None]

REBALANCE = "rebalance"
"""The name of the mark, in the table ``store``, that rows are on their way to other databases."""
_PREFIX = "observations_"
_UNRECORDED = 1  # before databases told their version
_CREATING = "0"  # not all tables are there
_LOCK = func.md5(func.concat("smtpsurvey ", func.database()))  # GET_LOCK takes names of 64 characters
_LOCK_SECONDS = 60


def _store(connection: Connection, schema: Schema) -> None:
    """2: the table that holds version and identity."""
    schema.store.create(connection, checkfirst=True)


def _verdicts(connection: Connection, schema: Schema) -> None:
    """3: classifications, the verdicts that these replaced, and what a verdict says beside the product."""
    schema.classifications.create(connection, checkfirst=True)
    schema.verdicts.create(connection, checkfirst=True)
    for table in schema.observations:
        _add(connection, table, "edition", "os", "cpe", "certainty", "claims")


def _others(connection: Connection, schema: Schema) -> None:
    """4: what is known beside observations: look-ups, passive observations, sizes of zones."""
    for table in schema.others.values():
        table.create(connection, checkfirst=True)
        for index in table.indexes:  # of a table that a step had made before it was broken off
            index.create(connection, checkfirst=True)


def _tls(connection: Connection, schema: Schema) -> None:
    """5: more of what a handshake showed; of certificates stored before it is not measured."""
    for table in schema.observations:
        _add(connection, table, "domain", "tls_group", "sni", "matches_domain", "staple", "second_tls", "dane")
    _add(connection, schema.certificates, "signature", "self_signed")


def _add(connection: Connection, table: Table, *names: str) -> None:
    """Add the columns that are not there yet."""
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for name in names:
        if name not in there:
            column = CreateColumn(table.c[name]).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column}"))


STEPS: tuple[Step, ...] = (_store, _verdicts, _others, _tls)
"""From version 1 to 2, from 2 to 3, and so on."""
VERSION = _UNRECORDED + len(STEPS)
"""The version that this code reads and writes."""


def prepare(connection: Connection, schema: Schema, *, upgrade: bool) -> None:
    """Create what tables are missing; with ``upgrade`` also bring an earlier version up to date.

    Other processes that do the same wait meanwhile. ``connection`` has to be in no transaction yet. Raises
    :class:`StoreError` for a later version, for an earlier one without ``upgrade``, and for another number of tables.
    """
    with _alone(connection):
        tables = set(inspect(connection).get_table_names())
        found = found_version(connection, schema, tables)
        _check_number(tables, schema, exact=found is not None)
        if found is None:
            schema.store.create(connection, checkfirst=True)
            record(connection, schema, "version", _CREATING)
        else:
            if not upgrade:
                require_version(found)
            for number, step in enumerate(STEPS[found - _UNRECORDED :], found + 1):
                step(connection, schema)
                record(connection, schema, "version", str(number))
        schema.metadata.create_all(connection)
        if found is None:
            record(connection, schema, "version", str(VERSION))
        if recorded(connection, schema, "id") is None:
            record(connection, schema, "id", uuid4().hex)


def require_version(found: int) -> None:
    """Raise :class:`StoreError` for an earlier version than ours."""
    if found < VERSION:
        raise StoreError(f"schema version {found}, {VERSION} is needed: run `scrapy shards init`")


def found_version(connection: Connection, schema: Schema, tables: set[str]) -> int | None:
    """Tell the version of these ``tables``; ``None`` if they are not there, or were not all made.

    Raises :class:`StoreError` for a later version than ours.
    """
    text = recorded(connection, schema, "version") if schema.store.name in tables else None
    if text is None:
        return _UNRECORDED if schema.surveys.name in tables else None
    if text == _CREATING:
        return None
    if not text.isdecimal() or not _UNRECORDED <= int(text) <= VERSION:
        raise StoreError(f"schema version {text[:20]}, we know {VERSION}: a newer smtpsurvey made this database")
    return int(text)


def recorded(connection: Connection, schema: Schema, name: str) -> str | None:
    """Read what a database says of itself."""
    store = schema.store
    found: str | None = connection.scalar(select(store.c.value).where(store.c.name == name))
    return found


def record(connection: Connection, schema: Schema, name: str, value: str | None) -> None:
    """Write it; ``None`` removes it."""
    store = schema.store
    connection.execute(store.delete().where(store.c.name == name))
    if value is not None:
        connection.execute(store.insert(), {"name": name, "value": value})


def _check_number(tables: set[str], schema: Schema, *, exact: bool) -> None:
    """Refuse another number of tables of observations: rows would be looked for in the wrong one."""
    found = sum(name.startswith(_PREFIX) for name in tables)
    wanted = len(schema.observations)
    if found > wanted or (exact and found != wanted):
        raise StoreError(f"has {found} tables of observations, the settings say {wanted}")


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # DDL too is part of a transaction
        yield
        return
    if connection.scalar(select(func.get_lock(_LOCK, _LOCK_SECONDS))) != 1:
        raise StoreError(f"another process has been preparing this database for {_LOCK_SECONDS} seconds")
    try:
        yield
        connection.exec_driver_sql("COMMIT")  # before others may look
    finally:
        connection.scalar(select(func.release_lock(_LOCK)))
