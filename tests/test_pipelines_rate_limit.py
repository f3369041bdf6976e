"""The rate limit as a crawl uses it, with a clock that only the test moves."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.pace import SLACK, Pacer
from smtpsurvey.items import Target
from smtpsurvey.pipelines.rate_limit import TICK, RateLimitPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def unhandled() -> Iterator[list[Any]]:
    """Collect what Twisted logs as errors, "Unhandled error in Deferred" above all."""
    errors: list[Any] = []

    def observe(event: Any) -> None:
        if event["log_level"] >= LogLevel.error:
            errors.append(event)

    globalLogPublisher.addObserver(observe)
    yield errors
    gc.collect()
    globalLogPublisher.removeObserver(observe)


class Crawl:
    """A pipeline under a Clock, and the order in which targets went."""

    def __init__(self, rate: float = 0, prefix_rate: float = 0, as_rate: float = 0) -> None:
        self.clock = Clock()
        self.pipeline = RateLimitPipeline(Pacer(rate, prefix_rate, as_rate), self.clock, self.clock.seconds)
        self.gone: list[tuple[float, str]] = []
        self.cancelled: list[str] = []

    def ask(self, ip: str, asn: int | None = None) -> Deferred[None] | None:
        waiter = self.pipeline.admit(Target(ip, asn=asn))
        if waiter is None:
            self.gone.append((self.clock.seconds(), ip))
        else:
            waiter.addCallbacks(
                lambda _: self.gone.append((round(self.clock.seconds(), 3), ip)), lambda failure: self._end(failure, ip)
            )
        return waiter

    def _end(self, failure: Any, ip: str) -> None:
        failure.trap(CancelledError)
        self.cancelled.append(ip)


def test_a_target_goes_at_once_or_when_its_network_is_due() -> None:
    crawl = Crawl(prefix_rate=1)
    assert crawl.ask("192.0.2.1") is None
    assert crawl.ask("192.0.2.2") is not None
    assert crawl.ask("198.51.100.1") is None
    assert crawl.gone == [(0, "192.0.2.1"), (0, "198.51.100.1")]
    crawl.clock.advance(1 - SLACK - 0.01)
    assert len(crawl.gone) == 2
    crawl.clock.advance(0.02)
    assert crawl.gone[2:] == [(pytest.approx(1 - SLACK + 0.01), "192.0.2.2")]
    assert crawl.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("rates", "networks", "asns"),
    [({"rate": 1}, 4, 4), ({"prefix_rate": 1}, 1, 4), ({"as_rate": 1}, 4, 1)],
    ids=["all", "network", "AS"],
)
def test_each_of_the_three_rates_holds(rates: dict[str, float], networks: int, asns: int) -> None:
    crawl = Crawl(**rates)
    for i in range(4):
        crawl.ask(f"9.9.{i % networks}.{i}", 64500 + i % asns)
    crawl.clock.pump([0.01] * 400)
    assert [when for when, _ in crawl.gone] == pytest.approx([0, 1 - SLACK, 2 - SLACK, 3 - SLACK], abs=0.03)


def test_a_list_sorted_by_network_does_not_hold_up_other_networks() -> None:
    crawl = Crawl(prefix_rate=1)
    for host in range(50):
        crawl.ask(f"192.0.2.{host}")
    assert crawl.ask("198.51.100.1") is None


def test_there_is_one_timer_however_many_wait_and_it_fires_for_the_earliest() -> None:
    crawl = Crawl(prefix_rate=0.1)
    for host in (1, 2):
        crawl.ask(f"192.0.2.{host}")  # due in a little less than 10 s
    crawl.clock.advance(5)
    for host in (1, 2):
        crawl.ask(f"198.51.100.{host}")  # due later
    (timer,) = crawl.clock.getDelayedCalls()
    assert timer.getTime() == pytest.approx(10 - SLACK)


def test_the_timer_is_brought_forward_for_who_is_due_sooner() -> None:
    crawl = Crawl(prefix_rate=0.1, as_rate=1)
    for host in (1, 2):
        crawl.ask(f"192.0.2.{host}", 64500)
    for network in (1, 2, 3):
        crawl.ask(f"9.9.{network}.1", 64501)
    (timer,) = crawl.clock.getDelayedCalls()
    assert timer.getTime() == pytest.approx(1 - SLACK)
    crawl.clock.advance(1 - SLACK + 0.01)
    assert crawl.gone[-1] == (pytest.approx(1 - SLACK + 0.01), "9.9.2.1")


def test_a_fast_rate_wakes_the_loop_no_more_than_once_a_tick() -> None:
    crawl = Crawl(rate=10_000)
    for i in range(3000):
        crawl.ask(f"9.{i >> 8}.{i & 255}.1")
    assert len(crawl.gone) == pytest.approx(1 + 10_000 * SLACK, abs=1)  # the burst
    wakes = 0
    while calls := crawl.clock.getDelayedCalls():
        crawl.clock.advance(calls[0].getTime() - crawl.clock.seconds())
        wakes += 1
    assert len(crawl.gone) == 3000
    assert crawl.clock.seconds() == pytest.approx(0.3 - SLACK, abs=2 * TICK)
    assert wakes <= (0.3 - SLACK) / TICK + 2


def test_a_target_that_asks_while_others_are_released_is_not_lost() -> None:
    crawl = Crawl(prefix_rate=1)
    crawl.ask("192.0.2.1")
    waiter = crawl.ask("192.0.2.2")
    assert waiter is not None
    waiter.addCallback(lambda _: crawl.ask("192.0.2.3"))
    crawl.clock.pump([0.1] * 40)
    assert [ip for _, ip in crawl.gone] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_who_gives_up_waiting_is_out_and_the_next_still_goes(unhandled: list[Any]) -> None:
    crawl = Crawl(prefix_rate=1)
    waiters = [crawl.ask(f"192.0.2.{host}") for host in (1, 2, 3)]
    assert waiters[1] is not None
    waiters[1].cancel()
    assert crawl.cancelled == ["192.0.2.2"]
    crawl.clock.pump([0.1] * 40)
    assert [ip for _, ip in crawl.gone] == ["192.0.2.1", "192.0.2.3"]
    assert unhandled == []


def test_closing_cancels_all_who_wait_and_leaves_no_timer_and_no_noise(unhandled: list[Any]) -> None:
    crawl = Crawl(prefix_rate=1)
    for host in (1, 2, 3):
        crawl.ask(f"192.0.2.{host}")
    crawl.pipeline.close_spider()
    assert crawl.cancelled == ["192.0.2.2", "192.0.2.3"]
    assert crawl.clock.getDelayedCalls() == []
    gc.collect()
    assert unhandled == []


def test_closing_when_nobody_waits_does_nothing() -> None:
    crawl = Crawl(prefix_rate=1)
    crawl.ask("192.0.2.1")
    crawl.pipeline.close_spider()
    assert crawl.cancelled == []


@pytest.fixture(autouse=True)
def reactor(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stand in for the reactor, which a test must not install."""
    clock = Clock()
    monkeypatch.setattr("twisted.internet.reactor", clock, raising=False)
    return clock


