"""``scrapy crawl ptr -a targets=FILE``: the names of addresses, and with ``-a mx=1`` the mail of their domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from smtpsurvey.dns.exchanges import Exchanges
from smtpsurvey.dns.items import dns_item
from smtpsurvey.dns.lines import ListedName
from smtpsurvey.dns.mx import MailExchanges
from smtpsurvey.dns.reverse import AddressLines, Suffixes, domains_behind, reverse_name
from smtpsurvey.dns.spider import LookupSpider
from smtpsurvey.spider import read_switch
from smtpsurvey.targets.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpsurvey.dns.answer import Answer
    from smtpsurvey.items import Target
    from smtpsurvey.probe.feed import Lines


class PtrSpider(LookupSpider):
    """Looks up PTR for every address of a list; with ``mx=1`` also MX for the domains behind, each once."""

    name = "ptr"
    words: ClassVar[tuple[str, str]] = ("addresses", "with name")
    list_argument = "targets"

    def __init__(self, targets: str = "", mx: str | int = 0, addresses: str | int = 1, **kwargs: Any) -> None:
        """Take the arguments of ``-a`` (docs/reference/commands.md)."""
        super().__init__(targets, **kwargs)
        self._given = {"mx": str(mx), "addresses": str(addresses)}

    def lines_of(self, on_bad: Callable[[int, str], object]) -> Lines:
        """Read addresses, networks and ranges."""
        return AddressLines(self.path, self.source, 0, on_bad)

    def prepare(self) -> dict[str, str]:
        """Check the arguments."""
        self._with_mx, self._with_addresses = (read_switch(name, given) for name, given in self._given.items())
        return self._given

    def begin(self) -> None:
        """Get ready with the resolver."""
        if self._with_mx:
            self.exchanges = Exchanges.of(self.crawler.settings, self.resolver) if self._with_addresses else None
            self._mail = MailExchanges(self.resolver, self.exchanges, self.survey, self.source)
            self._suffixes, self._seen = Suffixes(), Seen()

    async def look_up(self, entry: Target) -> None:
        """Look up one address, then the domains that its names lead to."""
        answer = await self.resolver.resolve(reverse_name(entry.ip), "PTR")
        domains = self._new_domains(answer) if self._with_mx else []
        if self.ledger is not None and domains:
            self.ledger.take(entry.position, len(domains))
        self.submit(dns_item(answer, self.survey, self.source), entry.position)
        for domain in domains:
            self.submit(await self._mail.look_up(ListedName(domain, entry.position)), entry.position)

    def _new_domains(self, answer: Answer) -> list[str]:
        return [domain for domain in domains_behind(answer, self._suffixes) if self._seen.add(hash(domain))]
