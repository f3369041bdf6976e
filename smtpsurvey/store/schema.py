"""The tables (``docs/reference/tables.md`` has a line for each column).

Text is UTF-8 of any length with binary collation, replies are bytes as they came, so that what a
server said is stored and read back bit for bit. JSON is kept as text: MySQL's own type would sort
the keys, and the order of extensions is a fact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, MetaData, SmallInteger, String, Table
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects import mysql

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

LABEL_LENGTH = 255
"""Characters of a survey's label at most: it is part of the primary keys."""

_TEXT = SqlText().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
_BYTES = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
_LABEL = String(LABEL_LENGTH)
_TIME = String(32)  # ISO 8601 in UTC: sorts and compares as it stands
_NAME = String(16)
_WORD = String(16)  # of one of the closed lists in outcomes.py
_SERIAL = BigInteger().with_variant(Integer(), "sqlite")
# One byte a character, and readable in every client; a packed address would save five bytes of a row.
_ADDRESS = String(45).with_variant(mysql.VARCHAR(45, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
_DIGEST = String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (
        ("engine", "InnoDB"),
        ("row_format", "DYNAMIC"),
        ("default_charset", "utf8mb4"),
        ("collate", "utf8mb4_bin"),
    )
}

_OBSERVATION: tuple[tuple[str, TypeEngine[Any]], ...] = (
    ("name", _TEXT),
    ("tag", _TEXT),
    ("source", _TEXT),
    ("time", _TIME),
    ("duration", Double()),
    ("outcome", _WORD),
    ("reason", _TEXT),
    ("greeting_code", SmallInteger()),
    ("greeting", _BYTES),
    ("ehlo_code", SmallInteger()),
    ("ehlo", _BYTES),
    ("extensions", _TEXT),
    ("helo_code", SmallInteger()),
    ("helo", _BYTES),
    ("starttls", _WORD),
    ("starttls_reply_code", SmallInteger()),
    ("starttls_reply", _BYTES),
    ("quit_code", SmallInteger()),
    ("quit", _BYTES),
    ("interrupted_stage", _WORD),
    ("interrupted_reason", _WORD),
    ("flags", _TEXT),
    ("asn", BigInteger()),
    ("prefix", _TEXT),
    ("country", _TEXT),
    ("tls", Boolean()),
    ("tls_version", _TEXT),
    ("tls_cipher", _TEXT),
    ("tls_error", _TEXT),
    ("tls_ehlo_code", SmallInteger()),
    ("tls_ehlo", _BYTES),
    ("tls_extensions", _TEXT),
    ("stray_plaintext", _BYTES),
    ("certificate", _DIGEST),
    ("chain", _TEXT),
    ("trusted", Boolean()),
    ("trust_error", _TEXT),
    ("matches_name", Boolean()),
    ("vendor", _TEXT),
    ("product", _TEXT),
    ("version", _TEXT),
    ("rule", _TEXT),
    ("evidence", _TEXT),
    ("texts", _TEXT),
    ("edition", _TEXT),
    ("os", _TEXT),
    ("cpe", _TEXT),
    ("certainty", _TEXT),
    ("claims", _TEXT),
)


class Schema:
    """The tables of one server, with ``tables`` tables of observations (``observations_00`` …)."""

    def __init__(self, tables: int) -> None:
        """Describe them; nothing is created yet."""
        self.metadata = MetaData()
        self.store = Table(
            "store",
            self.metadata,
            Column("name", _NAME, primary_key=True),
            Column("value", _TEXT, nullable=False),
            **_OPTIONS,
        )
        self.surveys = Table(
            "surveys",
            self.metadata,
            Column("label", _LABEL, primary_key=True),
            Column("started", _TIME, nullable=False),
            Column("finished", _TIME),
            Column("settings", _TEXT, nullable=False),
            **_OPTIONS,
        )
        self.certificates = Table(
            "certificates",
            self.metadata,
            Column("sha256", _DIGEST, primary_key=True),
            Column("der", _BYTES),
            Column("subject", _TEXT),
            Column("issuer", _TEXT),
            Column("names", _TEXT),
            Column("not_before", _TIME),
            Column("not_after", _TIME),
            Column("key", _TEXT),
            **_OPTIONS,
        )
        self.tallies = Table(
            "tallies",
            self.metadata,
            Column("id", _SERIAL, primary_key=True),
            Column("survey", _LABEL, nullable=False, index=True),
            Column("source", _TEXT),
            Column("outcome", _WORD, nullable=False),
            Column("reason", _TEXT),
            Column("count", BigInteger(), nullable=False),
            **_OPTIONS,
        )
        self.classifications = Table(
            "classifications",
            self.metadata,
            Column("survey", _LABEL, primary_key=True),
            Column("number", Integer(), primary_key=True, autoincrement=False),
            Column("rules", _NAME, nullable=False),
            Column("sources", _TEXT, nullable=False),
            Column("started", _TIME, nullable=False),
            Column("finished", _TIME),
            Column("observations", BigInteger(), nullable=False),
            Column("changed", BigInteger(), nullable=False),
            Column("changes", _TEXT, nullable=False),
            Column("tables", Integer(), nullable=False),
            Column("ip", _ADDRESS),
            Column("port", Integer()),
            **_OPTIONS,
        )
        self.verdicts = Table(
            "verdicts",
            self.metadata,
            Column("survey", _LABEL, primary_key=True),
            Column("ip", _ADDRESS, primary_key=True),
            Column("port", Integer(), primary_key=True, autoincrement=False),
            Column("number", Integer(), primary_key=True, autoincrement=False),
            Column("software", _TEXT),
            sqlite_with_rowid=False,  # the key is most of a row
            **_OPTIONS,
        )
        self.observations = tuple(self._observations(number) for number in range(tables))

    def _observations(self, number: int) -> Table:
        return Table(
            f"observations_{number:02}",
            self.metadata,
            Column("survey", _LABEL, primary_key=True),
            Column("ip", _ADDRESS, primary_key=True),
            Column("port", Integer(), primary_key=True, autoincrement=False),
            *(Column(name, kind, nullable=name not in {"time", "duration", "outcome"}) for name, kind in _OBSERVATION),
            **_OPTIONS,
        )
