"""``scrapy crawl mx -a domains=FILE``: where the mail of domains goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from smtpsurvey.dns.exchanges import Exchanges
from smtpsurvey.dns.mx import MailExchanges
from smtpsurvey.dns.spider import LookupSpider
from smtpsurvey.spider import read_switch

if TYPE_CHECKING:
    from smtpsurvey.dns.lines import ListedName


class MxSpider(LookupSpider):
    """Looks up MX for every domain of a list, and the addresses of the exchanges."""

    name = "mx"
    words: ClassVar[tuple[str, str]] = ("domains", "with mail")
    list_argument = "domains"

    def __init__(self, domains: str = "", addresses: str | int = 1, **kwargs: Any) -> None:
        """Take the arguments of ``-a`` (docs/reference/commands.md)."""
        super().__init__(domains, **kwargs)
        self._addresses = addresses

    def prepare(self) -> dict[str, str]:
        """Check the argument."""
        self._with_addresses = read_switch("addresses", self._addresses)
        return {"addresses": str(self._addresses)}

    def begin(self) -> None:
        """Get ready with the resolver."""
        self.exchanges = Exchanges.of(self.crawler.settings, self.resolver) if self._with_addresses else None
        self._mail = MailExchanges(self.resolver, self.exchanges, self.survey, self.source)

    async def look_up(self, entry: ListedName) -> None:
        """Look up one domain."""
        self.submit(await self._mail.look_up(entry), entry.position)
