"""The prober between a list, the gate and the pool: its bounds, its waits, and that nothing hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from doubles.clock import StillReactor
from doubles.peer import Peer, fresh_ip
from doubles.probing import make_prober
from twisted.internet.defer import Deferred

from smtpsurvey.admission import Exclude
from smtpsurvey.items import Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.probe import prober as prober_module
from smtpsurvey.probe.pool import ExhaustedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpsurvey.items import Observation
    from smtpsurvey.probe.prober import Prober


class Fired:
    """Follows a Deferred."""

    def __init__(self, waiting: Deferred[Any]) -> None:
        self.done = False
        self.error: BaseException | None = None
        waiting.addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, _: object) -> None:
        self.done = True

    def _failed(self, failure: Any) -> None:
        self.done, self.error = True, failure.value


@pytest.fixture(autouse=True)
def _no_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let coroutines wait for Deferreds: the clock is no event loop."""
    monkeypatch.setattr(prober_module, "maybe_deferred_to_future", lambda waiting: waiting)


@pytest.fixture
def reactor() -> StillReactor:
    return StillReactor()


@pytest.fixture
def seen() -> list[Observation]:
    return []


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer(backlog=1000) as peer:
        yield peer


def end(prober: Prober, reactor: StillReactor) -> None:
    ended = Fired(Deferred.fromCoroutine(prober.end()))
    reactor.advance(0)
    assert ended.done
    assert ended.error is None
    assert reactor.readers == []
    assert reactor.getDelayedCalls() == []


def test_never_more_connections_than_allowed(reactor: StillReactor, seen: list[Observation], peer: Peer) -> None:
    prober = make_prober(reactor, seen.append, concurrency=7)
    taken = Fired(prober.consume(iter([peer.target() for _ in range(40)])))
    done = Fired(prober.finished())
    most = 0
    while not done.done:
        reactor.advance(0)
        most = max(most, prober.in_flight)
        if prober.in_flight:
            peer.accept().close()
            reactor.turn()
    assert most == 7
    assert taken.done
    assert len(seen) == 40
    end(prober, reactor)


def test_one_turn_begins_a_bounded_number(
    reactor: StillReactor, seen: list[Observation], peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober_module, "TURN", 3)
    prober = make_prober(reactor, seen.append)
    prober.consume(iter([peer.target() for _ in range(7)]))
    prober._pump()
    assert prober.in_flight == 3
    reactor.advance(0)
    assert prober.in_flight == 7
    prober.pool.shutdown()


def test_targets_wait_at_the_gate_up_to_the_lookahead(
    reactor: StillReactor, seen: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober_module, "LOOKAHEAD", 5)
    waiting: list[Deferred[None]] = []
    read: list[int] = []

    def hook(_: Target) -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[-1]

    def targets() -> Iterator[Target]:
        for number in range(8):
            read.append(number)
            yield Target(fresh_ip(), 1)

    prober = make_prober(reactor, seen.append, hooks=[hook])
    taken, done = Fired(prober.consume(targets())), Fired(prober.finished())
    reactor.advance(0)
    assert len(read) == len(waiting) == 5
    assert not seen
    waiting[3].callback(None)
    reactor.advance(0)
    assert len(read) == len(waiting) == 6
    while not done.done:
        for deferred in waiting:
            if not deferred.called:
                deferred.callback(None)
        reactor.turn(wait=0)
    assert taken.done
    assert [o.outcome for o in seen] == [Outcome.REFUSED] * 8
    end(prober, reactor)


def test_host_names_are_looked_up_so_many_at_a_time(
    reactor: StillReactor, seen: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober_module, "LOOKUPS", 2)
    begun: list[Deferred[list[Target]]] = []

    def entries() -> Iterator[Deferred[list[Target]]]:
        for _ in range(4):
            begun.append(Deferred())
            yield begun[-1]

    prober = make_prober(reactor, seen.append)
    prober.consume(entries())
    done = Fired(prober.finished())
    reactor.advance(0)
    assert len(begun) == 2
    begun[1].callback([Target(fresh_ip(), 1), Target(fresh_ip(), 1)])
    reactor.advance(0)
    assert len(begun) == 3
    begun[0].callback([])
    reactor.advance(0)
    assert len(begun) == 4
    begun[2].callback([])
    assert not done.done
    begun[3].callback([Target(fresh_ip(), 1)])
    reactor.run_until(lambda: done.done)
    assert len(seen) == 3
    end(prober, reactor)


def test_a_look_up_that_fails_otherwise_reaches_whoever_gave_the_list(
    reactor: StillReactor, seen: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober_module, "LOOKUPS", 1)
    prober = make_prober(reactor, seen.append)
    found: Deferred[list[Target]] = Deferred()
    taken = Fired(prober.consume(iter([found, Target(fresh_ip(), 1)])))
    reactor.advance(0)
    found.errback(LookupError("odd"))
    assert isinstance(taken.error, LookupError)


