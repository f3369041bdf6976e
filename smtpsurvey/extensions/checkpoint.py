"""The checkpoint of a survey (with JOBDIR): killed at any instant, it goes on where it was.

``item_scraped`` means stored, so a target is done on that signal alone, and one that makes no item
when it is counted. The mark is written whole, a few times a second; what came to its end since the
last time is contacted once more, and its row written again with the same key.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import msgspec
from scrapy import signals
from scrapy.exceptions import NotConfigured
from twisted.internet.task import LoopingCall

from smtpsurvey.errors import SurveyError
from smtpsurvey.extensions.summary import Counts, SummaryExtension
from smtpsurvey.items import SmtpItem
from smtpsurvey.kinds import DnsItem, MtaStsItem, MxItem, RouteItem
from smtpsurvey.probe.ledger import Ledger, Mark

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)
EVERY = 0.25  # seconds
FILE = "checkpoint.json"
_STATS = "smtpsurvey/"


@attrs.define
class Checkpoint:
    """What the file holds. ``job`` is what must be the same for the file to be of use."""

    job: dict[str, str]
    mark: Mark
    counts: Counts
    stats: dict[str, int]


class CheckpointExtension:
    """Keeps ``JOBDIR/checkpoint.json``."""

    def __init__(self, crawler: Crawler, folder: Path) -> None:
        """Write into ``folder``."""
        self._crawler = crawler
        self._path = folder / FILE
        self._job: dict[str, str] = {}
        self._ledger: Ledger | None = None
        self._call = LoopingCall(self.try_to_write)
        self._warned = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Read JOBDIR; without it there is no checkpoint."""
        folder = crawler.settings.get("JOBDIR")
        if not folder:
            raise NotConfigured
        extension = cls(crawler, Path(folder))
        crawler.signals.connect(extension.item_done, signals.item_scraped)
        crawler.signals.connect(extension.item_done, signals.item_dropped)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        return extension

    def open(self, job: dict[str, str]) -> Ledger:
        """Begin, or take up, a job; raises :class:`SurveyError` when the folder is another job's."""
        self._job, mark = job, None
        summary = self._crawler.get_extension(SummaryExtension)
        if self._path.exists():
            before = read_checkpoint(self._path)
            for name, value in job.items():
                if before.job.get(name) != value:
                    raise SurveyError(
                        f"JOBDIR {self._path.parent} belongs to another survey: its {name} is "
                        f"{before.job.get(name)}, not {value}; give another JOBDIR"
                    )
            mark = before.mark
            if summary is not None:
                summary.restore(before.counts, before.stats)
            for name, count in before.stats.items():
                self._crawler.stats.set_value(name, count)
        self._ledger = Ledger(mark)
        try:
            self.write()
        except OSError as error:
            raise SurveyError(f"JOBDIR: {self._path}: {error.strerror}") from None
        self._call.start(EVERY)
        return self._ledger

    def item_done(self, item: Any) -> None:
        """Tick off the entry of an item."""
        if self._ledger is None:
            return
        if isinstance(item, SmtpItem) and item.observation is not None:
            self._ledger.done(item.observation.target.position)
        elif isinstance(item, DnsItem | MxItem | MtaStsItem | RouteItem) and item.position is not None:
            self._ledger.done(item.position)

    def spider_closed(self) -> None:
        """Write the last mark."""
        if self._call.running:
            self._call.stop()
            self.try_to_write()

    def try_to_write(self) -> None:
        """Write; what prevents it is said once, and tried again."""
        try:
            self.write()
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger.error("JOBDIR: %s: %s", self._path, error.strerror)  # noqa: TRY400 - one line says it

    def write(self) -> None:
        """Write the file beside its place, and move it there."""
        assert self._ledger is not None  # noqa: S101 - begun in open()
        summary = self._crawler.get_extension(SummaryExtension)
        stats = self._crawler.stats.get_stats()
        checkpoint = Checkpoint(
            self._job,
            self._ledger.mark(),
            summary.counts() if summary else Counts(),
            {name: value for name, value in stats.items() if name.startswith(_STATS) and isinstance(value, int)},
        )
        partial = self._path.with_name(f"{FILE}.part")
        partial.write_bytes(msgspec.json.encode(checkpoint))
        partial.replace(self._path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the file back; raises :class:`SurveyError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint, dec_hook=lambda kind, value: kind(value))
    except (OSError, msgspec.DecodeError) as error:
        raise SurveyError(f"{path}: cannot be read ({error})") from None


def fingerprint(path: str) -> str:
    """Give the BLAKE2b hash of a file, in hex; raises ``OSError``."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
