"""``scrapy crawl mta_sts -a domains=FILE``: the policies of domains on TLS for their mail (MTA-STS, TLSRPT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from smtpsurvey.admission.gate import Gate
from smtpsurvey.dns.mx import MailExchanges
from smtpsurvey.dns.spider import LookupSpider
from smtpsurvey.policy.domains import DomainPolicies
from smtpsurvey.policy.fetch import Policies
from smtpsurvey.policy.handler import KnownHosts, verification
from smtpsurvey.probe.setup import identity_of

if TYPE_CHECKING:
    from scrapy import Request
    from twisted.internet.defer import Deferred

    from smtpsurvey.dns.lines import ListedName


class MtaStsSpider(LookupSpider):
    """Looks up every domain of a list, one item a domain."""

    name = "mta_sts"
    words: ClassVar[tuple[str, str]] = ("domains", "with a policy")
    list_argument = "domains"
    # What Scrapy does for the web would change what is fetched, or from where.
    custom_settings = {  # noqa: RUF012 - Scrapy declares it without ClassVar
        "DOWNLOAD_HANDLERS": {"https": "smtpsurvey.policy.handler.VerifyingHandler"},
        **dict.fromkeys(
            (
                *("REDIRECT_ENABLED", "METAREFRESH_ENABLED", "RETRY_ENABLED", "COMPRESSION_ENABLED"),
                *("COOKIES_ENABLED", "HTTPPROXY_ENABLED", "HTTPCACHE_ENABLED"),
            ),
            False,
        ),
    }

    def __init__(self, domains: str = "", **kwargs: Any) -> None:
        """Take the arguments of ``-a`` (docs/reference/commands.md)."""
        super().__init__(domains, **kwargs)

    def prepare(self) -> dict[str, str]:
        """Check the trust anchors."""
        verification(self.crawler.settings)
        return {}

    def begin(self) -> None:
        """Get ready with the resolver."""
        from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

        identity, hooks = identity_of(self.crawler.settings), self.processor.admit_hooks
        gate = Gate(hooks if identity.complete else [identity.admit, *hooks])
        hosts = KnownHosts()
        names: Any = reactor
        before = names.installNameResolver(hosts)

        async def restore() -> None:
            names.installNameResolver(before)

        self.processor.before_close.append(restore)
        contact = self.crawler.settings.get("SMTPSURVEY_CONTACT")
        self._agent = f"smtpsurvey (+{contact})" if contact else "smtpsurvey"
        policies = Policies(self.resolver, gate, hosts, self._download)
        mail = MailExchanges(self.resolver, None, self.survey, self.source)
        self._domains = DomainPolicies(self.resolver, policies, mail, self.survey, self.source)

    async def look_up(self, entry: ListedName) -> None:
        """Look up one domain."""
        self.submit(await self._domains.look_up(entry), entry.position)

    def _download(self, request: Request) -> Deferred[Any]:
        request.headers["User-Agent"] = self._agent
        # Not by the engine, which begins nothing when it closes: what is in flight ends first.
        fetched: Deferred[Any] = self.crawler.engine.downloader.fetch(request)
        return fetched
