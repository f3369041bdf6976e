"""COMMAND-FETCH: gets further commands by HTTP, through Scrapy's downloader. Nothing that a server does stops us."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import msgspec
from scrapy import Request
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    IgnoreRequest,
    ResponseDataLossError,
)
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.errors import SurveyError
from smtpsurvey.worker.agent import PLAIN, agent_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.internet.base import ReactorBase

    from smtpsurvey.worker.commands import Command

logger = logging.getLogger(__name__)
MOST = 64 << 20  # bytes of a command file, decompressed; DOWNLOAD_MAXSIZE where that is less
REDIRECTS = 5
_REDIRECTING = frozenset((301, 302, 303, 307, 308))
_LATER = frozenset((408, 425, 429))  # with all of 5xx: the server may answer another time
_HTML = ("text/html", "application/xhtml+xml")
NO_ANSWER = (
    CannotResolveHostError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
)


class NotNowError(Exception):
    """The file did not come, and may come another time; the message says why."""


class _Known(msgspec.Struct):
    """Where a saved file came from."""

    url: str
    etag: str


class Fetcher:
    """Fetches command files into a folder."""

    def __init__(self, crawler: Crawler, reactor: ReactorBase, folder: Path) -> None:
        """Read the settings; raises :class:`SurveyError` for those that cannot be."""
        self._crawler = crawler
        self._reactor = reactor
        self._folder = folder
        self._pauses = _pauses(crawler.settings.getlist("SMTPSURVEY_FETCH_PAUSES"))
        size = crawler.settings.getint("DOWNLOAD_MAXSIZE")
        self._headers = {"User-Agent": agent_of(crawler.settings), "Accept-Encoding": "gzip"}
        self._meta = {**PLAIN, "download_maxsize": min(size, MOST) if size else MOST}

    async def fetch(self, command: Command) -> Path | None:
        """Fetch, with further tries after pauses; give the file to execute, ``None`` where it has not changed.

        Raises :class:`SurveyError` when there is none: at once for an answer that is no command file.
        """
        url, name = command.arguments
        for number, pause in enumerate((*self._pauses, None), 1):
            try:
                return await self._try(url, self._folder / name)
            except NotNowError as error:
                if pause is None:
                    raise SurveyError(f"{url}: {error}; given up after {number} tries") from None
                logger.warning("%s: %s: %s; again in %g s", command.place, url, error, pause)
                await maybe_deferred_to_future(self._sleep(pause))
        return None

    async def _try(self, url: str, path: Path) -> Path | None:
        headers, known = dict(self._headers), _known(path)
        if known is not None and known.url == url:
            headers["If-None-Match"] = known.etag
        response = await self._get(url, headers)
        if response.status == HTTPStatus.NOT_MODIFIED:
            logger.info("%s: not modified, so there is nothing to execute", url)
            return None
        kind = (response.headers.get("Content-Type") or b"").decode("latin-1").partition(";")[0].strip().lower()
        if kind in _HTML:
            raise SurveyError(f"{url}: refused: the answer is {kind}, no command file")
        self._save(url, path, response)
        return path

    async def _get(self, url: str, headers: dict[str, str]) -> Response:
        """Get it, redirects followed; a status other than 200 and 304 is an error."""
        at = url
        for _ in range(REDIRECTS + 1):
            response = await self._download(Request(at, headers=headers, meta=dict(self._meta)))
            status = response.status
            if status in {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED}:
                return response
            if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise NotNowError(f"status {status}")
            location = response.headers.get("Location")
            if status not in _REDIRECTING or location is None:
                raise SurveyError(f"{url}: refused: status {status}")
            at = _target(url, at, location)
        raise SurveyError(f"{url}: refused: more than {REDIRECTS} redirects")

    async def _download(self, request: Request) -> Response:
        try:
            return await self._crawler.engine.download_async(request)
        except (DownloadCancelledError, IgnoreRequest) as error:
            limit = self._meta["download_maxsize"]
            raise SurveyError(f"{request.url}: refused: larger than {limit:,} bytes") from error
        except NO_ANSWER as error:
            raise NotNowError(_said(error)) from error

    def _save(self, url: str, path: Path, response: Response) -> None:
        """Write the file beside its place, and move it there, and then where it came from."""
        etag = response.headers.get("ETag")
        mark = _mark(path)
        self._folder.mkdir(parents=True, exist_ok=True)
        mark.unlink(missing_ok=True)
        partial = path.with_name(f".{path.name}.part")
        partial.write_bytes(response.body)
        partial.replace(path)
        if etag is not None and etag.isascii():
            mark.write_bytes(msgspec.json.encode(_Known(url, etag.decode())))

    def _sleep(self, seconds: float) -> Deferred[None]:
        done: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._reactor.callLater(seconds, done.callback, None)
        return done


def _target(url: str, at: str, location: bytes) -> str:
    try:
        to = urljoin(at, location.decode("ascii"))
        good = urlsplit(to).scheme in {"http", "https"}
    except ValueError:
        good = False
    if not good:
        raise SurveyError(f"{url}: refused: a redirect that leads to no http or https URL")
    return to


def _mark(path: Path) -> Path:
    return path.with_name(f".{path.name}.etag")


def _known(path: Path) -> _Known | None:
    try:
        return msgspec.json.decode(_mark(path).read_bytes(), type=_Known) if path.is_file() else None
    except (OSError, msgspec.DecodeError):
        return None


def _pauses(given: Sequence[Any]) -> list[float]:
    try:
        pauses = [float(each) for each in given]
    except (TypeError, ValueError):
        pauses = [-1.0]
    if not all(0 <= pause < float("inf") for pause in pauses):
        raise SurveyError(f"SMTPSURVEY_FETCH_PAUSES={given!r} are no numbers of seconds")
    return pauses


def _said(error: Exception) -> str:
    text = str(error).strip()
    said = type(error).__name__.removesuffix("Error")
    return f"{said}: {ascii(text)[1:-1][:200]}" if text else said
