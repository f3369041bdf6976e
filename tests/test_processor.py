"""Items through the pipelines: at once or later, each with one signal, and none lost at the end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from scrapy import Spider, signals
from scrapy.exceptions import DropItem, NotConfigured
from scrapy.utils.test import get_crawler
from twisted.internet.defer import Deferred

from smtpsurvey.errors import SurveyError
from smtpsurvey.items import Observation, SmtpItem, Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.processor import SurveyItemProcessor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIGNALS = {"scraped": signals.item_scraped, "dropped": signals.item_dropped, "error": signals.item_error}


class FakeEngine:
    """Notes why the spider was closed."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    async def close_spider_async(self, *, reason: str) -> None:
        self.closed.append(reason)


class Watched:
    """A processor over pipelines made of functions, and the signals it sent."""

    def __init__(self, *processes: Callable[[Any], Any]) -> None:
        pipelines = [type("P", (), {"process_item": staticmethod(process)})() for process in processes]
        self.crawler = get_crawler(Spider, {"LOG_FORMATTER": "smtpsurvey.logformatter.QuietLogFormatter"})
        self.crawler.spider = self.crawler._create_spider("watched")
        self.crawler.logformatter = _formatter(self.crawler)
        self.engine = FakeEngine()
        self.crawler.engine = self.engine  # type: ignore[assignment]  # what is asked of an engine
        self.processor = SurveyItemProcessor(*pipelines, crawler=self.crawler)
        self.sent: list[tuple[str, Any]] = []
        self.failures: list[Any] = []
        self._keep: list[Any] = []
        for name, signal in SIGNALS.items():
            self._watch(name, signal)

    def _watch(self, name: str, signal: object) -> None:
        def receive(item: Any, **more: Any) -> None:
            self.sent.append((name, item))
            self.failures.append(more.get("failure") or more.get("exception"))

        self._keep.append(receive)
        self.crawler.signals.connect(receive, signal)

    def later(self, *items: Any) -> None:
        """Submit items in an event loop, and wait until each is through."""

        async def main() -> None:
            waiting = [self.processor.submit(item) for item in items]
            await asyncio.wait_for(
                asyncio.gather(*(w.asFuture(asyncio.get_running_loop()) for w in waiting if w is not None)), 10
            )

        asyncio.run(main())


def _formatter(crawler: Any) -> Any:
    from scrapy.utils.misc import build_from_crawler, load_object  # noqa: PLC0415 - only here

    return build_from_crawler(load_object(crawler.settings["LOG_FORMATTER"]), crawler)


def add(mark: str) -> Callable[[Any], Any]:
    return lambda item: item + mark


def add_later(mark: str) -> Callable[[Any], Any]:
    async def process(item: Any) -> Any:
        await asyncio.sleep(0)
        return item + mark

    return process


def drop(item: Any) -> Any:
    raise DropItem(f"not {item}")


def fail(item: Any) -> Any:
    raise ValueError(f"broken by {item}")


async def drop_later(item: Any) -> Any:
    await asyncio.sleep(0)
    raise DropItem(f"not {item}")


async def fail_later(item: Any) -> Any:
    await asyncio.sleep(0)
    raise ValueError(f"broken by {item}")


def test_an_item_that_nobody_waits_for_is_through_at_once() -> None:
    watched = Watched(add("a"), add("b"))
    assert watched.processor.submit("x") is None
    assert watched.sent == [("scraped", "xab")]
    assert watched.processor.waiting == 0


def test_items_that_wait_go_through_the_rest_in_order() -> None:
    watched = Watched(add("a"), add_later("b"), add("c"), add_later("d"))
    watched.later("x", "y")
    assert sorted(watched.sent) == [("scraped", "xabcd"), ("scraped", "yabcd")]
    assert watched.processor.waiting == 0


@pytest.mark.parametrize("process", [add("a"), add_later("a"), drop])
def test_signal_handlers_may_be_coroutines(process: Callable[[Any], Any], caplog: pytest.LogCaptureFixture) -> None:
    """As Scrapy documents for item_scraped and item_dropped."""
    told: list[str] = []

    async def receive() -> None:
        await asyncio.sleep(0)
        told.append("told")

    async def main() -> None:
        watched.processor.submit("x")
        for _ in range(20):
            await asyncio.sleep(0)

    watched = Watched(process)
    watched.crawler.signals.connect(receive, signals.item_scraped)
    watched.crawler.signals.connect(receive, signals.item_dropped)
    asyncio.run(main())
    assert told == ["told"]
    assert "Traceback" not in caplog.text


def test_no_pipeline_at_all() -> None:
    watched = Watched()
    watched.processor.submit("x")
    assert watched.sent == [("scraped", "x")]


