"""What a rebalance does with the runs of rules: each database counts those of its own observations, which move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from smtpsurvey.classify.changes import Changes

if TYPE_CHECKING:
    from smtpsurvey.store.shards import Layout, Shards

    Run = dict[str, Any]

_CHANGES = msgspec.json.Decoder(Changes)


def merged_runs(shards: Shards) -> list[Run]:
    """Make one row of the rows that the databases have of each run.

    One that is not finished begins anew: observations that it has not seen come among those that it has. To classify
    one a second time changes nothing.
    """
    table = shards.schema.classifications
    found: dict[tuple[str, int], list[Run]] = {}
    for shard in shards:
        with shard.begin() as connection:
            for row in connection.execute(select(table)).mappings():
                found.setdefault((row["survey"], row["number"]), []).append(dict(row))
    return [_merged(rows) for _, rows in sorted(found.items())]


def move_runs(shards: Shards, layout: Layout, runs: list[Run]) -> None:
    """Write what all have counted to the server of the survey's label, and nothing to the others of the new list.

    ``runs`` was merged before anything was moved, so doing it again ends the same.
    """
    table = shards.schema.classifications
    nothing = {"observations": 0, "changed": 0, "changes": msgspec.json.encode(Changes()).decode()}
    for server in layout.servers:
        rows = [run if layout.place(run["survey"])[0] == server else {**run, **nothing} for run in runs]
        with shards[server].begin() as connection:
            connection.execute(table.delete())
            if rows:
                connection.execute(table.insert(), rows)


def _merged(rows: list[Run]) -> Run:
    changes = Changes()
    for row in rows:
        changes.merge(_CHANGES.decode(row["changes"]))
    finished = [row["finished"] for row in rows]
    done = None not in finished
    return {
        **rows[0],
        "started": min(row["started"] for row in rows),
        "finished": max(finished) if done else None,
        "observations": sum(row["observations"] for row in rows) if done else 0,
        "changed": sum(row["changed"] for row in rows),
        "changes": msgspec.json.encode(changes).decode(),
        "tables": rows[0]["tables"] if done else 0,
        "ip": None,
        "port": None,
    }
