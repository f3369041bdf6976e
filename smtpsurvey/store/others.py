"""Puts what commands find into the store: items of other kinds, and sizes of zones."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import iso_time
from smtpsurvey.store.kinds import Rows, dns_name, rows_of
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer, beginning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy.settings import BaseSettings

_BATCH = 1000


def store_items(settings: BaseSettings, survey: str, items: Iterable[Any]) -> int:
    """Store items of :data:`~smtpsurvey.store.kinds.KINDS` in the databases of SMTPSURVEY_SHARDS; count them.

    The survey is registered where it is not known. Raises :class:`SurveyError`.
    """
    shards = _shards(settings)
    try:
        writer, count = Writer(shards), 0
        waiting: defaultdict[int, list[Any]] = defaultdict(list)
        for server, known in enumerate(Reader(shards).find(survey)):
            if known is None:
                writer.apply(server, beginning(survey, iso_time(time.time()), {}))
        for item in items:
            count += 1
            for server, rows in rows_of(item, shards.placement.server).items():
                waiting[server].append(rows)
                if len(waiting[server]) >= _BATCH:
                    writer.write(server, waiting.pop(server))
        for server, batch in waiting.items():
            writer.write(server, batch)
        return count
    finally:
        shards.dispose()


def store_zone_sizes(settings: BaseSettings, sizes: Iterable[tuple[str, str, int, str]]) -> int:
    """Store the sizes of zones: zone, date (ISO 8601), registered domains, file. Count them. Raises SurveyError."""
    shards = _shards(settings)
    try:
        writer, now, count = Writer(shards), iso_time(time.time()), 0
        for zone, date, domains, source in sizes:
            count += 1
            name = dns_name(zone)
            rows = Rows([("zone_sizes", (name, date[:16], domains, source, now))])
            writer.write(shards.placement.server(name), [rows])
        return count
    finally:
        shards.dispose()


def _shards(settings: BaseSettings) -> Shards:
    urls = [str(url) for url in settings.getlist("SMTPSURVEY_SHARDS") if str(url).strip()]
    if not urls:
        raise SurveyError("SMTPSURVEY_SHARDS is empty: there is no database to store into")
    shards = Shards(urls, settings.getint("SMTPSURVEY_TABLES_PER_SHARD", 1))
    shards.create()
    return shards
