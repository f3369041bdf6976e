"""The resolver on real loopback sockets: the test plays the servers, and time is the test's own."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import pytest
from doubles.nameserver import Nameserver, resolvers, respond

from smtpsurvey.dns.lookup import Options
from smtpsurvey.dns.resolver import Resolver
from smtpsurvey.dns.servers import FAILURES
from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import DnsOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from doubles.nameserver import Make
    from twisted.internet.defer import Deferred

    from smtpsurvey.dns.answer import Answer


@pytest.fixture
def make() -> Iterator[Make]:
    with resolvers() as new:
        yield new


def test_an_answer(make: Make) -> None:
    setting = make()
    setting.start()
    found = setting.ask()
    setting.reactor.advance(0.5)
    assert setting.servers[0].answer("MX 10 mx.example.org.", flags=dns.flags.AD) == "example.org. MX"
    answer = setting.end(found)
    assert (answer.name, answer.type, answer.outcome, answer.rcode) == ("example.org", "MX", "ok", "NOERROR")
    assert [(r.name, r.type, r.ttl, r.value) for r in answer.records] == [
        ("example.org", "MX", 60, "10 mx.example.org.")
    ]
    assert (answer.server, answer.ad, answer.duration) == ("127.0.0.1", True, 0.5)
    assert setting.resolver.in_flight == 0


@pytest.mark.parametrize(
    ("records", "rcode", "outcome"),
    [
        ((), "NOERROR", "no_data"),
        (("CNAME other.example.",), "NOERROR", "no_data"),
        ((), "NXDOMAIN", "nxdomain"),
        ((), "SERVFAIL", "servfail"),
        ((), "REFUSED", "refused"),
        ((), "YXDOMAIN", "bad_answer"),
    ],
)
def test_what_a_single_server_says_is_the_last_word(
    make: Make, records: tuple[str, ...], rcode: str, outcome: str
) -> None:
    setting = make()
    setting.start()
    found = setting.ask()
    setting.servers[0].answer(*records, rcode=rcode)
    answer = setting.end(found)
    assert (answer.outcome, answer.rcode) == (outcome, rcode)
    assert not setting.servers[0].waiting()


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
def test_another_server_is_asked_before_trouble_is_believed(make: Make, rcode: str) -> None:
    setting = make(2)
    setting.start()
    found = setting.ask()
    first, second = setting.servers if setting.servers[0].waiting() else reversed(setting.servers)
    first.answer(rcode=rcode)
    setting.reactor.run_until(second.waiting)
    second.answer("MX 10 mx.example.org.")
    assert setting.end(found).outcome == "ok"
    both = setting.ask("other.example")
    for server in (first, second) if first.waiting() else (second, first):
        setting.reactor.run_until(server.waiting)
        server.answer(rcode=rcode)
        setting.reactor.turn()
    assert setting.end(both).rcode == rcode


def test_a_name_that_is_none_is_not_asked_for(make: Make) -> None:
    setting = make()
    setting.start()
    for name in ("a..b", "x" * 64, ""):
        assert setting.end(setting.ask(name)).outcome == "bad_name"
    assert not setting.servers[0].waiting()


def test_tries_and_their_timeouts(make: Make) -> None:
    setting = make()
    setting.start()
    found = setting.ask()
    for seconds in (2, 3, 4):
        assert setting.servers[0].query()[0].question[0].name.to_text() == "example.org."
        assert not setting.servers[0].waiting()
        setting.reactor.let_pass(seconds + 0.25)
    answer = setting.end(found)
    assert (answer.outcome, answer.rcode, answer.records, answer.server, answer.ad) == ("timeout", None, (), None, None)
    assert 9 <= answer.duration <= 10
    assert setting.stat("timeouts") == 3


def test_a_lost_packet_costs_time_and_no_name(make: Make) -> None:
    setting = make()
    setting.start()
    found = setting.ask()
    setting.servers[0].query()
    setting.reactor.let_pass(2.25)
    setting.servers[0].answer("MX 10 mx.example.org.")
    assert setting.end(found).outcome == "ok"


def test_an_answer_that_comes_after_its_time_is_not_taken_for_another(make: Make) -> None:
    setting = make()
    setting.start()
    found = setting.ask()
    late, source = setting.servers[0].query()
    setting.reactor.let_pass(2.25)
    setting.servers[0].socket.sendto(respond(late, "MX 10 late.example."), source)
    setting.reactor.turn()
    assert found == []
    setting.servers[0].answer("MX 10 mx.example.org.")
    assert setting.end(found).records[0].value == "10 mx.example.org."
    assert setting.stat("strays") == 1


def test_forged_answers_are_never_accepted(make: Make) -> None:
    setting = make(2)
    setting.start()
    found = setting.ask()
    asked, other = setting.servers if setting.servers[0].waiting() else reversed(setting.servers)
    query, source = asked.query()
    good = respond(query, "MX 10 forged.example.")
    wrong_question = dns.message.make_query("example.net", "MX")
    wrong_question.id = query.id
    wrong_type = dns.message.make_query("example.org", "A")
    wrong_type.id = query.id
    forged = [bytes(((good[0] + 1) % 256, good[1])) + good[2:], good[:2], good[:11], b"", query.to_wire()]
    forged += [respond(wrong_question, "MX 10 forged.example."), respond(wrong_type, "A 192.0.2.1")]
    for wire in forged:
        asked.socket.sendto(wire, source)
    other.socket.sendto(good, source)  # all is right but who says it
    for _ in range(len(forged) + 1):
        setting.reactor.turn(wait=0.01)
    assert found == []
    asked.socket.sendto(respond(query, "MX 10 mx.example.org."), source)
    assert setting.end(found).records[0].value == "10 mx.example.org."
    assert setting.stat("strays") == len(forged) + 1


WRONG = ("number", "question", "server", "cut", "noise")


def wrong(random: Random, kind: str, query: dns.message.Message) -> bytes:
    """Make a message that is no answer to this query, though not much is missing."""
    good = respond(query, *GOOD)
    if kind == "number":
        return ((query.id + random.randrange(1, 65536)) % 65536).to_bytes(2, "big") + good[2:]
    if kind == "question":
        other = dns.message.make_query(random.choice(OTHERS), random.choice(("A", "MX", "TYPE47", "NS")), id=query.id)
        return respond(other, "MX 10 forged.example.")
    if kind == "noise":
        return good[:2] + random.randbytes(random.randrange(100))
    if kind == "cut":
        wire = bytearray(good[: random.randrange(len(good))])
        for at in random.choices((2, 3, *range(12, len(good))), k=random.randrange(4)):  # counts stay
            if at < len(wire):
                wire[at] = random.randrange(256)
        return bytes(wire)
    return good


GOOD = ("MX 10 mx.example.org.", "MX 20 mx2.example.org.")
OTHERS = ("example.net", "example.or", "xexample.org", "example.org.example.org", ".", "ex.ample.org")


def fuzz(make: Make, count: int) -> int:
    """Send messages that are no answers, then the answer; give how many of them ended a look-up, as none."""
    setting = make(2, timeouts=(2,) * 100)
    setting.start(answering=1)  # the other one is nobody that we would ask
    (server, other), random, ended, again, sent = setting.servers, Random(4), 0, 0, 0
    while sent < count:
        found = setting.ask()
        query, source = server.query()
        for _ in range(100):
            kind = random.choice(WRONG)
            (other if kind == "server" else server).socket.sendto(wrong(random, kind, query), source)
            sent += 1
            setting.reactor.turn(wait=1)
            setting.reactor.refuse()
            if found:  # what cannot be read, or says no more than that there is trouble, may be the end
                assert kind in {"cut", "noise"}
                assert found[0].outcome in {"bad_answer", "servfail", "refused"}, (found[0], found[0].records)
                ended += 1
                found = setting.ask()
                query, source = server.query()
                break
            if server.waiting():  # asked once more: since there is no TCP, or without EDNS
                assert kind in {"cut", "noise"}
                again += 1
                query, source = server.query()
        server.socket.sendto(respond(query, *GOOD), source)
        assert setting.end(found).outcome == "ok"
    assert setting.stat("strays") == sent - ended - again
    return ended


def test_nothing_but_the_answer_is_accepted(make: Make) -> None:
    assert fuzz(make, 5000) > 10


@pytest.mark.soak
def test_of_a_million_wrong_messages_none_is_accepted(make: Make) -> None:
    assert fuzz(make, 1_000_000) > 1000


def test_a_dead_first_server_costs_one_probe(make: Make) -> None:
    setting = make(2)
    setting.servers.reverse()
    setting.start(answering=1)
    for number in range(50):
        found = setting.ask(f"d{number}.example")
        setting.servers[0].answer("MX 10 mx.example.org.")
        assert setting.end(found).duration == 0
    assert setting.servers[1].query()[0].question[0].name.to_text() == "."
    assert not setting.servers[1].waiting()


def test_a_dead_server_is_probed_again_and_used_when_it_works(make: Make) -> None:
    setting = make(2)
    setting.start(answering=1)
    dead = setting.servers[1]
    for _ in range(3):
        dead.query()
        setting.reactor.let_pass(2.25)
    assert dead.answer(rcode="REFUSED") == ". NS"
    setting.reactor.turn()
    answers = [setting.ask(f"d{number}.example") for number in range(2)]
    for server in setting.servers:
        server.answer("MX 10 mx.example.org.")
    assert all(setting.end(found).outcome == "ok" for found in answers)


def test_servers_that_do_not_work_are_one_line(make: Make) -> None:
    setting = make(2)
    setting.started = []
    setting.resolver.start().addBoth(setting.started.append)
    setting.servers[0].answer(rcode="SERVFAIL")
    setting.reactor.run_until(lambda: not setting.servers[0].waiting())
    setting.reactor.let_pass(6)
    (failure,) = setting.started
    one, two = (server.address for server in setting.servers)
    assert isinstance(failure.value, SurveyError)
    assert str(failure.value) == f"no DNS server works: {one}: answers servfail; {two}: no answer"


def test_a_server_that_dies_is_dropped(make: Make) -> None:
    setting = make(2)
    setting.start()
    dead, alive = setting.servers
    answers = [setting.ask(f"d{number}.example") for number in range(2 * FAILURES)]
    for _ in range(FAILURES):
        dead.query()
        alive.answer("MX 10 mx.example.org.")
    setting.reactor.let_pass(2.5)
    assert dead.query()[0].question[0].name.to_text() == "."
    for _ in range(FAILURES):
        alive.answer("MX 10 mx.example.org.")
    assert all(setting.end(found).outcome == "ok" for found in answers)
    assert not dead.waiting()
    assert setting.stat("lost_servers") == 1


def test_while_no_server_works_questions_end_all_the_same(make: Make) -> None:
    setting = make()
    setting.start()
    answers = [setting.ask(f"d{number}.example") for number in range(FAILURES + 10)]
    setting.reactor.let_pass(30)
    assert {setting.end(found).outcome for found in answers} == {DnsOutcome.TIMEOUT}
    assert setting.resolver.in_flight <= 1  # the probe


def test_the_rate_and_the_number_in_flight_are_bounded(make: Make) -> None:
    slow = make(1, rate=10)
    slow.start()
    for number in range(30):
        slow.ask(f"d{number}.example")
    slow.reactor.let_pass(1, step=0.02)
    seen = 0
    while slow.servers[0].waiting():
        slow.servers[0].query()
        seen += 1
    assert 9 <= seen <= 12
    few = make(1, concurrency=5)
    few.start()
    answers = [few.ask(f"d{number}.example") for number in range(30)]
    for _ in range(30):
        assert sum(server.in_flight for server in few.resolver.servers) <= 5
        few.servers[0].answer("MX 10 mx.example.org.")
        few.reactor.turn()
    assert all(few.end(found).outcome == "ok" for found in answers)


def test_servers_from_before_edns_are_asked_without(make: Make) -> None:
    setting = make()
    setting.start()
    found = setting.ask()
    query, source = setting.servers[0].query()
    assert (query.edns, query.payload) == (0, 1232)
    setting.servers[0].socket.sendto(query.id.to_bytes(2, "big") + b"\x81\x81\0\0\0\0\0\0\0\0", source)
    setting.reactor.run_until(setting.servers[0].waiting)
    plain, source = setting.servers[0].query()
    assert plain.edns == -1
    setting.servers[0].socket.sendto(respond(plain, "MX 10 mx.example.org."), source)
    assert setting.end(found).outcome == "ok"


def test_a_malformed_answer_is_bad_unless_another_server_has_a_better_one(make: Make) -> None:
    setting = make()
    setting.start()
    found = setting.ask()
    query, source = setting.servers[0].query()
    setting.servers[0].socket.sendto(respond(query, "MX 10 mx.example.org.")[:-3], source)
    answer = setting.end(found)
    assert (answer.outcome, answer.rcode, answer.records) == ("bad_answer", None, ())
    assert setting.stat("malformed") == 1


def test_what_is_cancelled_or_stopped_leaves_nothing(make: Make) -> None:
    setting = make(1, concurrency=1)
    setting.start()
    errors: list[object] = []
    waiting: list[Deferred[Answer]] = [setting.resolver.resolve(f"d{n}.example", "A") for n in range(3)]
    for each in waiting[:2]:
        each.addErrback(errors.append)
        each.cancel()
    assert len(errors) == 2
    assert setting.resolver.in_flight == 1
    last: list[Answer] = []
    waiting[2].addCallback(last.append)
    setting.resolver.stop()
    assert last[0].outcome == "local_error"
    assert setting.end(setting.ask()).outcome == "local_error"
    assert setting.resolver.in_flight == 0


def test_ipv6_servers(make: Make) -> None:
    setting = make(0)
    server = Nameserver("::1")
    setting.servers.append(server)
    setting.resolver = Resolver(setting.reactor, [server.address], Options(rate=0), setting.stats)  # type: ignore[arg-type]
    setting.start()
    found = setting.ask()
    server.answer("MX 10 mx.example.org.")
    assert setting.end(found).server == "::1"
