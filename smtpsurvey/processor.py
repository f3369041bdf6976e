"""The item processor (Scrapy's ITEM_PROCESSOR): pipelines in line, and their ``admit`` hooks.

While no pipeline has to wait, an item costs no task and no turn of the event loop. The rest is as
in Scrapy: the same pipelines, the same signals, the same meaning of ``DropItem``.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, cast

from scrapy import signals
from scrapy.exceptions import DropItem
from scrapy.pipelines import ItemPipelineManager
from scrapy.utils.defer import deferred_from_coro, ensure_awaitable, maybe_deferred_to_future
from scrapy.utils.log import logformatter_adapter
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from smtpsurvey.errors import FAILED, SurveyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from scrapy.crawler import Crawler

    from smtpsurvey.admission.gate import Hook

logger = logging.getLogger(__name__)


class SurveyItemProcessor(ItemPipelineManager):
    """Scrapy's pipelines with ``admit``; keeps what a pipeline could not set up in ``failure``."""

    def __init__(self, *middlewares: Any, crawler: Crawler | None = None) -> None:
        """Collect the methods of the pipelines."""
        super().__init__(*middlewares, crawler=crawler)
        self.failure: str | None = None
        self.before_close: list[Callable[[], Awaitable[None]]] = []
        self.waiting = 0  # items in a pipeline that waits
        self._idle: Deferred[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Build the pipelines; one that cannot be set up ends the survey with one line, later."""
        try:
            return super().from_crawler(crawler)
        except SurveyError as error:
            processor = cls(crawler=crawler)
            processor.failure = str(error)
            return processor

    def _add_middleware(self, mw: Any) -> None:
        super()._add_middleware(mw)
        if hasattr(mw, "admit"):
            self.methods["admit"].append(mw.admit)

    async def open_spider_async(self) -> None:
        """Open the pipelines."""
        try:
            await super().open_spider_async()
        except SurveyError as error:
            self.failure = str(error)

    async def close_spider_async(self) -> None:
        """Let what is in flight end and be stored, then close the pipelines."""
        try:
            for finish in self.before_close:
                await finish()
        finally:
            await super().close_spider_async()
        if self.waiting:  # their batches are committed, and they are about to be told
            self._idle = Deferred()
            await maybe_deferred_to_future(self._idle)

    async def process_item_async(self, item: Any) -> Any:
        """Pass an item of Scrapy's own through the pipelines."""
        if self.failure is not None:
            raise SurveyError(self.failure)
        return await self._run(item, 0)

    def submit(self, item: Any) -> Deferred[None] | None:
        """Pass an item through the pipelines and send its signal; ``None`` when that is done at once."""
        place = 0
        try:
            for place, process in enumerate(self.methods["process_item"], 1):
                output = process(item)  # type: ignore[misc]  # Scrapy's list may hold None for other hooks
                if inspect.isawaitable(output):
                    return self._later(item, output, place)
                item = output
        except DropItem as dropped:
            self._dropped(item, dropped)
        except Exception as error:  # noqa: BLE001 - as Scrapy: a pipeline's error is the item's, not the survey's
            self._failed(item, error)
        else:
            self._scraped(item)
        return None

    def _later(self, item: Any, output: Awaitable[Any], place: int) -> Deferred[None]:
        self.waiting += 1
        return deferred_from_coro(self._finish(item, output, place))

    async def _finish(self, item: Any, output: Awaitable[Any], place: int) -> None:
        try:
            item = await self._run(await ensure_awaitable(output), place)
        except DropItem as dropped:
            self._dropped(item, dropped)
        except Exception as error:  # noqa: BLE001 - as Scrapy: a pipeline's error is the item's, not the survey's
            self._failed(item, error)
        else:
            self._scraped(item)
        finally:
            self._waited()

    def _waited(self) -> None:
        self.waiting -= 1
        if self._idle is not None and not self.waiting:
            self._idle.callback(None)

    def _signal(self, signal: object, item: Any, **facts: Any) -> None:
        """Send a signal; receivers that are coroutines go on by themselves, and closing waits for them."""
        assert self.crawler is not None  # noqa: S101 - Scrapy builds us with one
        answers = self.crawler.signals.send_catch_log(signal, item=item, response=None, spider=self._spider, **facts)
        for _, answer in answers:
            if answer is not None and inspect.iscoroutine(answer):
                self.waiting += 1
                deferred_from_coro(self._attend(answer))

    async def _attend(self, answer: Awaitable[Any]) -> None:
        try:
            await answer
        except Exception:
            logger.exception("Error caught on signal handler")
        finally:
            self._waited()

    async def _run(self, item: Any, place: int) -> Any:
        for process in list(self.methods["process_item"])[place:]:
            output = process(item)  # type: ignore[misc]  # Scrapy's list may hold None for other hooks
            item = await ensure_awaitable(output) if inspect.isawaitable(output) else output
        return item

    def _scraped(self, item: Any) -> None:
        crawler = self.crawler
        assert crawler is not None  # noqa: S101 - Scrapy builds us with one
        record = crawler.logformatter.scraped(item, None, self._spider)
        if record is not None:
            logger.log(*logformatter_adapter(record), extra={"spider": self._spider, "item": item})
        self._signal(signals.item_scraped, item)

    def _dropped(self, item: Any, dropped: DropItem) -> None:
        crawler = self.crawler
        assert crawler is not None  # noqa: S101 - Scrapy builds us with one
        record = crawler.logformatter.dropped(item, dropped, None, self._spider)
        if record is not None:
            logger.log(*logformatter_adapter(record), extra={"spider": self._spider, "item": item})
        self._signal(signals.item_dropped, item, exception=dropped)

    def _failed(self, item: Any, error: Exception) -> None:
        crawler = self.crawler
        assert crawler is not None  # noqa: S101 - Scrapy builds us with one
        if isinstance(error, SurveyError):
            self._give_up(error)
        record = crawler.logformatter.item_error(item, error, None, self._spider)
        logger.log(
            *logformatter_adapter(record),
            extra={"spider": self._spider, "item": item},
            exc_info=None if isinstance(error, SurveyError) else error,
        )
        failure = Failure(error)  # type: ignore[no-untyped-call]  # Twisted has no hints there
        self._signal(signals.item_error, item, failure=failure)

    def _give_up(self, error: SurveyError) -> None:
        """End the survey, once: what a pipeline cannot keep must not be asked of more hosts."""
        if self.failure is None:
            self.failure = str(error)
            logger.error("%s", error)
            assert self.crawler is not None  # noqa: S101 - Scrapy builds us with one
            deferred_from_coro(self.crawler.engine.close_spider_async(reason=FAILED))

    @property
    def admit_hooks(self) -> list[Hook]:
        """The ``admit`` methods, in the order of the pipelines."""
        return cast("list[Hook]", list(self.methods["admit"]))
