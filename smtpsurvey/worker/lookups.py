"""MX-LOOKUP, DNS-LOOKUP, DNS-REVERSE and IPV6-DNS-LOOKUP: through the resolver, as the spiders do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.dns.exchanges import Exchanges
from smtpsurvey.dns.items import dns_item
from smtpsurvey.dns.lines import ListedName
from smtpsurvey.dns.mx import MailExchanges
from smtpsurvey.dns.setup import resolver_of
from smtpsurvey.worker.begin import Beginning
from smtpsurvey.worker.commands import Command, Word

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from twisted.internet.base import ReactorBase
    from twisted.python.failure import Failure

    from smtpsurvey.worker.results import Results

TYPES = {Word.DNS_LOOKUP: "A", Word.IPV6_DNS_LOOKUP: "AAAA", Word.DNS_REVERSE: "PTR"}


class Lookups:
    """Looks names up with one resolver, which begins with the first of them."""

    def __init__(self, crawler: Crawler, reactor: ReactorBase, results: Results) -> None:
        """Ask the servers of SMTPSURVEY_DNS_SERVERS; raises :class:`SurveyError` for settings that cannot be."""
        self._settings = crawler.settings
        self._stats = crawler.stats
        self._reactor = reactor
        self._results = results
        self._beginning = Beginning(self._begin)
        self._renew()

    async def look_up(self, command: Command) -> None:
        """Look up one name."""
        await self._beginning.wait()
        answer = await maybe_deferred_to_future(self._resolver.resolve(command.arguments[0], TYPES[command.word]))
        self._results.submit(dns_item(answer, self._results.survey, command.place))

    async def mx(self, command: Command) -> None:
        """MX-LOOKUP: find the exchanges of a domain, and their addresses."""
        await self._beginning.wait()
        mail = MailExchanges(self._resolver, self._exchanges, self._results.survey, command.place)
        name = ListedName(command.arguments[0], 0)
        self._results.submit(await maybe_deferred_to_future(Deferred.fromCoroutine(mail.look_up(name))))

    async def end(self) -> None:
        """Close the sockets."""
        await maybe_deferred_to_future(self._resolver.stop())
        self._exchanges.tell(self._stats)

    def _begin(self) -> Deferred[None]:
        """Find out whether a server works; when none does, a later command tries again, with a new resolver."""
        return self._resolver.start().addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        self._renew()
        return failure

    def _renew(self) -> None:
        self._resolver = resolver_of(self._settings, self._reactor, self._stats)
        self._exchanges = Exchanges.of(self._settings, self._resolver)
