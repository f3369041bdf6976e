"""``scrapy crawl worker -a commands=FILE``: executes command files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from smtpsurvey.errors import SurveyError
from smtpsurvey.spider import SurveySpider

if TYPE_CHECKING:
    from smtpsurvey.worker.executor import Executor


class WorkerSpider(SurveySpider):
    """Executes the files in the order named, look-ups and probes side by side."""

    name = "worker"
    words: ClassVar[tuple[str, str]] = ("results", "ok")

    def __init__(self, commands: str = "", folder: str = "commands", survey: str | None = None, **kwargs: Any) -> None:
        """Take the arguments of ``-a`` (docs/usage/worker.md)."""
        super().__init__(survey, **kwargs)
        self._paths = [path for path in commands.split(",") if path]
        self._folder = Path(folder)
        self._executor: Executor | None = None

    @property
    def in_flight(self) -> int:
        """Commands begun and not ended."""
        return self._executor.in_flight if self._executor is not None else 0

    async def survey_all(self) -> None:
        """Execute everything."""
        from twisted.internet import reactor  # noqa: PLC0415 - Scrapy installs it first

        from smtpsurvey.worker.setup import worker_of  # noqa: PLC0415 - Scrapy imports every spider for each

        if not self._paths:
            raise SurveyError("no commands: give -a commands=FILE, or - for standard input")
        processor = self.take_processor()
        worker = worker_of(self, reactor, self._folder)
        self._executor = worker.executor
        processor.before_close += worker.ends
        await self._executor.run(self._paths)