def test_excluded_targets_are_recorded_with_the_reason_and_never_contacted(
    reactor: StillReactor, seen: list[Observation], peer: Peer
) -> None:
    later: list[Deferred[None]] = []

    def hook(target: Target) -> Deferred[None] | None:
        if target.tag == "now":
            raise Exclude("opt-out")
        later.append(Deferred())
        return later[-1]

    prober = make_prober(reactor, seen.append, hooks=[hook])
    prober.consume(iter([peer.target(tag="now"), peer.target(tag="later")]))
    done = Fired(prober.finished())
    reactor.advance(0)
    later[0].errback(Exclude("AS"))
    reactor.advance(0)
    assert done.done
    assert [(o.outcome, o.reason, o.target.tag) for o in seen] == [
        (Outcome.EXCLUDED, "opt-out", "now"),
        (Outcome.EXCLUDED, "AS", "later"),
    ]
    assert not peer.waiting()
    end(prober, reactor)


def test_an_old_permission_is_asked_for_again(reactor: StillReactor, seen: list[Observation], peer: Peer) -> None:
    asked: list[Target] = []
    waiting: list[Deferred[None]] = []

    def hook(target: Target) -> Deferred[None] | None:
        asked.append(target)
        if asked.count(target) == 1 and target.tag == "waits":
            waiting.append(Deferred())
            return waiting[-1]
        if asked.count(target) == 2:
            raise Exclude("opt-out")  # somebody opted out while it waited
        return None

    prober = make_prober(reactor, seen.append, hooks=[hook], concurrency=1)
    prober.consume(iter([peer.target(tag="waits"), peer.target(tag="first")]))
    done = Fired(prober.finished())
    reactor.advance(0)
    waiting[0].callback(None)  # while the only place is taken
    reactor.advance(2 * prober_module.FRESH)
    peer.accept().close()
    reactor.run_until(lambda: done.done)
    assert [(o.outcome, o.target.tag) for o in seen] == [(Outcome.CLOSED, "first"), (Outcome.EXCLUDED, "waits")]
    assert [t.tag for t in asked] == ["waits", "first", "waits"]
    end(prober, reactor)


def test_a_fresh_permission_holds(reactor: StillReactor, seen: list[Observation], peer: Peer) -> None:
    asked: list[Target] = []
    waiting: Deferred[None] = Deferred()

    def hook(target: Target) -> Deferred[None]:
        asked.append(target)
        return waiting

    prober = make_prober(reactor, seen.append, hooks=[hook])
    prober.consume(iter([peer.target()]))
    reactor.advance(0)
    waiting.callback(None)
    reactor.advance(0)
    assert prober.in_flight == 1
    assert len(asked) == 1
    peer.accept().close()
    reactor.turn()
    end(prober, reactor)


def test_end_begins_nothing_new_and_waits_for_what_is_in_flight(
    reactor: StillReactor, seen: list[Observation], peer: Peer
) -> None:
    parked: Deferred[None] = Deferred()
    prober = make_prober(reactor, seen.append, hooks=[lambda t: parked if t.tag == "parks" else None], concurrency=2)
    found: Deferred[list[Target]] = Deferred()
    entries: list[Any] = [found, peer.target(tag="parks"), *(peer.target() for _ in range(20))]
    taken = Fired(prober.consume(iter(entries)))
    reactor.advance(0)
    assert prober.in_flight == 2
    ended = Fired(Deferred.fromCoroutine(prober.end()))
    reactor.advance(0)
    assert taken.done
    assert parked.called
    assert not ended.done
    peer.accept().close()
    peer.accept().close()
    reactor.run_until(lambda: len(seen) == 2)
    assert ended.done  # a look-up is still out, and nobody waits for its targets
    found.callback([peer.target()])
    reactor.advance(0)
    assert [o.outcome for o in seen] == [Outcome.CLOSED] * 2
    assert not peer.waiting()
    assert reactor.getDelayedCalls() == []


def test_nothing_is_begun_on_hold_and_all_of_it_afterwards(
    reactor: StillReactor, seen: list[Observation], peer: Peer
) -> None:
    held = True
    prober = make_prober(reactor, seen.append, hold=lambda: held)
    prober.consume(iter([peer.target()]))
    for _ in range(8):
        reactor.advance(0.25)
        assert prober.in_flight == 0
    held = False
    reactor.advance(0.25)
    assert prober.in_flight == 1
    peer.accept().close()
    reactor.run_until(lambda: seen)
    end(prober, reactor)


