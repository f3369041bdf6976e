"""The progress line: its numbers, and who gets it."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from io import StringIO
from typing import Any

import pytest
from scrapy import Spider
from scrapy.utils.test import get_crawler

from smtpsurvey.extensions import progress as progress_module
from smtpsurvey.extensions.manifest import Manifest
from smtpsurvey.extensions.progress import Meter, Progress, ProgressExtension
from smtpsurvey.extensions.summary import Counts
from smtpsurvey.spiders.smtp import SmtpSpider


def run(done: int, ok: int = 0, targets: int | None = None, in_flight: int = 0) -> Manifest:
    counts = Counts(outcomes=Counter({"ok": ok, "timeout": done - ok}))
    return Manifest("s", "", "", None, None, targets, in_flight, counts, {})


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(1234, None, 5, 6, 0.4), "1,234 targets, 0/s, 5 live, 6 in flight"),
        (Progress(10, 40, 5, 6, 2), "10/40 targets (25.0%), 2/s, 5 live, 6 in flight, ETA 0:00:15"),
        (Progress(0, 36_000, 0, 0, 1), "0/36,000 targets (0.0%), 1/s, 0 live, 0 in flight, ETA 10:00:00"),
        (Progress(40, 40, 5, 0, 2), "40/40 targets (100.0%), 2/s, 5 live, 0 in flight, ETA 0:00:00"),
    ],
)
def test_a_moment_is_one_line(progress: Progress, line: str) -> None:
    assert str(progress) == line


def test_more_done_than_estimated_is_not_a_negative_time() -> None:
    """Host names have several addresses, and an estimate is one."""
    assert "ETA -" not in str(Progress(done=60, total=40, live=0, in_flight=0, rate=5))


def test_the_rate_is_that_of_the_last_interval_smoothed() -> None:
    now = [100.0]
    meter = Meter(lambda: now[0])
    assert meter.progress([run(0)]).rate == 0
    now[0] += 2
    assert meter.progress([run(200)]).rate == 100
    assert meter.progress([run(200)]).rate == 100  # the clock stands still
    now[0] += 1
    assert meter.progress([run(200)]).rate == pytest.approx(70)


def test_runs_side_by_side_add_up() -> None:
    progress = Meter(lambda: 0).progress([run(10, 4, 100, 2), run(20, 5, 90, 3), run(1)])
    assert (progress.done, progress.live, progress.in_flight, progress.total) == (31, 9, 5, 100)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Calls:
    """Takes the place of LoopingCall: calls when the test says so."""

    made: list[Any]

    def __init__(self, function: Any) -> None:
        self.function = function
        self.running = False
        Calls.made.append(self)

    def start(self, interval: float, **_: bool) -> None:
        self.running, self.interval = True, interval

    def stop(self) -> None:
        self.running = False


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Calls, "made", [], raising=False)
    monkeypatch.setattr(progress_module, "LoopingCall", Calls)


def extension(spider: type[Spider], **settings: Any) -> tuple[ProgressExtension, Any]:
    crawler = get_crawler(spider, settings)
    crawler.spider = crawler._create_spider("x")
    return ProgressExtension.from_crawler(crawler), crawler.spider


def test_a_log_gets_a_line_every_thirty_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sys, "stderr", StringIO())
    follows, spider = extension(SmtpSpider)
    follows.spider_opened(spider)
    (call,) = Calls.made
    assert call.interval == 30
    call.function()
    assert caplog.messages[-1] == "0 targets, 0/s, 0 live, 0 in flight"
    follows.spider_closed()
    assert not call.running
    follows.spider_closed()


@pytest.mark.parametrize("settings", [{}, {"LOG_FILE": "x.log"}])
def test_a_terminal_gets_a_live_line_unless_the_log_goes_to_a_file(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(progress_module, "get_scrapy_root_handler", lambda: handler)
    follows, spider = extension(SmtpSpider, **settings)
    follows.spider_opened(spider)
    assert (handler.stream is not terminal) is (not settings)
    Calls.made[0].function()
    follows.spider_closed()
    assert handler.stream is terminal
    assert ("0 targets" in terminal.getvalue()) is (not settings)


def test_other_spiders_are_left_alone() -> None:
    follows, spider = extension(Spider)
    follows.spider_opened(spider)
    follows.spider_closed()
    assert Calls.made == []
