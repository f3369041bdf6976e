"""From a crawler's settings to what finds routes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smtpsurvey.admission.asmap import AsMap
from smtpsurvey.errors import SurveyError
from smtpsurvey.routes.finder import RouteFinder
from smtpsurvey.routes.scamper import Scamper

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

MAX_RATE = 10_000  # of scamper


def route_finder_of(crawler: Crawler) -> RouteFinder:
    """Make what finds routes for a crawl; raises :class:`SurveyError` for settings that cannot be."""
    from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

    settings = crawler.settings
    given = settings.get("SMTPSURVEY_TRACE_RATE")
    if not (str(given).isdecimal() and 1 <= int(given) <= MAX_RATE):
        raise SurveyError(f"SMTPSURVEY_TRACE_RATE={given!r} is no number of packets a second (1 to {MAX_RATE})")
    path = settings.get("SMTPSURVEY_AS_MAP")
    survey = getattr(crawler.spider, "survey", None) or time.strftime("%Y-%m", time.gmtime())
    return RouteFinder(Scamper(reactor, int(given)), survey, AsMap(path) if path else None)
