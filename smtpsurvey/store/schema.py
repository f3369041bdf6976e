"""The tables (``docs/reference/tables.md`` has a line for each column).

Text is UTF-8 of any length with binary collation, replies are bytes as they came, so that what a
server said is stored and read back bit for bit. JSON is kept as text: MySQL's own type would sort
the keys, and the order of extensions is a fact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
)
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
# Names of the DNS are ASCII; what is none is stored as its escape, cut to this length.
NAME_LENGTH = 255
_DOMAIN = String(NAME_LENGTH).with_variant(
    mysql.VARCHAR(NAME_LENGTH, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
)
TYPE_LENGTH = 16
"""Characters of a record type's mnemonic at most."""
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
    ("domain", _TEXT),
    ("tls_group", _TEXT),
    ("sni", Boolean()),
    ("matches_domain", Boolean()),
    ("staple", _WORD),
    ("second_tls", _TEXT),
    ("dane", _WORD),
)

_LOOKED: tuple[tuple[str, TypeEngine[Any]], ...] = (
    ("outcome", _WORD),
    ("rcode", _TEXT),
    ("server", _TEXT),
    ("ad", Boolean()),
    ("duration", Double()),
    ("time", _TIME),
    ("source", _TEXT),
)
_OTHERS: dict[str, tuple[tuple[tuple[str, TypeEngine[Any]], ...], tuple[tuple[str, TypeEngine[Any]], ...]]] = {
    "mx": (
        (("survey", _LABEL), ("domain", _DOMAIN), ("exchange", _DOMAIN)),
        (("preference", Integer()), ("implicit", Boolean()), ("null_mx", Boolean()), ("flags", _TEXT), *_LOOKED),
    ),
    "names": ((("survey", _LABEL), ("name", _DOMAIN), ("type", String(TYPE_LENGTH))), (("records", _TEXT), *_LOOKED)),
    "addresses": (
        (("survey", _LABEL), ("address", _ADDRESS), ("name", _DOMAIN)),
        (("flags", _TEXT), ("time", _TIME)),
    ),
    "mta_sts": (
        (("survey", _LABEL), ("domain", _DOMAIN)),
        (
            ("outcome", _WORD),
            ("reason", _TEXT),
            ("id", _TEXT),
            ("mode", _TEXT),
            ("max_age", BigInteger()),
            ("patterns", _TEXT),
            ("exchanges", _TEXT),
            ("covered", Boolean()),
            ("tlsrpt", _WORD),
            ("reports", _TEXT),
            ("time", _TIME),
            ("source", _TEXT),
        ),
    ),
    "routes": (
        (("survey", _LABEL), ("prefix", _ADDRESS), ("destination", _ADDRESS)),
        (("hops", _TEXT), ("stop", _WORD), ("method", _WORD), ("time", _TIME), ("source", _TEXT)),
    ),
    "received": (
        (("survey", _LABEL), ("digest", _DIGEST)),
        (
            ("address", _ADDRESS),
            ("name", _TEXT),
            ("vendor", _TEXT),
            ("product", _TEXT),
            ("version", _TEXT),
            ("rule", _TEXT),
            ("evidence", _TEXT),
            ("edition", _TEXT),
            ("os", _TEXT),
            ("cpe", _TEXT),
            ("certainty", _TEXT),
            ("claims", _TEXT),
            ("hop", Integer()),
            ("consistent", Boolean()),
            ("messages", BigInteger()),
            ("time", _TIME),
            ("source", _TEXT),
        ),
    ),
    "zone_sizes": (
        (("zone", _DOMAIN), ("date", _NAME)),
        (("domains", BigInteger()), ("source", _TEXT), ("time", _TIME)),
    ),
}
"""Key and other columns of the tables of which a server has one each."""
PLACED = {
    "mx": "domain",
    "mta_sts": "domain",
    "names": "name",
    "addresses": "address",
    "received": "digest",
    "routes": "prefix",
    "zone_sizes": "zone",
}
"""The column by which a row of these tables belongs to a server."""
_SOUGHT = {"addresses": ("survey", "name"), "routes": ("prefix", "time")}  # by what else rows are looked for


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
            Column("signature", _TEXT),
            Column("self_signed", Boolean()),
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
        self.others = {name: self._other(name) for name in _OTHERS}
        self.observations = tuple(self._observations(number) for number in range(tables))

    def _other(self, name: str) -> Table:
        key, rest = _OTHERS[name]
        columns = [Column(column, kind, primary_key=True, autoincrement=False) for column, kind in key]
        columns += [Column(column, kind) for column, kind in rest]
        sought = [Index(f"ix_{name}", *_SOUGHT[name])] if name in _SOUGHT else []
        return Table(name, self.metadata, *columns, *sought, sqlite_with_rowid=False, **_OPTIONS)

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
