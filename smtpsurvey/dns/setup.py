"""From Scrapy's settings to a resolver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsurvey.dns.lookup import Options
from smtpsurvey.dns.query import question
from smtpsurvey.dns.resolver import Resolver
from smtpsurvey.dns.servers import read_servers
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings
    from scrapy.statscollectors import StatsCollector
    from twisted.internet.base import ReactorBase


def resolver_of(settings: BaseSettings, reactor: ReactorBase, stats: StatsCollector | None = None) -> Resolver:
    """Make the resolver of SMTPSURVEY_DNS_*; raises :class:`SurveyError` for settings that cannot be."""
    servers = read_servers(map(str, settings.getlist("SMTPSURVEY_DNS_SERVERS")))
    try:
        options = Options(
            rate=_positive(settings, "SMTPSURVEY_DNS_RATE", zero=True),
            concurrency=int(_positive(settings, "SMTPSURVEY_DNS_CONCURRENCY")),
            timeouts=tuple(_positive_number(text) for text in settings.getlist("SMTPSURVEY_DNS_TIMEOUTS")),
            probe=_probe(str(settings.get("SMTPSURVEY_DNS_PROBE"))),
        )
    except ValueError as error:
        raise SurveyError(str(error)) from None
    if not options.timeouts:
        raise SurveyError("SMTPSURVEY_DNS_TIMEOUTS is empty: it has the seconds of each try")
    return Resolver(reactor, servers, options, stats)


def _positive(settings: BaseSettings, name: str, *, zero: bool = False) -> float:
    given = settings.get(name)
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = -1.0
    if not (0 < number < float("inf") or (zero and number == 0)):
        raise ValueError(f"{name}={given!r} is no positive number")
    return number


def _positive_number(text: object) -> float:
    try:
        number = float(str(text))
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise ValueError(f"SMTPSURVEY_DNS_TIMEOUTS: {text!r} is no number of seconds")
    return number


def _probe(text: str) -> tuple[str, str]:
    name, _, type_ = text.strip().rpartition(" ")
    try:
        question(name, type_)
    except ValueError as error:
        raise ValueError(f"SMTPSURVEY_DNS_PROBE={text!r} is no name and type, like '. NS' ({error})") from None
    return name, type_
