"""Routes of earlier surveys, read from the store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select

from smtpsurvey.kinds import Hop
from smtpsurvey.store import StoreError
from smtpsurvey.store.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)
_DECODER = msgspec.json.Decoder(list[Hop])


class KnownRoutes:
    """The routes in the databases of a survey."""

    def __init__(self, urls: Sequence[str], tables: int) -> None:
        """Read these databases; nothing is opened yet."""
        self._shards = Shards(urls, tables)
        self._table = self._shards.schema.others["routes"]
        self._warned = False

    def hops(self, prefix: str, since: str) -> list[Hop] | None:
        """Give the hops of the latest route to a prefix that is not older (ISO 8601); ``None`` where there is none.

        A database that does not answer knows no route; that is said once.
        """
        table = self._table
        query = (
            select(table.c.hops)
            .where(table.c.prefix == prefix, table.c.time >= since, table.c.hops != "[]")
            .order_by(table.c.time.desc())
            .limit(1)
        )
        try:
            with self._shards[self._shards.placement.server(prefix)].begin() as connection:
                found = connection.scalar(query)
        except StoreError as error:
            if not self._warned:
                self._warned = True
                logger.warning("Stored routes cannot be read, all are measured: %s", error)
            return None
        return None if found is None else _DECODER.decode(found)

    def close(self) -> None:
        """Close the connections."""
        self._shards.dispose()