def pipeline(**settings: Any) -> RateLimitPipeline:
    rates = {"SMTPSURVEY_RATE": 500, "SMTPSURVEY_PREFIX_RATE": 2, "SMTPSURVEY_AS_RATE": 50}
    return RateLimitPipeline.from_crawler(get_crawler(settings_dict=rates | settings))


def test_rates_come_from_the_settings_and_timers_from_the_reactor(reactor: Clock) -> None:
    limited = pipeline(SMTPSURVEY_PREFIX_RATE="0.01")
    assert limited.admit(Target("192.0.2.1")) is None
    assert limited.admit(Target("192.0.2.2")) is not None
    assert limited.admit(Target("198.51.100.1")) is None
    (timer,) = reactor.getDelayedCalls()
    assert timer.getTime() == pytest.approx(99.9, abs=1)


@pytest.mark.parametrize("value", [-1, "-0.5", "fast", "nan", "inf", None, ""])
def test_a_rate_that_is_none_is_told_with_its_setting(value: Any) -> None:
    with pytest.raises(AdmissionError, match=r"^SMTPSURVEY_AS_RATE must be a number of targets a second, or 0 for no"):
        pipeline(SMTPSURVEY_AS_RATE=value)


def test_without_any_rate_the_pipeline_is_off() -> None:
    with pytest.raises(NotConfigured, match="SMTPSURVEY_RATE"):
        pipeline(SMTPSURVEY_RATE=0, SMTPSURVEY_PREFIX_RATE="0", SMTPSURVEY_AS_RATE=0.0)


def test_items_pass_untouched() -> None:
    item = object()
    assert pipeline().process_item(item) is item