@pytest.mark.parametrize("processes", [(add("a"), drop, fail), (add("a"), drop_later, fail)])
def test_a_dropped_item_is_told_once_with_the_item(
    processes: tuple[Callable[[Any], Any], ...], caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(*processes)
    watched.later("x")
    assert watched.sent == [("dropped", "xa")]
    assert isinstance(watched.failures[0], DropItem)
    assert "Dropped: not xa" in caplog.text


@pytest.mark.parametrize("processes", [(add("a"), fail, drop), (add("a"), fail_later, drop)])
def test_an_error_of_a_pipeline_is_the_items_and_told_once(
    processes: tuple[Callable[[Any], Any], ...], caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(*processes)
    watched.later("x")
    assert watched.sent == [("error", "xa")]
    assert str(watched.failures[0].value) == "broken by xa"
    assert "Error processing" in caplog.text
    assert watched.engine.closed == []


def test_an_error_after_a_wait_is_told_with_the_item() -> None:
    watched = Watched(add_later("a"), fail)
    watched.later("x")
    ((name, item),) = watched.sent
    assert name == "error"
    assert item is not None


@pytest.mark.parametrize("kind", ["future", "coroutine", "deferred"])
@pytest.mark.parametrize("place", [0, 1])
def test_whatever_can_be_awaited_may_be_returned(kind: str, place: int) -> None:
    def process(item: str) -> Awaitable[str]:
        loop = asyncio.get_running_loop()
        if kind == "coroutine":
            return add_later("!")(item)  # type: ignore[no-any-return]  # a coroutine
        if kind == "future":
            future = loop.create_future()
            loop.call_soon(future.set_result, item + "!")
            return future
        deferred: Deferred[str] = Deferred()
        loop.call_later(0.002, deferred.callback, item + "!")  # after the processor has begun to wait
        return deferred

    watched = Watched(*[add_later("")] * place, process)
    watched.later("x")
    assert watched.sent == [("scraped", "x!")]


def test_an_item_of_scrapys_own_takes_the_same_way() -> None:
    watched = Watched(add("a"), add_later("b"), add("c"))
    assert asyncio.run(watched.processor.process_item_async("x")) == "xabc"
    assert watched.sent == []  # Scrapy sends its signal


def test_what_a_pipeline_cannot_keep_ends_the_survey_once(caplog: pytest.LogCaptureFixture) -> None:
    def full(_: Any) -> Any:
        raise SurveyError("the disk is full")

    async def main() -> None:
        watched.processor.submit("x")
        watched.processor.submit("y")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    watched = Watched(full)
    asyncio.run(main())
    assert watched.engine.closed == ["failed"]
    assert watched.processor.failure == "the disk is full"
    assert [name for name, _ in watched.sent] == ["error", "error"]
    assert caplog.text.count("ERROR    smtpsurvey.processor:processor.py") >= 1
    assert "Traceback" not in caplog.text


def test_closing_waits_for_what_is_in_flight_and_for_items_that_wait() -> None:
    order: list[str] = []

    class Store:
        stored: asyncio.Future[None]

        async def process_item(self, item: Any) -> Any:
            await self.stored
            order.append("stored")
            return item

        async def close_spider(self) -> None:
            order.append("close")
            asyncio.get_running_loop().call_soon(self.stored.set_result, None)

    async def finish() -> None:
        order.append("in flight ends")
        watched.processor.submit("y")

    async def main() -> None:
        store.stored = asyncio.get_running_loop().create_future()
        watched.processor.before_close.append(finish)
        watched.processor.submit("x")
        assert watched.processor.waiting == 1
        await asyncio.wait_for(watched.processor.close_spider_async(), 10)

    watched, store = Watched(), Store()
    watched.processor._add_middleware(store)
    asyncio.run(main())
    assert order == ["in flight ends", "close", "stored", "stored"]
    assert watched.sent == [("scraped", "x"), ("scraped", "y")]


def test_pipelines_are_closed_though_the_prober_did_not_end_well() -> None:
    closed: list[str] = []

    class Store:
        def close_spider(self) -> None:
            closed.append("store")

    async def broken() -> None:
        raise ValueError("broken hook")

    async def main() -> None:
        with pytest.raises(ValueError, match="broken hook"):
            await watched.processor.close_spider_async()

    watched = Watched()
    watched.processor._add_middleware(Store())
    watched.processor.before_close.append(broken)
    asyncio.run(main())
    assert closed == ["store"]


def test_nothing_waits_when_nothing_waits() -> None:
    asyncio.run(Watched(add("a")).processor.close_spider_async())


class Unfit:
    @classmethod
    def from_crawler(cls, _: Any) -> Unfit:
        raise SurveyError("opt-out.txt: No such file")


class UnfitLater:
    async def open_spider(self) -> None:
        raise SurveyError("no database")


class Absent:
    @classmethod
    def from_crawler(cls, _: Any) -> Absent:
        raise NotConfigured("not wanted")


class Both:
    def admit(self, target: Target) -> None: ...

    def process_item(self, item: Any) -> Any:
        return item


def make(*pipelines: type) -> SurveyItemProcessor:
    crawler = get_crawler(Spider, {"ITEM_PIPELINES": {pipeline: place for place, pipeline in enumerate(pipelines)}})
    crawler.spider = crawler._create_spider("made")
    processor: SurveyItemProcessor = SurveyItemProcessor.from_crawler(crawler)
    return processor


def test_a_pipeline_that_cannot_be_set_up_is_kept_as_the_reason() -> None:
    processor = make(Both, Unfit)
    assert processor.failure == "opt-out.txt: No such file"
    assert processor.admit_hooks == []


def test_a_pipeline_that_cannot_be_opened_is_kept_as_the_reason() -> None:
    processor = make(Both, UnfitLater)
    assert processor.failure is None
    asyncio.run(processor.open_spider_async())
    assert processor.failure == "no database"


def test_admit_hooks_come_in_the_order_of_the_pipelines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    processor = make(Both, Absent, type("Second", (Both,), {}))
    assert [type(hook.__self__).__name__ for hook in processor.admit_hooks] == ["Both", "Second"]  # type: ignore[attr-defined]  # bound methods
    assert processor.failure is None


def test_observations_are_not_logged_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    watched = Watched()
    item = SmtpItem.from_observation(Observation(Target("127.0.0.1"), 0, 0, Outcome.OK), "s")
    watched.processor.submit(item)
    assert "Scraped" not in caplog.text
    watched.processor.submit({"a": 1})
    assert "Scraped" in caplog.text
