"""Puts what commands find into the store: items of other kinds, and sizes of zones."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import iso_time
from smtpsurvey.store import StoreError
from smtpsurvey.store.importer import Importer
from smtpsurvey.store.kinds import Rows, dns_name
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scrapy.settings import BaseSettings


@attrs.define
class _Items:
    """Items that a command has, which are of one survey."""

    path: str
    survey: str
    items: Iterable[Any]

    def all_items(self) -> Iterator[tuple[int, Any]]:
        for number, item in enumerate(self.items, 1):
            item.survey = self.survey
            yield number, item


def store_items(settings: BaseSettings, survey: str, items: Iterable[Any]) -> int:
    """Store observations and items of :data:`~smtpsurvey.store.kinds.KINDS`, as a survey's, and count them.

    They go to the databases of SMTPSURVEY_SHARDS. A survey that is not known there is registered, and finished. Raises
    :class:`SurveyError`; what came before is stored, and may be stored again.
    """
    with _shards(settings) as shards:
        importer = Importer(shards, _refused)
        importer.add(_Items(survey, survey, items))
        importer.finish()
        return importer.stored.total()


def store_zone_sizes(settings: BaseSettings, sizes: Iterable[tuple[str, str, int, str]]) -> int:
    """Store the sizes of zones: zone, date (ISO 8601), registered domains, file. Count them. Raises SurveyError."""
    with _shards(settings) as shards:
        writer, now = Writer(shards), iso_time(time.time())
        found: defaultdict[int, Rows] = defaultdict(Rows)
        for zone, date, domains, source in sizes:
            name = dns_name(zone)
            found[shards.placement.server(name)].append(("zone_sizes", (name, date[:16], domains, source, now)))
        for server, rows in found.items():
            writer.write(server, [rows])
        return sum(map(len, found.values()))


def _refused(survey: str, number: int, reason: str) -> None:
    raise StoreError(f"{survey}: item {number}: {reason}")


@contextmanager
def _shards(settings: BaseSettings) -> Iterator[Shards]:
    urls = [str(url) for url in settings.getlist("SMTPSURVEY_SHARDS") if str(url).strip()]
    if not urls:
        raise SurveyError("SMTPSURVEY_SHARDS is empty: there is no database to store into")
    shards = Shards(urls, settings.getint("SMTPSURVEY_TABLES_PER_SHARD", 1))
    try:
        shards.create()
        yield shards
    finally:
        shards.dispose()
