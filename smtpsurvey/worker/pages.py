"""HTTP-FETCH: the first bytes of a page, through Scrapy's downloader and past the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrapy import Request, signals
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadTimeoutError,
    IgnoreRequest,
    StopDownload,
)
from scrapy.utils.defer import maybe_deferred_to_future

from smtpsurvey.admission import Exclude
from smtpsurvey.dns.addresses import ResolveError
from smtpsurvey.items import Target
from smtpsurvey.kinds import HttpItem
from smtpsurvey.outcomes import HttpOutcome
from smtpsurvey.smtp.reply import text_of
from smtpsurvey.worker.agent import PLAIN, agent_of
from smtpsurvey.worker.commands import is_address
from smtpsurvey.worker.fetching import NO_ANSWER
from smtpsurvey.worker.results import line_of, now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy.crawler import Crawler
    from scrapy.http import Headers, Response

    from smtpsurvey.dns.addresses import Hosts
    from smtpsurvey.worker.commands import Command
    from smtpsurvey.worker.results import Results

LIMIT = "smtpsurvey_page"  # the key in the meta of our requests: bytes that are still wanted
PORTS = {"http": 80, "https": 443}
_OUTCOMES: tuple[tuple[type[Exception], HttpOutcome], ...] = (
    (ResolveError, HttpOutcome.NO_NAME),
    (CannotResolveHostError, HttpOutcome.NO_NAME),
    (DownloadConnectionRefusedError, HttpOutcome.REFUSED),
    (DownloadTimeoutError, HttpOutcome.TIMEOUT),
    (DownloadCancelledError, HttpOutcome.TOO_LARGE),
    (IgnoreRequest, HttpOutcome.TOO_LARGE),  # when decompressed
    (Exclude, HttpOutcome.EXCLUDED),
)


class Pages:
    """Fetches pages; redirects are recorded, not followed."""

    def __init__(
        self, crawler: Crawler, admit: Callable[[Target], Awaitable[None]], hosts: Hosts, results: Results
    ) -> None:
        """Keep SMTPSURVEY_PAGE_SIZE bytes of each."""
        self._crawler = crawler
        self._admit = admit
        self._hosts = hosts
        self._results = results
        self._size = crawler.settings.getint("SMTPSURVEY_PAGE_SIZE")
        self._headers = {"User-Agent": agent_of(crawler.settings), "Accept-Encoding": "identity"}
        crawler.signals.connect(self._headers_received, signals.headers_received)
        crawler.signals.connect(self._bytes_received, signals.bytes_received)

    async def fetch(self, command: Command) -> None:
        """Fetch one page."""
        (url,) = command.arguments
        item = HttpItem(self._results.survey, now(), url, HttpOutcome.OK, None, None, None, None, line_of(command))
        request = Request(url, headers=self._headers, meta={**PLAIN, LIMIT: self._size + 1, "download_maxsize": 0})
        try:
            await self._ask(url, command.place)
            response = await self._crawler.engine.download_async(request)
        except (ResolveError, Exclude, DownloadCancelledError, IgnoreRequest, *NO_ANSWER) as error:
            item.outcome = next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), HttpOutcome.FAILED)
        else:
            self._fill(item, response)
        self._results.submit(item)

    async def _ask(self, url: str, source: str) -> None:
        """Let the gate judge the host: each of its addresses, as nobody knows which one is taken."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        known = is_address(host)
        addresses = [host] if known else await maybe_deferred_to_future(self._hosts.addresses(host))
        for address in addresses:
            await self._admit(Target(address, port, None if known else host, source=source))

    def _fill(self, item: HttpItem, response: Response) -> None:
        location = response.headers.get("Location")
        item.status = response.status
        item.location = None if location is None else text_of(location)
        item.body = text_of(response.body[: self._size])
        item.truncated = len(response.body) > self._size

    def _headers_received(self, headers: Headers, request: Request) -> None:
        encoding = headers.get("Content-Encoding")
        if LIMIT in request.meta and encoding not in {None, b"identity"}:
            # Nobody asked for that: what cannot be cut is bounded whole, compressed and not.
            request.meta["download_maxsize"] = request.meta[LIMIT] = self._size

    def _bytes_received(self, data: bytes, request: Request) -> None:
        wanted = request.meta.get(LIMIT)
        if wanted is not None:
            request.meta[LIMIT] = wanted - len(data)
            if wanted <= len(data) and request.meta["download_maxsize"] == 0:
                raise StopDownload(fail=False)
