"""The names of a zone: which are registered domains, how many, and of how many name servers; sorted out on disk."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import IO, TYPE_CHECKING, NamedTuple

import duckdb
from tldextract import TLDExtract

from smtpsurvey.targets.address import BadTargetError
from smtpsurvey.targets.domains import parquet_rows
from smtpsurvey.targets.names import host_name
from smtpsurvey.targets.output import literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MEMORY = "1GB"
"""What sorting the names out may use of memory; the rest goes to disk."""

SERVERS_KEPT = 1 << 17
"""Name servers remembered so that one is not written again and again."""

_LABELS = "length(domain) - length(replace(domain, '.', '')) + 1"
_PARENT = "substr(domain, instr(domain, '.') + 1)"


class ZoneNames(NamedTuple):
    """How many names of each kind were delegated, and how many name servers they have.

    ``domains`` are registered in the zone. ``suffixes`` are what others register under (``co.uk``; the ICANN part of
    the public suffix list tells), ``below`` are below another delegation, where the zone has no say (RFC 1034 section
    4.2.1), ``outside`` are in another zone.
    """

    domains: int = 0
    suffixes: int = 0
    below: int = 0
    outside: int = 0
    servers: int = 0


class NameSorter:
    """Takes the names of a zone in any order, and sorts them out at its end."""

    def __init__(self, folder: Path) -> None:
        """Keep the names in ``folder``, which must be empty."""
        self._folder = folder
        self._delegations = (folder / "delegations").open("wb")
        self._servers = (folder / "servers").open("wb")
        self._seen: set[bytes] = set()

    def close(self) -> None:
        """Close the files, as :meth:`finish` does too."""
        self._delegations.close()
        self._servers.close()

    def add(self, delegations: Iterable[bytes], servers: set[bytes]) -> None:
        """Take owners and values of NS records, in lower case and without the last dot; none may be empty."""
        _write(self._delegations, delegations)
        new = servers - self._seen
        _write(self._servers, new)
        self._seen |= new
        if len(self._seen) > SERVERS_KEPT:
            self._seen.clear()

    def finish(self, apex: str | None, path: Path) -> ZoneNames:
        """Write the registered domains of the zone ``apex`` (``""``: the root) as Parquet to ``path``, each once.

        Without an apex (``None``) no name is outside.
        """
        self.close()
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": os.cpu_count() or 1,
            "temp_directory": str(self._folder / "spill"),
            "preserve_insertion_order": False,
        }
        with duckdb.connect(config=config) as database:
            database.execute(f"CREATE TABLE delegated AS SELECT DISTINCT domain FROM {self._text('delegations')}")  # noqa: S608 -- a path of ours, quoted
            _mark_suffixes(database, apex)
            _mark_others(database, apex)
            database.execute(
                f"COPY (SELECT domain FROM delegated WHERE domain NOT IN (SELECT domain FROM others)) "  # noqa: S608 -- a path of ours, quoted
                f"TO {literal(path)} (FORMAT parquet)"
            )
            counts = dict(database.execute("SELECT kind, count(*) FROM others GROUP BY kind").fetchall())
            servers = f"SELECT count(DISTINCT domain) FROM {self._text('servers')}"  # noqa: S608 -- a path of ours, quoted
            (counts["servers"],) = database.execute(servers).fetchone() or (0,)
        counts.pop("apex", None)
        return ZoneNames(parquet_rows(path), **counts)

    def _text(self, name: str) -> str:
        return (
            f"read_csv({literal(self._folder / name)}, header = false, columns = {{'domain': 'VARCHAR'}}, delim = '', "
            "quote = '', escape = '', comment = '', auto_detect = false)"
        )


def _mark_others(database: duckdb.DuckDBPyConnection, apex: str | None) -> None:
    """Make the table of delegated names that are no domains of the zone, and of what kind they are."""
    outside = "false" if not apex else f"NOT ends_with(domain, '.{apex}')"
    depth = apex.count(".") + 1 if apex else 0
    (deepest,) = database.execute(f"SELECT max({_LABELS}) FROM delegated").fetchone() or (0,)  # noqa: S608 -- ours
    # The domains above a name that are in the zone; there are none above those directly below the apex.
    above = [
        f"{_LABELS} > {labels:d} AND array_to_string(string_split(domain, '.')[-{labels:d}:], '.') IN (FROM cuts)"
        for labels in range(depth + 1, deepest or 0)
    ]
    database.execute(
        "CREATE TABLE cuts AS SELECT domain FROM delegated WHERE domain NOT IN (FROM suffixes) AND domain <> $1 "  # noqa: S608 -- a number
        f"AND {len(above):d} > 0",
        [apex or ""],
    )
    database.execute(
        f"CREATE TABLE others AS SELECT domain, CASE WHEN domain = '{apex or ''}' THEN 'apex' WHEN {outside} "  # noqa: S608 -- a host name
        "THEN 'outside' WHEN domain IN (FROM suffixes) THEN 'suffixes' "
        f"WHEN {' OR '.join(above) or 'false'} THEN 'below' END AS kind FROM delegated WHERE kind IS NOT NULL"
    )


def _mark_suffixes(database: duckdb.DuckDBPyConnection, apex: str | None) -> None:
    """Make the table of delegated names that are public suffixes; of the root zone all are, and so none."""
    rules = [] if apex == "" else [rule for rule in _rules() if apex is None or rule.endswith(f".{apex}")]
    if not rules:
        database.execute("CREATE TABLE suffixes (domain VARCHAR)")
        return
    plain = [rule for rule in rules if rule[0] not in "*!"]
    wild = [rule[2:] for rule in rules if rule.startswith("*.")]
    exceptions = [rule[1:] for rule in rules if rule.startswith("!")]
    database.execute(
        "CREATE TABLE suffixes AS SELECT domain FROM delegated WHERE domain NOT IN (SELECT unnest($1::VARCHAR[])) AND "  # noqa: S608 -- ours
        f"(domain IN (SELECT unnest($2::VARCHAR[])) OR {_PARENT} IN (SELECT unnest($3::VARCHAR[])))",
        [exceptions, plain, wild],
    )


@cache
def _rules() -> frozenset[str]:
    """Return the rules of the public suffix list (ICANN's part) in A-labels: ``co.uk``, ``*.ck``, ``!www.ck``."""
    extract = TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=False)
    rules = set()
    for rule in extract.tlds:
        mark = "*." if rule.startswith("*.") else "!" if rule.startswith("!") else ""
        with suppress(BadTargetError):  # IDNA 2008 has no such name, so no zone delegates it
            rules.add(mark + host_name(rule[len(mark) :]))
    return frozenset(rules)


def _write(file: IO[bytes], names: Iterable[bytes]) -> None:
    text = b"\n".join(names)
    if text:
        file.write(text + b"\n")
