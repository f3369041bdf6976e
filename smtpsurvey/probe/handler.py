"""``smtp://host[:port]`` as a download handler: one probe for one request.

``scrapy fetch smtp://mx.example.org`` prints the transcript, ``scrapy shell`` and any spider get
``response.observation``. The status is always 200: an SMTP code is no HTTP status, and a failed
contact is an observation, not an error that a middleware may repeat.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.exceptions import CannotResolveHostError, NotSupported
from scrapy.http import TextResponse
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.admission import Exclude
from smtpsurvey.admission.gate import Gate
from smtpsurvey.admission.identity import is_loopback
from smtpsurvey.dns.addresses import Hosts, ResolveError
from smtpsurvey.errors import SurveyError
from smtpsurvey.items import DEFAULT_PORT, Observation, Target
from smtpsurvey.outcomes import Reason
from smtpsurvey.probe.prober import Prober
from smtpsurvey.probe.setup import connections_allowed, identity_of, probe_of
from smtpsurvey.processor import SurveyItemProcessor
from smtpsurvey.smtp.reply import text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from scrapy import Request
    from scrapy.crawler import Crawler

    from smtpsurvey.admission.gate import Hook


class SmtpResponse(TextResponse):
    """The transcript as text, and the fact itself as ``observation``."""

    attributes = (*TextResponse.attributes, "observation")

    def __init__(self, *args: Any, observation: Observation | None = None, **kwargs: Any) -> None:
        """Carry an observation."""
        super().__init__(*args, **kwargs)
        self.observation = observation


class SmtpDownloadHandler(BaseDownloadHandler):
    """Probes the host of a request through the same gate as a survey.

    Loopback is never refused as reserved: whoever names it means this machine.
    """

    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        """Prepare one prober for all requests of this crawl."""
        super().__init__(crawler)
        from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

        from smtpsurvey.dns.setup import resolver_of  # noqa: PLC0415 - imports dnspython, for those who fetch

        settings, processor = crawler.settings, crawler.engine.scraper.itemproc
        if not isinstance(processor, SurveyItemProcessor):
            raise SurveyError("ITEM_PROCESSOR must be smtpsurvey.processor.SurveyItemProcessor")
        self._processor = processor
        self._waiting: dict[Target, Deferred[Observation]] = {}
        self._hosts = Hosts(resolver_of(settings, reactor, crawler.stats))
        hooks = [identity_of(settings).admit, *processor.admit_hooks]
        self._prober = Prober(
            reactor,
            probe_of(settings, reactor, starttls=True),
            Gate([self._one_by_one(hook) for hook in hooks]),
            self._record,
            concurrency=connections_allowed(settings),
            hold=lambda: False,
            failed=self._fail,
        )

    async def download_request(self, request: Request) -> SmtpResponse:
        """Probe.

        Raises ``NotSupported`` for a URL with a path, ``CannotResolveHostError`` for an unknown host, and
        ``SurveyError`` when nobody may be probed at all (no identity, a list that cannot be read).
        """
        if self._processor.failure is not None:
            raise SurveyError(self._processor.failure)
        parts = urlsplit(request.url)
        if not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.port == 0:
            raise NotSupported(f"{request.url} is not smtp://host[:port]")
        name, ip = await self._address(parts.hostname)
        target = Target(ip, parts.port or DEFAULT_PORT, name, source="smtp://")
        waiting = self._waiting[target] = Deferred()
        self._prober.add(target)
        observation = await maybe_deferred_to_future(waiting)
        body = transcript(observation).encode()
        return SmtpResponse(request.url, body=body, encoding="utf-8", request=request, observation=observation)

    async def close(self) -> None:
        """End the prober."""
        await self._prober.end()
        await self._hosts.stop()

    def _record(self, observation: Observation) -> None:
        waiting = self._waiting.pop(observation.target, None)
        if waiting is not None:
            waiting.callback(observation)

    def _fail(self, target: Target, error: BaseException) -> None:
        self._waiting.pop(target).errback(error)

    def _one_by_one(self, hook: Hook) -> Hook:
        """Let a hook speak of one request, for which loopback is never reserved."""

        def admit(target: Target) -> Awaitable[Any] | None:
            try:
                return hook(target)
            except Exclude as excluded:
                if excluded.reason == Reason.RESERVED and is_loopback(target.ip):
                    return None
                raise

        return admit

    async def _address(self, host: str) -> tuple[str | None, str]:
        """Give the name, if it is one, and the first address."""
        try:
            return None, str(ip_address(host))
        except ValueError:
            pass
        try:
            addresses = await maybe_deferred_to_future(self._hosts.addresses(host))
        except ResolveError as error:
            raise CannotResolveHostError(str(error)) from None
        return host, addresses[0]


def transcript(seen: Observation) -> str:
    """Write down what was said, ``<`` by the server and ``>`` by us, and what became of it."""
    said: list[str] = []
    talk = (
        (None, seen.greeting),
        ("EHLO", seen.ehlo),
        ("HELO", seen.helo),
        ("STARTTLS", seen.starttls_reply),
        ("EHLO (in TLS)", seen.tls_ehlo),
        ("QUIT", seen.quit),
    )
    for command, reply in talk:
        if reply is not None:
            if command is not None:
                said.append(f"> {command}")
            said.extend(f"< {line}" for line in text_of(reply.raw).splitlines())
            if command == "STARTTLS" and seen.tls is not None:
                said.append(f"* TLS: {seen.tls.error or f'{seen.tls.version} {seen.tls.cipher}'}")
    said.append(f"* {seen.outcome}{f' ({seen.reason})' if seen.reason else ''}")
    if seen.interrupted is not None:
        said.append(f"* interrupted in {seen.interrupted.stage}: {seen.interrupted.reason}")
    return "\n".join("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in s) for s in said)
