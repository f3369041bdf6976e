"""Which database and which table an address belongs to, and the engines of those databases."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from smtpsurvey.store import StoreError
from smtpsurvey.store.checksum import register
from smtpsurvey.store.migrations import REBALANCE, prepare, recorded
from smtpsurvey.store.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import URL, Connection, Engine

_HASH_BYTES = 8
_MAX_TABLES = 100  # observations_00 … observations_99
_TRIES = 20  # each waits for another process
_PRIMARY = 0xFF  # the part of an error code of SQLite that says what, not why
_BUSY = 30  # seconds SQLite waits for another process that writes
_PORT = 3306
_OLDEST = {"MySQL": (8, 0), "MariaDB": (10, 6)}


class Placement:
    """Which (server, table) a key belongs to, by position; the same for ever for the same names.

    Servers by rendezvous hashing of their names: BLAKE2b keyed with the BLAKE2b of the name, the
    highest wins; so a server that comes or goes moves the rows of its own share alone. The table is
    an unkeyed BLAKE2b modulo the number of tables. Test vectors stand in the tests.
    """

    def __init__(self, names: Sequence[str], tables: int) -> None:
        """Place among servers of these names, each with ``tables`` tables."""
        self._tables = tables
        self._servers = [
            hashlib.blake2b(key=hashlib.blake2b(name.encode()).digest(), digest_size=_HASH_BYTES) for name in names
        ]

    def server(self, key: str) -> int:
        """Give the position of the server of a key (an address in canonical text)."""
        if len(self._servers) == 1:
            return 0
        data = key.encode()
        scores = []
        for keyed in self._servers:
            score = keyed.copy()
            score.update(data)
            scores.append(score.digest())
        return scores.index(max(scores))

    def table(self, key: str) -> int:
        """Give the number of the table of a key, on its server."""
        if self._tables == 1:
            return 0
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=_HASH_BYTES).digest(), "big") % self._tables


@attrs.frozen
class Layout:
    """Where rows belong when some databases of a list are used, and perhaps not all."""

    placement: Placement
    servers: Sequence[int]

    def place(self, key: str) -> tuple[int, int]:
        """Give the position in the list of the server of a key, and the number of its table."""
        return self.servers[self.placement.server(key)], self.placement.table(key)


@attrs.frozen(eq=False)
class Shard:
    """One database. ``name`` identifies it in logs and in the placement: it holds no credentials."""

    name: str
    engine: Engine

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction; whatever goes wrong in it is a :class:`StoreError` of one line."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"{self.name}: {_cause(error)}") from None

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """Open a transaction in which what is read (``FOR UPDATE``) stays as it is until it is written."""
        with self.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection


class Shards:
    """The databases of a survey and where each address belongs."""

    def __init__(self, urls: Sequence[str], tables: int = 1, source: str = "SMTPSURVEY_SHARDS") -> None:
        """Take SQLAlchemy URLs that ``source`` gave, and the tables on each; nothing is opened yet."""
        if not 1 <= tables <= _MAX_TABLES:
            raise StoreError(f"SMTPSURVEY_TABLES_PER_SHARD is {tables}; it has to be 1 to {_MAX_TABLES}")
        self.schema = Schema(tables)
        self._shards = [_shard(url, f"{source}, entry {number}") for number, url in enumerate(urls, 1)]
        for name in self.names:
            if self.names.count(name) > 1:
                raise StoreError(f"{source} names {name} more than once")
        self.placement = Placement(self.names, tables)

    def __len__(self) -> int:
        """Count the databases."""
        return len(self._shards)

    def __getitem__(self, server: int) -> Shard:
        """Give the database at a position of the list."""
        return self._shards[server]

    def __iter__(self) -> Iterator[Shard]:
        """Go through the databases in the order of the list."""
        return iter(self._shards)

    @property
    def names(self) -> list[str]:
        """The names of the databases, in the order of the list."""
        return [shard.name for shard in self._shards]

    def create(self) -> None:
        """Create what is missing, to write; raises :class:`StoreError`, also while rows are on their way elsewhere."""
        self.prepare()
        for shard in self._shards:
            with shard.begin() as connection:
                if recorded(connection, self.schema, REBALANCE) is not None:
                    raise StoreError(f"{shard.name}: `scrapy shards rebalance` was begun and has to be finished first")

    def prepare(self, *, upgrade: bool = False) -> None:
        """Create what is missing; an earlier version is brought up to date with ``upgrade``, and refused without.

        Raises :class:`StoreError`; also for a server that is too old, and for two URLs of one database.
        """
        seen: dict[str | None, str] = {}
        for shard in self._shards:
            with shard.begin() as connection:
                try:
                    _check_server(connection)
                    prepare(connection, self.schema, upgrade=upgrade)
                    identity = recorded(connection, self.schema, "id")
                except StoreError as error:
                    raise StoreError(f"{shard.name}: {error}") from None
            if identity in seen:
                raise StoreError(f"{seen[identity]} and {shard.name} are the same database (or one is a copy)")
            seen[identity] = shard.name

    def layout(self, names: Sequence[str]) -> Layout:
        """Tell where rows belong when only the databases of these names are used."""
        return Layout(Placement(names, len(self.schema.observations)), [self.names.index(name) for name in names])

    def dispose(self) -> None:
        """Close all connections."""
        for shard in self._shards:
            shard.engine.dispose()


def server_name(url: URL) -> str:
    """Name a database without driver, credentials and options: ``host:port/database`` or the file."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return f"{(url.host or 'localhost').lower()}:{url.port or _PORT}/{url.database or ''}"


