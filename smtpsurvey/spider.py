"""What the spiders of a survey have in common: the label, arguments, one line for trouble, and how far they are."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy import Spider
from scrapy.exceptions import CloseSpider

from smtpsurvey.errors import FAILED, SurveyError
from smtpsurvey.extensions.checkpoint import CheckpointExtension, fingerprint
from smtpsurvey.processor import SurveyItemProcessor
from smtpsurvey.smtp.reply import text_of
from smtpsurvey.targets.shard import parse_shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smtpsurvey.probe.ledger import Ledger

MAX_WAITING = 20_000  # items that may wait in a pipeline (the store) before nothing new is begun
_SWITCH = {"0": False, "1": True}


class SurveySpider(Spider):
    """A spider that hands finished items straight to the pipelines (``processor.submit``) and never yields.

    A subclass has :meth:`survey_all` and tells :meth:`estimate` and :attr:`in_flight`.
    """

    words: ClassVar[tuple[str, str]] = ("targets", "live")
    """What progress counts, and which of these it counts besides."""

    processor: SurveyItemProcessor

    def __init__(self, survey: str | None = None, **kwargs: Any) -> None:
        """Take the label of the round."""
        super().__init__(**kwargs)
        self.survey = readable(survey) if survey else time.strftime("%Y-%m", time.gmtime())

    async def survey_all(self) -> None:
        """Do everything; raises :class:`SurveyError` for what the user must mend."""
        raise NotImplementedError

    def estimate(self) -> int | None:
        """Give the number of entries of the list, estimated while it is read; ``None`` before that."""
        return None

    @property
    def in_flight(self) -> int:
        """How much is begun and not ended."""
        return 0

    async def start(self) -> AsyncIterator[Any]:
        """Run the survey; items go straight to the pipelines, so nothing is ever yielded."""
        try:
            await self.survey_all()
        except SurveyError as error:
            self.logger.error("%s", error)  # noqa: TRY400 - one line says it
            raise CloseSpider(FAILED) from None
        return
        yield  # what makes this an asynchronous iterator

    def take_processor(self) -> SurveyItemProcessor:
        """Take the way to the pipelines as :attr:`processor`; raises :class:`SurveyError` when there is none."""
        processor = self.crawler.engine.scraper.itemproc
        if not isinstance(processor, SurveyItemProcessor):
            raise SurveyError("ITEM_PROCESSOR must be smtpsurvey.processor.SurveyItemProcessor")
        if processor.failure is not None:
            raise SurveyError(processor.failure)
        self.processor = processor
        return processor

    def must_wait(self) -> bool:
        """Say whether nothing new may be begun: the engine is paused, or the pipelines lag."""
        return self.crawler.engine.paused or self.processor.waiting > MAX_WAITING

    def take_up(self, what: str, path: str, arguments: dict[str, str]) -> Ledger | None:
        """Open the checkpoint of a list, where there is a JOBDIR.

        ``what`` is the argument that gave its ``path``. Another run of the job must have the same ``arguments``.
        """
        checkpoint = self.crawler.get_extension(CheckpointExtension)
        if checkpoint is None:
            return None
        if path == "-":
            raise SurveyError("JOBDIR: a survey of standard input cannot be taken up again; give a file")
        try:
            content = {f"content of the {what} file": fingerprint(path)}
        except OSError as error:
            raise SurveyError(f"{path}: {error.strerror}") from None
        return checkpoint.open({"spider": self.name, "survey": self.survey, what: path} | arguments | content)


def readable(label: str) -> str:
    r"""Show the bytes of a command line that are no UTF-8 as ``\xNN``, as in texts from the wire."""
    return text_of(os.fsencode(label))


def read_switch(name: str, given: object) -> bool:
    """Read an argument that is ``0`` or ``1``."""
    if str(given) not in _SWITCH:
        raise SurveyError(f"{name}={str(given)!r} is neither 0 nor 1")
    return _SWITCH[str(given)]


def read_shard(given: str | None) -> tuple[int, int] | None:
    """Read an argument ``I/N`` as index from 0 and count."""
    try:
        return None if given is None else parse_shard(given)
    except ValueError as error:
        raise SurveyError(str(error)) from None
