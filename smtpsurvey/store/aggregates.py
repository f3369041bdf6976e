"""Counts for reports: each server groups its own rows, and only the groups travel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, inspect, literal, null, select

from smtpsurvey.outcomes import Outcome
from smtpsurvey.store import StoreError
from smtpsurvey.store.migrations import found_version, require_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Select, Table

    from smtpsurvey.store.shards import Shards


def require(shards: Shards) -> None:
    """Raise ``StoreError`` unless every database is there, with all tables of this version; creates nothing."""
    wanted = {table.name for table in shards.schema.metadata.sorted_tables}
    for shard in shards:
        url = shard.engine.url
        if url.get_backend_name() == "sqlite" and not url.query and not Path(url.database or "").is_file():
            raise StoreError(f"{shard.name}: no such database")  # SQLite would make an empty one
        with shard.begin() as connection:
            found = set(inspect(connection).get_table_names())
            try:
                version = found_version(connection, shards.schema, found)
                if version is not None:
                    require_version(version)
            except StoreError as error:
                raise StoreError(f"{shard.name}: {error}") from None
        missing = sorted(wanted - found)
        if missing:
            raise StoreError(f"{shard.name}: no surveys in this database (no table {missing[0]})")
        extra = sorted(name for name in found - wanted if name.startswith("observations_"))
        if extra:
            raise StoreError(f"{shard.name} has more tables than SMTPSURVEY_TABLES_PER_SHARD says: {', '.join(extra)}")


def grouped(shards: Shards, survey: str, *columns: str, answering: bool = False) -> Counter[tuple[Any, ...]]:
    """Count a survey's observations by the values of some columns, ``None`` for what was not measured.

    With ``answering`` only those that answered SMTP. Raises ``KeyError`` for a column that is none.
    """
    return _total(shards, (_grouped(table, survey, columns, answering) for table in shards.schema.observations))


def keys(shards: Shards, survey: str) -> Counter[str | None]:
    """Count the hosts that showed a certificate by the kind of its key."""
    certificates = shards.schema.certificates
    found = _total(
        shards,
        (
            select(certificates.c.key, func.count())
            .select_from(table.outerjoin(certificates, table.c.certificate == certificates.c.sha256))
            .where(table.c.survey == survey, table.c.certificate.is_not(None), table.c.outcome == Outcome.OK.value)
            .group_by(certificates.c.key)
            for table in shards.schema.observations
        ),
    )
    return Counter({key: count for (key,), count in found.items()})


def pairs(shards: Shards, old: str, new: str) -> Counter[tuple[Any, ...]]:
    """Count the hosts that answered in either of two surveys by AS and what they were in each.

    A key is (AS, answered in ``old``, answered in ``new``, old product, old version, product, version).
    An address is always in the same table, so each table is compared with itself.
    """
    return _total(
        shards,
        (query for table in shards.schema.observations for query in (_now(table, old, new), _gone(table, old, new))),
    )


def _grouped(table: Table, survey: str, names: Iterable[str], answering: bool) -> Select[Any]:  # noqa: FBT001 - a condition
    values = [table.c[name] for name in names]
    query = select(*values, func.count()).where(table.c.survey == survey).group_by(*values)
    return query.where(table.c.outcome == Outcome.OK.value) if answering else query


def _now(table: Table, old: str, new: str) -> Select[Any]:
    now, then = table.alias("now"), table.alias("before")
    values = (now.c.asn, then.c.ip.is_not(None), then.c.product, then.c.version, now.c.product, now.c.version)
    same = and_(
        then.c.survey == old, then.c.ip == now.c.ip, then.c.port == now.c.port, then.c.outcome == Outcome.OK.value
    )
    return (
        select(values[0], values[1], literal(1), *values[2:], func.count())
        .select_from(now.outerjoin(then, same))
        .where(now.c.survey == new, now.c.outcome == Outcome.OK.value)
        .group_by(*values)
    )


def _gone(table: Table, old: str, new: str) -> Select[Any]:
    now, then = table.alias("now"), table.alias("before")
    values = (then.c.asn, then.c.product, then.c.version)
    same = and_(
        now.c.survey == new, now.c.ip == then.c.ip, now.c.port == then.c.port, now.c.outcome == Outcome.OK.value
    )
    return (
        select(values[0], literal(1), literal(0), *values[1:], null(), null(), func.count())
        .select_from(then.outerjoin(now, same))
        .where(then.c.survey == old, then.c.outcome == Outcome.OK.value, now.c.ip.is_(None))
        .group_by(*values)
    )


def _total(shards: Shards, queries: Iterable[Select[Any]]) -> Counter[tuple[Any, ...]]:
    statements = list(queries)
    found: Counter[tuple[Any, ...]] = Counter()
    for rows in (_rows(shards, statement) for statement in statements):
        for *key, count in rows:
            found[tuple(key)] += count
    return found


def _rows(shards: Shards, statement: Select[Any]) -> Iterator[Any]:
    for shard in shards:
        with shard.begin() as connection:
            yield from connection.execute(statement)