def _check_server(connection: Connection) -> None:
    dialect = connection.dialect
    if dialect.name == "sqlite":
        return
    kind = "MariaDB" if getattr(dialect, "is_mariadb", False) else "MySQL"
    version = dialect.server_version_info or ()
    if version < _OLDEST[kind]:
        found, needed = (".".join(map(str, numbers)) for numbers in (version, _OLDEST[kind]))
        raise StoreError(f"{kind} {found} is too old; {needed} or later is needed")


def _shard(text: str, where: str) -> Shard:
    try:
        url = make_url(text.strip())
        backend = url.get_backend_name()
        if backend == "sqlite":
            options: dict[str, Any] = {"timeout": _BUSY}
        elif backend in ("mysql", "mariadb"):
            # Strict, so that nothing is ever cut to fit.
            options = {"charset": "utf8mb4", "sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"}
        else:
            raise StoreError(f"{where}: {backend} is not supported; use sqlite, mysql+pymysql or mariadb+pymysql")
        if not url.database or url.database == ":memory:":
            raise StoreError(f"{where}: the URL names no database")
        engine = create_engine(
            url,
            connect_args=options,
            paramstyle="qmark" if backend == "sqlite" else "format",  # rows travel as tuples
            hide_parameters=True,
            pool_pre_ping=backend != "sqlite",
        )
    except (ArgumentError, ImportError, ValueError) as error:
        # Neither the URL nor what the library says of it is shown: a password may be in both.
        raise StoreError(f"{where}: no database URL that can be used ({type(error).__name__})") from None
    if backend == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
    return Shard(server_name(url), engine)


def _tune_sqlite(connection: Any, _record: object) -> None:
    """Readers beside the writer, and one fsync a checkpoint: a crash loses no committed batch but a power cut may."""
    cursor = connection.cursor()
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
    register(connection)


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Switch to a write-ahead log, also where others do so too: SQLite refuses that at once instead of waiting."""
    for last in (False,) * _TRIES + (True,):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if last or error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:
                raise
            cursor.execute("BEGIN IMMEDIATE")  # waits for them
            cursor.execute("COMMIT")
        else:
            return


def _cause(error: SQLAlchemyError) -> str:
    """Say what the database said, on one line and without the statement."""
    cause = getattr(error, "orig", None) or error
    parts = [str(part) for part in cause.args] or [type(cause).__name__]
    return " ".join(parts[-1].split())
