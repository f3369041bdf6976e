"""``scrapy crawl mx -a domains=FILE``: where the mail of domains goes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.threads import deferToThread

from smtpsurvey.dns.exchanges import Exchanges
from smtpsurvey.dns.mx import MailExchanges
from smtpsurvey.dns.spider import LookupSpider
from smtpsurvey.errors import SurveyError
from smtpsurvey.spider import read_switch

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from smtpsurvey.dns.lines import ListedName


class MxSpider(LookupSpider):
    """Looks up MX for every domain of a list, and the addresses of the exchanges."""

    name = "mx"
    words: ClassVar[tuple[str, str]] = ("domains", "with mail")
    list_argument = "domains"

    def __init__(self, domains: str = "", zone: str = "", addresses: str | int = 1, **kwargs: Any) -> None:
        """Take the arguments of ``-a`` (docs/reference/commands.md)."""
        super().__init__(domains or zone, **kwargs)
        self._domains = domains
        self._zone = zone
        self._addresses = addresses

    async def survey_all(self) -> None:
        """Look up the domains of a list, or of a zone file, which is made into a list first."""
        if not self._zone:
            await super().survey_all()
            return
        if self._domains:
            raise SurveyError("domains= and zone= are both given: the domains are either in a list or in a zone")
        from smtpsurvey.targets.zone_list import zone_list  # noqa: PLC0415 - Scrapy imports every spider for each

        job = self.crawler.settings.get("JOBDIR")
        with ExitStack() as stack:
            folder = job or stack.enter_context(TemporaryDirectory(prefix="smtpsurvey-zone-"))
            listing: Deferred[object] = deferToThread(zone_list, self._zone, Path(folder), self._tell)
            self.path = str(await maybe_deferred_to_future(listing))
            await super().survey_all()

    def _tell(self, line: str) -> None:
        self.logger.warning("%s", line)

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
