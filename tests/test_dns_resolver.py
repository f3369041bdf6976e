"""The resolver on real loopback sockets: the test plays the servers, and time is the test's own."""

from __future__ import annotations

import socket
from random import Random
from typing import TYPE_CHECKING

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from doubles.clock import LONG, StillReactor
from scrapy.statscollectors import StatsCollector

from smtpsurvey.dns.lookup import Options
from smtpsurvey.dns.resolver import Resolver
from smtpsurvey.dns.servers import FAILURES, Address
from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import DnsOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.defer import Deferred

    from smtpsurvey.dns.answer import Answer


class Nameserver:
    """A UDP socket on which the test reads queries and answers them as it likes."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(LONG)
        self.address = Address(host, self.socket.getsockname()[1])

    def query(self) -> tuple[dns.message.Message, tuple[str, int]]:
        wire, source = self.socket.recvfrom(4096)
        return dns.message.from_wire(wire), source

    def waiting(self) -> bool:
        """Tell whether a query is there."""
        self.socket.settimeout(0)
        try:
            self.socket.recvfrom(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.socket.settimeout(LONG)
        return True

    def answer(self, *records: str, rcode: str = "NOERROR", flags: int = 0) -> str:
        """Answer the next query; give its name and type."""
        query, source = self.query()
        self.socket.sendto(respond(query, *records, rcode=rcode, flags=flags), source)
        return f"{query.question[0].name} {dns.rdatatype.to_text(query.question[0].rdtype)}"


def respond(query: dns.message.Message, *records: str, rcode: str = "NOERROR", flags: int = 0) -> bytes:
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(dns.rcode.from_text(rcode))
    response.flags |= flags
    for record in records:
        kind, _, value = record.partition(" ")
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", kind, value))
    return response.to_wire()


class Setting:
    """A resolver, its reactor, and the servers that it knows."""

    def __init__(self, servers: int, **options: object) -> None:
        self.reactor = StillReactor()
        self.servers = [Nameserver() for _ in range(servers)]
        self.stats = _Stats()
        settings = Options(**{"rate": 0, "timeouts": (2, 3, 4)} | options)  # type: ignore[arg-type]  # given by name
        addresses = [server.address for server in self.servers]
        self.resolver = Resolver(self.reactor, addresses, settings, self.stats)  # type: ignore[arg-type]

    def start(self, *, answering: int | None = None) -> None:
        """Start, and answer the probes of all servers, or of the first ones."""
        self.started: list[object] = []
        self.resolver.start().addBoth(self.started.append)
        for server in self.servers[:answering]:
            assert server.answer(rcode="REFUSED") == ". NS"
        self.reactor.run_until(lambda: self.started)

    def ask(self, name: str = "example.org", kind: str = "MX") -> list[Answer]:
        found: list[Answer] = []
        self.resolver.resolve(name, kind).addCallback(found.append)
        return found

    def end(self, found: list[Answer]) -> Answer:
        self.reactor.run_until(lambda: found)
        return found[0]

    def stat(self, name: str) -> object:
        self.resolver.stop()
        return self.stats.get_value(f"smtpsurvey/dns/{name}")


class _Stats(StatsCollector):
    def __init__(self) -> None:
        self._stats: dict[str, object] = {}


@pytest.fixture
def make() -> Iterator[object]:
    made: list[Setting] = []

    def new(servers: int = 1, **options: object) -> Setting:
        made.append(Setting(servers, **options))
        return made[-1]

    yield new
    for each in made:
        each.resolver.stop()
        assert each.reactor.getDelayedCalls() == []
        assert each.reactor.readers == []
        for server in each.servers:
            server.socket.close()


Make = "type[Setting]"


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


def fuzz(make: Make, count: int) -> int:
    """Send broken messages with the right number from the right server; give how many ended a look-up."""
    setting = make(1, timeouts=(2,) * 10_000)
    setting.start()
    random, ended = Random(4), 0
    found = setting.ask()
    query, source = setting.servers[0].query()
    good = respond(query, "MX 10 mx.example.org.", "MX 20 mx2.example.org.")
    for number in range(count):
        wire = bytearray(
            good[: random.randrange(2, len(good))]
            if random.random() < 0.5
            else good[:2] + random.randbytes(random.randrange(60))
        )
        for _ in range(random.randrange(4)):
            at = random.randrange(2, len(wire)) if len(wire) > 2 else None
            if at is not None:
                wire[at] = random.randrange(256)
        setting.servers[0].socket.sendto(bytes(wire), source)
        if number % 50 == 49 or found:
            setting.reactor.turn(wait=0.001)
        if found:
            # A broken message that has our number and question may be the end, but never as an answer.
            assert found[0].outcome in {"bad_answer", "no_data", "servfail", "refused", "nxdomain"}, found[0]
            assert not any(record.type == "MX" and "mx" not in record.value for record in found[0].records)
            ended += 1
            found = setting.ask()
            setting.reactor.run_until(setting.servers[0].waiting)
            query, source = setting.servers[0].query()
            good = respond(query, "MX 10 mx.example.org.", "MX 20 mx2.example.org.")
    return ended


def test_no_broken_message_is_accepted_as_an_answer(make: Make) -> None:
    assert fuzz(make, 5000) > 10


@pytest.mark.soak
def test_no_broken_message_of_a_million_is_accepted(make: Make) -> None:
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
