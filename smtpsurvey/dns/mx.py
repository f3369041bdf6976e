"""Where the mail of a domain goes: RFC 5321 section 5.1, and RFC 7505 for domains that take none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smtpsurvey.dns.addresses import values
from smtpsurvey.items import iso_time
from smtpsurvey.kinds import Exchange, MxItem
from smtpsurvey.outcomes import DnsOutcome

if TYPE_CHECKING:
    from smtpsurvey.dns.answer import Answer
    from smtpsurvey.dns.exchanges import Exchanges, Host
    from smtpsurvey.dns.lines import ListedName
    from smtpsurvey.dns.resolver import Resolver

MAX_EXCHANGES = 100
"""Exchanges of a domain whose addresses are looked up: more would make us a tool against somebody."""

_FAILURES = frozenset(DnsOutcome) - {DnsOutcome.OK, DnsOutcome.NO_DATA, DnsOutcome.NXDOMAIN}


class MailExchanges:
    """Looks up domains for one survey."""

    def __init__(self, resolver: Resolver, exchanges: Exchanges | None, survey: str, source: str | None) -> None:
        """Look up the addresses of exchanges with ``exchanges``, or not at all; the rest goes into the items."""
        self._resolver = resolver
        self._exchanges = exchanges
        self._survey = survey
        self._source = source

    async def look_up(self, entry: ListedName) -> MxItem:
        """Find the exchanges of a domain in the order of preference, equal ones by name.

        Without an MX the domain's own addresses make it its only exchange (an implicit MX); where addresses
        are not looked up, that is not looked for either.
        """
        if not entry.good:
            return MxItem(self._survey, iso_time(time.time()), entry.name, DnsOutcome.BAD_NAME, source=self._source)
        answer = await self._resolver.resolve(entry.name, "MX")
        item = self._item(entry.name, answer)
        if answer.outcome is DnsOutcome.OK:
            found = exchanges_of(answer)
            item.null_mx = len(found) == 1 and not found[0][1]  # RFC 7505 section 3: the only record
            item.exchanges = [] if item.null_mx else [Exchange(*pair) for pair in found]
            if not found:  # records of other names alone
                item.outcome, item.exchanges = DnsOutcome.NO_DATA, None
        exchanges = self._exchanges
        if exchanges is None:
            return item
        if item.outcome == DnsOutcome.NO_DATA:
            self._imply(item, await exchanges.of_domain(entry.name))
        elif item.exchanges:
            for exchange in item.exchanges[:MAX_EXCHANGES]:
                _fill(exchange, exchanges.known(exchange.name) or await exchanges.find(exchange.name))
        return item

    def _item(self, domain: str, answer: Answer) -> MxItem:
        return MxItem(
            self._survey,
            iso_time(answer.time),
            domain,
            answer.outcome,
            rcode=answer.rcode,
            server=answer.server,
            ad=answer.ad,
            duration=answer.duration,
            source=self._source,
        )

    def _imply(self, item: MxItem, host: Host) -> None:
        if host.addresses:
            item.outcome, item.implicit = DnsOutcome.OK, True
            item.exchanges = [Exchange(None, item.domain)]
            _fill(item.exchanges[0], host)
        elif host.outcome in _FAILURES:
            item.outcome = host.outcome  # whether there is one is not known


def exchanges_of(answer: Answer) -> list[tuple[int, str]]:
    """Read the MX records of an answer, in order; names in lower case without the last dot, the root's is empty."""
    found = set()
    for value in values(answer):
        preference, _, name = value.partition(" ")
        found.add((int(preference), name.lower().removesuffix(".")))
    return sorted(found)


def _fill(exchange: Exchange, host: Host) -> None:
    exchange.addresses = None if host.addresses is None else list(host.addresses)
    exchange.flags = [*host.flags] or None
