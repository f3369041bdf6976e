"""Observations become items, or counts; the ledger follows."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy import Spider
from scrapy.utils.test import get_crawler

from smtpsurvey.items import Observation, Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.probe.ledger import Ledger, Mark
from smtpsurvey.probe.recorder import ACCEPTED, Recorder


class FakeProcessor:
    def __init__(self) -> None:
        self.items: list[Any] = []

    def submit(self, item: Any) -> None:
        self.items.append(item)


def record(
    outcome: Outcome,
    reason: str | None = None,
    *,
    everything: bool = False,
    source: str | None = "list",
    ledger: Ledger | None = None,
) -> tuple[list[Any], dict[str, Any]]:
    crawler, processor = get_crawler(Spider), FakeProcessor()
    recorder = Recorder("2026-11", processor, crawler.stats, ledger, everything=everything)  # type: ignore[arg-type]  # only submit is used
    recorder(Observation(Target("127.0.0.1", source=source, position=3), 0, 0, outcome, reason))
    return processor.items, crawler.stats.get_stats()


@pytest.mark.parametrize("outcome", Outcome)
def test_who_accepted_the_connection_is_an_item_and_the_rest_is_counted(outcome: Outcome) -> None:
    items, stats = record(outcome)
    if outcome in ACCEPTED:
        (item,) = items
        assert (item.outcome, item.survey) == (outcome, "2026-11")
        assert stats == {}
    else:
        assert items == []
        assert stats == {f"smtpsurvey/unrecorded/{outcome}/-/list": 1}


def test_the_accepted_are_all_that_sent_something_or_could_have() -> None:
    assert set(Outcome) - ACCEPTED == {
        Outcome.REFUSED,
        Outcome.UNREACHABLE,
        Outcome.TIMEOUT,
        Outcome.EXCLUDED,
        Outcome.LOCAL_ERROR,
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_everything_is_an_item_when_asked_for(outcome: Outcome) -> None:
    items, stats = record(outcome, "AS", everything=True)
    assert [item.reason for item in items] == ["AS"]
    assert stats == {}


def test_reasons_and_sources_with_slashes_stay_apart() -> None:
    _, stats = record(Outcome.EXCLUDED, "no/way", source="a/b")
    assert stats == {"smtpsurvey/unrecorded/excluded/no_way/a/b": 1}
    _, stats = record(Outcome.TIMEOUT, source=None)
    assert stats == {"smtpsurvey/unrecorded/timeout/-/-": 1}


def test_what_is_counted_is_done() -> None:
    ledger = Ledger()
    ledger.take(3)
    record(Outcome.TIMEOUT, ledger=ledger)
    assert ledger.mark().open == []
    ledger.take(3)
    record(Outcome.OK, ledger=ledger)
    assert ledger.mark().open == [3]  # until it is stored


def one_run(ledger: Ledger, total: int, steps: int, order: Any, window: int) -> set[int]:
    """Do what is not done, so many at a time in any order, until the run is killed; return what was stored."""
    flying: list[int] = []
    stored: set[int] = set()
    waiting = (position for position in range(total) if not ledger.is_done(position))
    while len(stored) < steps:
        for position in islice(waiting, window - len(flying)):
            ledger.take(position)
            flying.append(position)
        if not flying:
            break
        position = flying.pop(order.randrange(len(flying)))
        stored.add(position)
        ledger.done(position)
    return stored


@given(
    total=st.integers(0, 30),
    interrupted=st.lists(st.integers(0, 60), max_size=4),
    order=st.randoms(use_true_random=False),
    window=st.integers(1, 8),
)
def test_runs_that_are_killed_anywhere_do_every_target(
    total: int, interrupted: list[int], order: Any, window: int
) -> None:
    mark, stored = Mark(), set[int]()
    for steps in [*interrupted, 10_000]:
        ledger = Ledger(Mark(mark.high, list(mark.open)))
        stored |= one_run(ledger, total, steps, order, window)
        mark = ledger.mark()
    assert stored == set(range(total))
    assert mark.open == []


def test_a_name_with_two_addresses_is_done_with_the_second() -> None:
    ledger = Ledger()
    ledger.take(0)
    ledger.take(0, 2)
    ledger.done(0)
    ledger.done(0)
    assert ledger.mark() == Mark(1, [0])
    ledger.done(0)
    ledger.done(0)
    assert ledger.mark() == Mark(1, [])
