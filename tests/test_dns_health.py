"""Servers that fail in other ways than by silence, answers by TCP, and look-ups that are dropped at a bad moment."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import pytest
from doubles.nameserver import resolvers, respond
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from smtpsurvey.dns import transport
from smtpsurvey.dns.lookup import Options
from smtpsurvey.dns.resolver import PUMP, Resolver
from smtpsurvey.dns.servers import FAILURES, Address
from smtpsurvey.dns.transport import SOCKETS
from smtpsurvey.dns.udp import UdpSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from doubles.nameserver import Make, Setting
    from twisted.internet.defer import Deferred

    from smtpsurvey.dns.answer import Answer


NOBODY = Address("255.255.255.255", 53)  # the kernel sends no broadcasts for those who do not ask it to


@pytest.fixture
def make() -> Iterator[Make]:
    with resolvers() as new:
        yield new


def cut(setting: Setting) -> None:
    """Answer a query with nothing but TC."""
    setting.servers[0].answer(flags=dns.flags.TC)
    setting.reactor.turn()


@pytest.mark.parametrize("trouble", ["SERVFAIL", "noise"])
def test_a_server_that_only_fails_has_to_prove_that_it_works(make: Make, trouble: str) -> None:
    setting = make(1)
    setting.start()
    (server,) = setting.servers

    def fail(times: int) -> None:
        for _ in range(times):
            found = setting.ask()
            query, source = server.query()
            good = respond(query, rcode="SERVFAIL" if trouble == "SERVFAIL" else "NOERROR")
            server.socket.sendto(good if trouble == "SERVFAIL" else good[:-1], source)
            assert setting.end(found).outcome in {"servfail", "bad_answer"}

    fail(FAILURES - 1)
    found = setting.ask()
    server.answer(rcode="NXDOMAIN")  # an answer like any other
    assert setting.end(found).outcome == "nxdomain"
    fail(FAILURES)
    found = setting.ask()
    assert server.answer(rcode="SERVFAIL") == ". NS"
    setting.reactor.turn()
    assert not server.waiting()
    setting.reactor.let_pass(1)
    assert server.answer(rcode="REFUSED") == ". NS"
    setting.reactor.turn()
    assert server.answer("MX 10 mx.example.org.") == "example.org. MX"
    assert setting.end(found).outcome == "ok"


@pytest.mark.parametrize("rcode", ["NOERROR", "NXDOMAIN", "REFUSED", "NOTIMP", "NOTAUTH"])
def test_any_answer_to_a_probe_but_servfail_will_do(make: Make, rcode: str) -> None:
    setting = make(1)
    started: list[object] = []
    setting.resolver.start().addBoth(started.append)
    setting.servers[0].answer(rcode=rcode)
    setting.reactor.turn()
    if rcode == "NOTIMP":  # then it is asked without EDNS
        setting.servers[0].answer(rcode=rcode)
    setting.reactor.run_until(lambda: started)
    assert started == [None]


def test_that_a_server_does_not_work_is_said_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    setting = make(2)
    setting.start(answering=1)
    setting.reactor.let_pass(120)
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"DNS server {setting.servers[1].address} does not work: no answer"]


def test_a_cut_answer_is_asked_for_by_tcp(make: Make) -> None:
    setting = make(1)
    setting.start()
    found = setting.ask(kind="TXT")
    cut(setting)
    protocol, transport = setting.reactor.connected()
    query = dns.message.from_wire(transport.value()[2:])
    wire = respond(query, *(f"TXT {'x' * 200}{n}" for n in range(250)))
    assert len(wire) > 50_000
    protocol.dataReceived(struct.pack("!H", len(wire)) + wire)
    assert setting.end(found).outcome == "ok"
    assert len(found[0].records) == 250
    assert setting.stat("tcp") == 1


@pytest.mark.parametrize("forged", ["number", "question", "query"])
def test_what_comes_by_tcp_is_no_answer_either_if_it_is_none(make: Make, forged: str) -> None:
    setting = make(1)
    setting.start()
    found = setting.ask(kind="TXT")
    cut(setting)
    protocol, transport = setting.reactor.connected()
    query = dns.message.from_wire(transport.value()[2:])
    if forged == "number":
        query.id ^= 1
    if forged == "question":
        query = dns.message.make_query("example.net", "TXT", id=query.id)
    wire = query.to_wire() if forged == "query" else respond(query, "TXT forged")
    protocol.dataReceived(struct.pack("!H", len(wire)) + wire)
    assert found == []
    setting.servers[0].answer("TXT good")  # it is asked again
    assert [record.value for record in setting.end(found).records] == ['"good"']
    assert setting.stat("strays") == 1


def test_a_server_without_tcp_costs_its_tries(make: Make) -> None:
    setting = make(1)
    setting.start()
    found = setting.ask(kind="TXT")
    for _ in range(3):
        cut(setting)
        protocol, _ = setting.reactor.connected()
        protocol.connectionLost(Failure(ConnectionLost()))
    assert setting.end(found).outcome == "timeout"


def test_the_end_while_some_wait_for_tcp(make: Make) -> None:
    setting = make(1)
    setting.start()
    found = [setting.ask(f"d{n}.example", "TXT") for n in range(100)]
    for _ in found:
        cut(setting)
    dropped = setting.resolver.resolve("dropped.example", "TXT")
    cut(setting)
    dropped.addErrback(lambda _: None).cancel()
    assert len(setting.reactor.dialled) == 64
    setting.resolver.stop()
    assert {answer.outcome for (answer,) in found} == {"local_error"}


@pytest.mark.parametrize("what", ["cancel", "stop"])
def test_whoever_hears_of_a_timeout_may_drop_the_others(make: Make, what: str) -> None:
    setting = make(1, timeouts=(2,))
    setting.start()
    ended: list[object] = []
    asked: list[Deferred[Answer]] = [setting.resolver.resolve(f"d{n}.example", "MX") for n in range(10)]

    def drop(result: object) -> None:
        ended.append(result)
        if what == "stop":
            setting.resolver.stop()
        for each in asked:
            each.cancel()

    for each in asked:
        each.addBoth(drop)
    setting.reactor.let_pass(3)
    assert len(ended) == len(asked)
    assert setting.resolver.in_flight == 0
    assert setting.ask() == [] or what == "stop"


def test_a_server_that_nothing_can_be_sent_to_does_not_work(make: Make) -> None:
    setting = make(0)
    setting.resolver = Resolver(setting.reactor, [NOBODY], Options(), None)  # type: ignore[arg-type]
    failures: list[Failure] = []
    setting.resolver.start().addErrback(failures.append)
    (failure,) = failures
    assert str(failure.value) == "no DNS server works: 255.255.255.255: Permission denied"


def test_a_server_that_nothing_can_be_sent_to_any_more_is_dropped(make: Make) -> None:
    setting = make(2)
    setting.start()
    first, second = setting.resolver.servers
    first.address = NOBODY
    answers = [setting.ask(f"d{n}.example") for n in range(4)]
    for _ in answers:
        setting.servers[1].answer("MX 10 mx.example.org.")
    assert {setting.end(found).outcome for found in answers} == {"ok"}
    assert (first.works, first.reason, second.works) == (False, "Permission denied", True)
    first.address = setting.servers[0].address
    setting.reactor.let_pass(1)
    assert setting.servers[0].answer() == ". NS"
    setting.reactor.run_until(lambda: first.works)
    assert setting.stat("lost_servers") == 1


def test_what_finds_no_room_in_the_socket_is_sent_a_little_later(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = make(1)
    setting.start()

    def full(*_: object) -> None:
        raise BlockingIOError

    with monkeypatch.context() as patch:
        patch.setattr(UdpSocket, "send", full)
        found = setting.ask()
        setting.reactor.let_pass(1)
    assert setting.resolver.in_flight == 1
    setting.reactor.advance(PUMP)
    setting.servers[0].answer("MX 10 mx.example.org.")
    assert setting.end(found).outcome == "ok"
    assert setting.stat("queries") == 2
    assert setting.stat("lost_servers") == 0


def test_numbers_and_ports_are_drawn_at_random(make: Make) -> None:
    setting = make(1, concurrency=300)
    setting.start()
    seen = []
    for number in range(300):
        setting.ask(f"d{number}.example")
        query, source = setting.servers[0].query()
        seen.append((query.id, source[1]))
    ids, ports = zip(*seen, strict=True)
    assert len({*ports}) == SOCKETS  # one of them missing: 8 * (7/8)^300, less than 1 in 10^15
    assert max(ports.count(port) for port in ports) < 100
    assert len({*ids}) > 280
    steps = {after - before for before, after in itertools.pairwise(ids)}
    assert len(steps) > 280  # neither counted up nor in any fixed step
    assert min(ids) < 1 << 13 < 7 << 13 < max(ids)


def test_more_questions_than_numbers_wait(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "NUMBERS", 1)
    setting = make(1)
    setting.start()
    answers = [setting.ask(f"d{number}.example") for number in range(SOCKETS + 3)]
    queries = [setting.servers[0].query() for _ in range(SOCKETS)]
    assert not setting.servers[0].waiting()
    for query, source in queries:
        setting.servers[0].socket.sendto(respond(query, "MX 10 mx.example.org."), source)
    setting.reactor.run_until(setting.servers[0].waiting)
    for _ in range(3):
        setting.servers[0].answer("MX 10 mx.example.org.")
    assert {setting.end(found).outcome for found in answers} == {"ok"}
