"""Which domains are where: domain → mail exchange → address → observation, over all servers.

What can be counted on a server is counted there. A domain, its exchanges' addresses and the observations of these are
on different servers, so joins are DuckDB's, which puts on disk what does not fit into its memory.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import msgspec
import numpy as np
from sqlalchemy import func, select

from smtpsurvey.store import StoreError
from smtpsurvey.store.relation_tables import TABLES, Derived

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Select

    from smtpsurvey.store.relation_tables import Loaded
    from smtpsurvey.store.shards import Shards

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "256MB",
    "threads": 2,
    "preserve_insertion_order": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_FETCHED = 1024  # rows at a time
_FLAGS = msgspec.json.Decoder(list[list[str]])
_NAMES = msgspec.json.Decoder(list[str])


class Looked(NamedTuple):
    """What the MX look-up of a domain gave. ``flags`` are those of any of its exchanges."""

    outcome: str
    implicit: bool
    null_mx: bool
    flags: frozenset[str]


class ZoneSize(NamedTuple):
    """How many domains a zone had on a date (ISO 8601), and the file that said so."""

    zone: str
    date: str
    domains: int
    source: str | None


class Server(NamedTuple):
    """One of the servers of a domain's mail, with what was observed there (``None``: it was not, or did not answer).

    ``names`` are those of a trusted certificate.
    """

    exchange: str
    address: str
    asn: int | None
    greeting: bytes | None
    ehlo: bytes | None
    names: list[str] | None


class Yield(NamedTuple):
    """Of the addresses that the same sources gave: how many, and how many of them answered SMTP."""

    targets: int
    live: int


def zone_sizes(shards: Shards) -> list[ZoneSize]:
    """List the sizes of zones by zone and date; raises ``StoreError``."""
    table = shards.schema.others["zone_sizes"]
    found = []
    for shard in shards:
        with shard.begin() as connection:
            query = select(table.c.zone, table.c.date, table.c.domains, table.c.source)
            found += [ZoneSize(*row) for row in connection.execute(query)]
    return sorted(found)


def looked(shards: Shards, survey: str) -> Counter[Looked]:
    """Count domains by what their MX look-up gave; each server counts its own. Raises ``StoreError``."""
    table = shards.schema.others["mx"]
    of_domain = (
        select(
            func.max(table.c.outcome).label("outcome"),
            func.max(table.c.implicit).label("implicit"),
            func.max(table.c.null_mx).label("null_mx"),
            func.group_concat(table.c.flags.distinct()).label("flags"),
        )
        .where(table.c.survey == survey)
        .group_by(table.c.domain)
        .subquery()
    )
    query: Select[Any] = select(of_domain, func.count()).group_by(*of_domain.c)
    found: Counter[Looked] = Counter()
    for shard in shards:
        with shard.begin() as connection:
            for outcome, implicit, null_mx, flags, count in connection.execute(query):
                each = frozenset(flag for some in _FLAGS.decode(f"[{flags or ''}]") for flag in some)
                found[Looked(outcome, bool(implicit), bool(null_mx), each)] += count
    return found


@contextmanager
def relations(shards: Shards, survey: str, folder: Path) -> Iterator[Relations]:
    """Relate what a survey has, in temporary files in ``folder``; raises ``StoreError``."""
    with TemporaryDirectory(dir=folder) as work:
        try:
            with duckdb.connect(f"{work}/relations.duckdb", config=_CONFIG) as database:
                yield Relations(shards, survey, database)
        except duckdb.Error as error:
            raise StoreError(f"{folder}: {str(error).splitlines()[0]}") from None


class Relations:
    """Domains and places. What a question needs is read from the servers when it is asked first.

    ``service`` is ``mail`` (a domain is where its exchanges are) or ``web`` (where a name's own A and AAAA records
    point, which the survey looked up); ``per`` is ``address`` or ``asn`` (an AS, of addresses that were observed).
    """

    def __init__(self, shards: Shards, survey: str, database: duckdb.DuckDBPyConnection) -> None:
        """Use an empty database for what is read; see :func:`relations`."""
        self._shards = shards
        self._survey = survey
        self._database = database
        self._made: set[str] = set()

    def exchanges(self) -> Iterator[tuple[str, int]]:
        """Give the exchanges and how many domains name them, those of most domains first."""
        self._need("mx")
        yield from self._rows("SELECT exchange, count(*) AS n FROM mx GROUP BY exchange ORDER BY n DESC, exchange")

    def pairs(self, service: str) -> int:
        """Count different pairs of address and domain."""
        return int(self._table(service).aggregate("count(*)").fetchall()[0][0])

    def largest(self, service: str, per: str, limit: int) -> list[tuple[str | int, int]]:
        """Give the places that have most domains, and how many they have."""
        return self._places(service, per).order("domains DESC, place").limit(limit).fetchall()

    def sizes(self, service: str, per: str) -> dict[int, int]:
        """Count places by how many domains they have: ``{domains: places}``."""
        return dict(self._places(service, per).aggregate("domains, count(*)", "domains").fetchall())

    def servers(self) -> Iterator[tuple[str, list[Server]]]:
        """Give each domain with its servers, those of the best preference first."""
        self._need("mx", "named", "seen")
        found = self._rows(
            "SELECT domain, exchange, named.address, asn, greeting, ehlo, names FROM mx JOIN named ON name = exchange "
            "LEFT JOIN seen USING (address) ORDER BY domain, preference, exchange, named.address"
        )
        for domain, group in groupby(found, itemgetter(0)):
            yield (
                domain,
                [
                    Server(exchange, address, asn, greeting, ehlo, _NAMES.decode(names) if names else None)
                    for _, exchange, address, asn, greeting, ehlo, names in group
                ],
            )

    def found_by(self, sources: Path) -> dict[frozenset[str], Yield]:
        """Count targets and servers by which sources gave them: ``sources`` is what ``scrapy targets`` wrote.

        Raises :class:`OSError`.
        """
        self._need("hosts")
        with sources.open("rb") as file:
            pairs = self._database.cursor().read_parquet(f"/dev/fd/{file.fileno()}")  # a name that is no pattern
            pairs.aggregate("address, list_sort(list(DISTINCT source)) AS sources", "address").to_table("pairs")
        try:
            found = self._database.cursor().sql(
                "SELECT sources, count(*), count(*) FILTER (answered) FROM pairs LEFT JOIN hosts USING (address) "
                "GROUP BY sources"
            )
            return {frozenset(names): Yield(targets, live) for names, targets, live in found.fetchall()}
        finally:
            self._database.execute("DROP TABLE pairs")

    def _places(self, service: str, per: str) -> duckdb.DuckDBPyRelation:
        found = self._table(service)
        if per == "asn":
            self._need("hosts")
            found = self._database.cursor().sql(f"FROM {service} JOIN hosts USING (address)")
            found = found.filter("asn IS NOT NULL").project("domain, asn").distinct()
        return found.aggregate(f"{per} AS place, count(*) AS domains", per)

    def _rows(self, query: str) -> Iterator[Any]:
        """Give the rows of a query as they come; a relation's own iterator would gather them all first."""
        cursor = self._database.cursor()  # of its own, so that another question may be asked meanwhile
        cursor.execute(query)
        while some := cursor.fetchmany(_FETCHED):
            yield from some

    def _table(self, name: str) -> duckdb.DuckDBPyRelation:
        self._need(name)
        return self._database.cursor().table(name)

    def _need(self, *names: str) -> None:
        for name in names:
            if name not in self._made:
                self._make(name, TABLES[name])
                self._made.add(name)

    def _make(self, name: str, table: Loaded | Derived) -> None:
        if isinstance(table, Derived):
            self._need(*table.of)
            self._database.execute(f"CREATE TABLE {name} AS {table.query}")
            return
        self._database.execute(f"CREATE TABLE {name} ({table.columns})")
        for rows in table.rows(self._shards, self._survey):
            if rows:
                columns = {f"c{at}": np.array(values, np.object_) for at, values in enumerate(zip(*rows, strict=True))}
                self._database.register("page", columns)
                self._database.execute(f"INSERT INTO {name} FROM page SELECT {', '.join(columns)}")
        self._database.unregister("page")
