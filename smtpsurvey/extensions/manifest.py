"""The manifest of a run: what was asked, with what, and what came of it, as one JSON file.

Written at the start, every second, and at the end, each time whole (a reader never sees a half).
"""

from __future__ import annotations

import logging
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs
import msgspec
from scrapy import signals
from scrapy.exceptions import NotConfigured
from scrapy.utils.defer import deferred_from_coro
from twisted.internet.task import LoopingCall

from smtpsurvey.errors import FAILED
from smtpsurvey.extensions.summary import Counts, SummaryExtension
from smtpsurvey.items import iso_time
from smtpsurvey.spider import SurveySpider

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)
EVERY = 1.0  # seconds
PACKAGES = ("smtpsurvey", "scrapy", "twisted", "pyopenssl")


@attrs.define(slots=False)
class Manifest:
    """A run. ``finished`` and ``reason`` are ``None`` while it goes on; times are ISO 8601 in UTC.

    ``targets`` is the estimated number of entries in the list, ``None`` for a pipe.
    """

    survey: str
    started: str
    written: str
    finished: str | None
    reason: str | None
    targets: int | None
    in_flight: int
    counts: Counts
    versions: dict[str, str]


def read_manifest(path: Path) -> Manifest:
    """Read a manifest back; raises ``OSError`` or ``msgspec.DecodeError``."""
    return msgspec.json.decode(path.read_bytes(), type=Manifest, dec_hook=lambda kind, value: kind(value))


def manifest_of(crawler: Crawler, started: str, reason: str | None = None) -> Manifest:
    """Describe a run at this moment; ``reason`` when it has finished."""
    now, spider = iso_time(time.time()), crawler.spider
    summary = crawler.get_extension(SummaryExtension)
    ours = spider if isinstance(spider, SurveySpider) else None
    return Manifest(
        ours.survey if ours else "",
        started,
        now,
        None if reason is None else now,
        reason,
        ours.estimate() if ours else None,
        ours.in_flight if ours else 0,
        summary.counts() if summary else Counts(),
        {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    )


class ManifestExtension:
    """Keeps the file of SMTPSURVEY_MANIFEST up to date."""

    def __init__(self, crawler: Crawler, path: Path) -> None:
        """Write to ``path``."""
        self._crawler = crawler
        self._path = path
        self._started = iso_time(time.time())
        self._call: LoopingCall | None = None
        self._warned = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Read the setting; without it there is no manifest."""
        path = crawler.settings.get("SMTPSURVEY_MANIFEST")
        if not path:
            raise NotConfigured
        extension = cls(crawler, Path(path))
        crawler.signals.connect(extension.spider_opened, signals.spider_opened)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        return extension

    def spider_opened(self) -> None:
        """Begin to write; a place that cannot be written to ends the survey before it begins."""
        self.try_to_write(None)
        if self._warned:
            deferred_from_coro(self._crawler.engine.close_spider_async(reason=FAILED))
            return
        self._call = LoopingCall(self.try_to_write, None)
        self._call.start(EVERY)

    def spider_closed(self, reason: str) -> None:
        """Write the last state."""
        if self._call is not None and self._call.running:
            self._call.stop()
            self.try_to_write(reason)

    def try_to_write(self, reason: str | None) -> None:
        """Write; what prevents it is said once, and tried again."""
        try:
            self.write(reason)
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger.error("SMTPSURVEY_MANIFEST: %s: %s", self._path, error.strerror)  # noqa: TRY400 - one line says it

    def write(self, reason: str | None) -> None:
        """Write the manifest beside its place, and move it there."""
        manifest = manifest_of(self._crawler, self._started, reason)
        partial = self._path.with_name(f"{self._path.name}.part")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        partial.replace(self._path)