def broken_list() -> Iterator[Target]:
    yield Target(fresh_ip(), 1)
    raise ValueError("broken list")


def broken_hook(_: Target) -> None:
    raise ValueError("broken hook")


@pytest.mark.parametrize(
    ("entries", "hooks", "message"),
    [
        (broken_list, [], "broken list"),
        (lambda: iter([Target(fresh_ip(), 1)]), [broken_hook], "broken hook"),
    ],
)
def test_errors_of_list_and_hooks_reach_whoever_gave_the_list(
    reactor: StillReactor,
    seen: list[Observation],
    entries: Callable[[], Iterator[Target]],
    hooks: list[Callable[[Target], None]],
    message: str,
) -> None:
    prober = make_prober(reactor, seen.append, hooks=hooks)
    taken, done = Fired(prober.consume(entries())), Fired(prober.finished())
    reactor.run_until(lambda: taken.done and done.done)
    assert isinstance(taken.error, ValueError)
    assert str(taken.error) == message
    assert done.error is None  # told once
    end(prober, reactor)


def test_an_error_after_the_list_was_taken_reaches_whoever_waits_for_the_end(
    reactor: StillReactor, seen: list[Observation]
) -> None:
    waiting: Deferred[None] = Deferred()
    prober = make_prober(reactor, seen.append, hooks=[lambda _: waiting])
    taken, done = Fired(prober.consume(iter([Target(fresh_ip(), 1)]))), Fired(prober.finished())
    reactor.advance(0)
    assert taken.done
    assert taken.error is None
    waiting.errback(ValueError("broken hook"))
    reactor.advance(0)
    assert isinstance(done.error, ValueError)
    end(prober, reactor)


def test_an_error_that_nobody_waits_for_does_not_keep_the_prober_from_ending(
    reactor: StillReactor, seen: list[Observation]
) -> None:
    waiting: Deferred[None] = Deferred()
    prober = make_prober(reactor, seen.append, hooks=[lambda _: waiting])
    prober.consume(iter([Target(fresh_ip(), 1)]))
    reactor.advance(0)
    waiting.errback(ValueError("broken hook"))
    Fired(Deferred.fromCoroutine(prober.end()))
    reactor.advance(0)
    assert reactor.readers == []  # the descriptors are given back whatever happened
    assert reactor.getDelayedCalls() == []


def test_a_target_that_the_gate_cannot_judge_is_not_lost(reactor: StillReactor, seen: list[Observation]) -> None:
    failed: list[Target] = []
    prober = make_prober(reactor, seen.append, hooks=[broken_hook], failed=lambda target, _: failed.append(target))
    target = Target(fresh_ip(), 1)
    prober.add(target)  # as the download handler does: it waits for word of this target
    done = Fired(prober.finished())
    reactor.advance(0)
    assert done.done
    assert failed == [target]
    assert not seen


def test_targets_of_whoever_adds_one_by_one(reactor: StillReactor, seen: list[Observation]) -> None:
    prober = make_prober(reactor, seen.append)
    target = Target(fresh_ip(), 1)
    prober.add(target)
    reactor.run_until(lambda: seen)
    assert seen[0].target is target
    assert Fired(prober.finished()).done is False
    end(prober, reactor)


def test_exhaustion_is_waited_out_and_said_once(
    reactor: StillReactor, seen: list[Observation], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prober = make_prober(reactor, seen.append)
    connect, left = prober.pool.connect, [0, 0, 1, 1]

    def sometimes(*args: Any) -> None:
        if left and not left.pop(0):
            raise ExhaustedError("EMFILE")
        connect(*args)

    monkeypatch.setattr(prober.pool, "connect", sometimes)
    prober.consume(iter([Target(fresh_ip(), 1), Target(fresh_ip(), 1)]))
    done = Fired(prober.finished())
    reactor.advance(0)
    assert not seen
    reactor.advance(prober_module.RETRY)
    assert not seen
    reactor.advance(prober_module.RETRY)
    reactor.run_until(lambda: done.done)
    assert [o.outcome for o in seen] == [Outcome.REFUSED] * 2
    assert [record.message for record in caplog.records] == [
        "Out of descriptors or local ports (EMFILE): going on as they become free"
    ]
    end(prober, reactor)


def test_a_socket_that_cannot_be_made_is_our_error(
    reactor: StillReactor, seen: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    prober = make_prober(reactor, seen.append)

    def no_family(*_: Any) -> None:
        raise OSError(97, "no such family")

    monkeypatch.setattr(prober.pool, "connect", no_family)
    prober.add(Target("::1"))
    reactor.advance(0)
    assert [(o.outcome, o.reason) for o in seen] == [(Outcome.LOCAL_ERROR, "EAFNOSUPPORT")]
    end(prober, reactor)
