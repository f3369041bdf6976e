"""The driver of look-ups: how many are in flight, pauses, ends, and errors."""

from __future__ import annotations

from typing import Any

import pytest
from doubles.clock import StillReactor
from twisted.internet.defer import Deferred, fail, succeed

from smtpsurvey.dns import lookups as lookups_module
from smtpsurvey.dns.lookups import RETRY, Lookups


@pytest.fixture(autouse=True)
def _no_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let coroutines wait for Deferreds: the clock is no event loop."""
    monkeypatch.setattr(lookups_module, "maybe_deferred_to_future", lambda waiting: waiting)


class Driven:
    """A driver over a clock that stands still; ``begun`` holds what is in flight."""

    def __init__(self, lookahead: int = 10) -> None:
        self.reactor = StillReactor()
        self.begun: list[Deferred[None]] = []
        self.entries: list[int] = []
        self.held = False
        self.most = 0
        self.lookups: Lookups[int] = Lookups(self.reactor, self._look_up, lambda: self.held, lookahead)  # type: ignore[arg-type]  # only callLater

    def _look_up(self, entry: int) -> Deferred[None]:
        self.entries.append(entry)
        looking: Deferred[None] = Deferred()
        self.begun.append(looking)
        self.most = max(self.most, len(self.begun))
        return looking

    def turn(self, seconds: float = 0) -> None:
        self.reactor.advance(seconds)

    def answer(self, count: int) -> None:
        for looking in [self.begun.pop(0) for _ in range(count)]:
            looking.callback(None)
        self.turn()


def fired(deferred: Deferred[Any]) -> list[Any]:
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found


def test_no_more_are_in_flight_than_the_look_ahead() -> None:
    driven = Driven()
    taken = fired(driven.lookups.consume(iter(range(25))))
    driven.turn()
    assert (len(driven.begun), driven.lookups.in_flight, taken) == (10, 10, [])
    driven.answer(3)
    assert (len(driven.begun), len(driven.entries)) == (10, 13)
    driven.answer(10)
    driven.answer(2)
    assert taken == []  # whether there are more is not known yet
    driven.answer(1)
    assert taken == [None]
    done = fired(driven.lookups.finished())
    driven.turn()
    assert done == []
    driven.answer(9)
    assert (done, driven.entries, driven.most) == ([None], list(range(25)), 10)


def test_answers_that_are_there_at_once_go_on() -> None:
    reactor, seen = StillReactor(), list[int]()
    lookups: Lookups[int] = Lookups(reactor, lambda n: seen.append(n) or succeed(None), lambda: False, 3)  # type: ignore[arg-type,func-returns-value]
    taken = fired(lookups.consume(iter(range(1000))))
    for _ in range(1000):
        reactor.advance(0)
    assert (len(seen), taken, lookups.in_flight) == (1000, [None], 0)


def test_a_pause_begins_nothing() -> None:
    driven = Driven()
    driven.held = True
    driven.lookups.consume(iter(range(5)))
    driven.turn()
    driven.turn(RETRY * 4)
    assert driven.entries == []
    driven.held = False
    driven.turn(RETRY)
    assert driven.entries == [0, 1, 2, 3, 4]


def test_the_end_waits_for_what_is_in_flight_and_begins_nothing() -> None:
    driven = Driven()
    taken = fired(driven.lookups.consume(iter(range(100))))
    driven.turn()
    ended = fired(Deferred.fromCoroutine(driven.lookups.end()))
    driven.turn()
    assert (taken, ended) == ([None], [])
    driven.answer(10)
    assert (ended, len(driven.entries)) == ([None], 10)
    again = fired(driven.lookups.consume(iter(range(5))))
    driven.turn(RETRY)
    assert (again, len(driven.entries)) == ([], 10)


def test_a_look_up_that_breaks_ends_the_list() -> None:
    reactor = StillReactor()
    lookups: Lookups[int] = Lookups(reactor, lambda _: fail(RuntimeError("ours")), lambda: False)  # type: ignore[arg-type]
    taken = fired(lookups.consume(iter(range(3))))
    reactor.advance(0)
    with pytest.raises(RuntimeError, match="ours"):
        taken[0].raiseException()
    assert lookups.in_flight == 0


def test_one_that_breaks_when_the_list_is_taken_is_told_at_the_end() -> None:
    driven = Driven()
    driven.lookups.consume(iter(range(3)))
    driven.turn()
    done = fired(driven.lookups.finished())
    driven.begun.pop().errback(RuntimeError("ours"))
    driven.answer(2)
    with pytest.raises(RuntimeError, match="ours"):
        done[0].raiseException()


def test_an_error_of_the_list_comes_to_whoever_gave_it() -> None:
    def entries() -> Any:
        yield 1
        raise ValueError("bad list")

    driven = Driven()
    taken = fired(driven.lookups.consume(entries()))
    driven.turn()
    with pytest.raises(ValueError, match="bad list"):
        taken[0].raiseException()
