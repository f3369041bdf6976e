"""The second connection: when there is one, what becomes of it, and that each target is recorded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from doubles.clock import StillReactor
from doubles.peer import Peer
from doubles.probing import make_probe, make_prober
from twisted.internet.defer import Deferred

from smtpsurvey.admission import Exclude
from smtpsurvey.items import Observation, SmtpItem, Target
from smtpsurvey.outcomes import Outcome, StartTls, TlsSecond
from smtpsurvey.probe import prober as prober_module
from smtpsurvey.probe.connections import Connections
from smtpsurvey.smtp.tls import TlsFacts

if TYPE_CHECKING:
    from collections.abc import Callable

MODERN = TlsFacts("TLSv1.3", "C", (b"a",), ("ab" * 32,), sni=True)
OTHER = TlsFacts("TLSv1.3", "D", (b"b",), ("cd" * 32,), sni=False)


class Seen:
    """A target's observations, and what was asked for and recorded."""

    def __init__(self, second: TlsSecond | None) -> None:
        self.asked: list[Target] = []
        self.recorded: list[Observation] = []
        reactor = StillReactor()
        self.probes = make_probe(reactor), make_probe(reactor)
        self.connections = Connections(self.recorded.append, self.asked.append, self.probes, second)
        self.target = Target("192.0.2.1")

    def see(self, tls: TlsFacts | None, starttls: StartTls | None = StartTls.OK, **facts: Any) -> Observation:
        outcome = facts.pop("outcome", Outcome.OK)
        seen = Observation(self.target, 0.0, 0.1, outcome, starttls=starttls, tls=tls, **facts)
        self.connections(seen)
        return seen


@pytest.mark.parametrize(
    ("second", "tls", "starttls"),
    [
        (None, MODERN, StartTls.OK),
        (TlsSecond.NO_NAME, None, StartTls.NOT_OFFERED),
        (TlsSecond.NO_NAME, TlsFacts("TLSv1.3", sni=False), StartTls.OK),  # no name was said the first time
        (TlsSecond.NO_NAME, TlsFacts(error="closed", sni=True), StartTls.FAILED),
        (TlsSecond.DEPRECATED, TlsFacts("TLSv1.1"), StartTls.OK),  # that it speaks them is known
        (TlsSecond.DEPRECATED, TlsFacts("TLSv1"), StartTls.OK),
    ],
)
def test_where_nothing_is_to_be_learnt_there_is_no_second_connection(
    second: TlsSecond | None, tls: TlsFacts | None, starttls: StartTls
) -> None:
    seen = Seen(second)
    first = seen.see(tls, starttls)
    assert (seen.asked, seen.recorded) == ([], [first])


@pytest.mark.parametrize(
    ("second", "tls"),
    [
        (TlsSecond.NO_NAME, MODERN),
        (TlsSecond.DEPRECATED, TlsFacts("TLSv1.2")),
        (TlsSecond.DEPRECATED, TlsFacts(error="closed")),
    ],
)
def test_the_second_handshake_is_recorded_with_the_first(second: TlsSecond, tls: TlsFacts) -> None:
    seen = Seen(second)
    assert seen.connections.probe(seen.target) is seen.probes[0]
    seen.see(tls)
    assert (seen.asked, seen.recorded) == ([seen.target], [])
    assert seen.connections.probe(seen.target) is seen.probes[1]
    seen.see(OTHER)
    (recorded,) = seen.recorded
    assert (recorded.tls, recorded.second and recorded.second.facts) == (tls, OTHER)
    item = SmtpItem.from_observation(recorded, "s").tls
    assert item is not None
    assert item.second is not None
    assert (item.second.offers, item.second.cipher, item.second.chain) == (second, "D", list(OTHER.hashes))
    assert seen.connections.probe(seen.target) is seen.probes[0]


@pytest.mark.parametrize("outcome", [Outcome.EXCLUDED, Outcome.REFUSED, Outcome.TIMEOUT])
def test_a_second_connection_that_came_to_nothing_spoils_nothing(outcome: Outcome) -> None:
    seen = Seen(TlsSecond.NO_NAME)
    first = seen.see(MODERN)
    seen.see(None, None, outcome=outcome, reason="opt-out")
    assert seen.recorded == [first]


def run(coroutine: Any) -> None:
    finished: list[object] = []
    Deferred.fromCoroutine(coroutine).addBoth(finished.append)
    assert finished == [None]


def test_what_waits_at_the_end_is_recorded_as_it_is() -> None:
    seen = Seen(TlsSecond.NO_NAME)
    first = seen.see(MODERN)
    run(seen.connections.end())
    run(seen.connections.end())
    assert seen.recorded == [first]


@pytest.mark.parametrize("refused", [False, True])
def test_the_prober_takes_a_target_again_past_the_gate(monkeypatch: pytest.MonkeyPatch, *, refused: bool) -> None:
    monkeypatch.setattr(prober_module, "maybe_deferred_to_future", lambda waiting: waiting)
    reactor, recorded, asked = StillReactor(), list[Observation](), list[Target]()

    def hook(target: Target) -> None:
        asked.append(target)
        if refused and len(asked) == 2:
            raise Exclude("opt-out")

    probes = make_probe(reactor), make_probe(reactor)
    again: Callable[[Target], None] = lambda target: prober.add(target)  # noqa: E731, PLW0108 - made below
    connections = Connections(recorded.append, again, probes, TlsSecond.DEPRECATED)
    monkeypatch.setattr(connections, "_asks", lambda seen: seen.outcome is Outcome.CLOSED)
    prober = make_prober(reactor, connections, hooks=[hook])
    with Peer() as peer:
        target = peer.target()
        prober.consume(iter([target]))
        for _ in range(1 if refused else 2):
            reactor.advance(0)
            peer.accept().close()
            reactor.turn()
        reactor.advance(0)
    assert asked == [target, target]
    assert [(seen.target, seen.outcome) for seen in recorded] == [(target, Outcome.CLOSED)]
    prober.pool.shutdown()
