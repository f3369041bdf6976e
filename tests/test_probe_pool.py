"""Pool and protocol on real loopback sockets: the test plays the server, and time is the test's own."""

from __future__ import annotations

import errno
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from doubles.clock import StillReactor
from doubles.peer import Peer, closed_port, fresh_ip, reset
from doubles.probing import make_probe

from smtpsurvey.items import Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.probe import pool as pool_module
from smtpsurvey.probe.pool import ExhaustedError, ProbePool
from smtpsurvey.probe.protocol import SmtpProbe, Timeouts
from smtpsurvey.smtp.reply import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.items import Observation

GREETING = b"220 mx.test.example ESMTP\r\n"
EHLO = b"250-mx.test.example\r\n250 SIZE 1000\r\n"
BYE = b"221 Bye\r\n"


class Pooled:
    """A pool whose probes leave their observations in ``seen``."""

    def __init__(self, reactor: StillReactor) -> None:
        self.reactor = reactor
        self.seen: list[Observation] = []
        self.turns = 0
        self.pool = ProbePool(reactor, self._turned)  # type: ignore[arg-type]  # the part of a reactor that is used

    def _turned(self) -> None:
        self.turns += 1

    def probe(self, target: Target, timeouts: Timeouts | None = None, limits: Limits | None = None) -> SmtpProbe:
        protocol = SmtpProbe(target, make_probe(self.reactor, timeouts=timeouts, limits=limits), self.seen.append)
        self.pool.connect(target.ip, target.port, protocol, protocol.patience)  # type: ignore[arg-type]  # a Twisted protocol
        return protocol

    def end(self, count: int = 1) -> Observation:
        """Take turns until so many observations are there, and nothing is in flight; return the last."""
        self.reactor.run_until(lambda: len(self.seen) >= count)
        assert len(self.seen) == count
        assert len(self.pool) == 0
        assert len(self.pool.wheel) == 0
        return self.seen[-1]


@pytest.fixture
def pooled() -> Iterator[Pooled]:
    reactor = StillReactor()
    pooled = Pooled(reactor)
    yield pooled
    pooled.pool.shutdown()
    assert reactor.readers == []
    assert reactor.getDelayedCalls() == []


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


def test_a_whole_conversation(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(GREETING)
    pooled.reactor.turn()
    assert server.recv(100) == b"EHLO survey.test.example\r\n"
    server.sendall(EHLO)
    pooled.reactor.turn()
    assert server.recv(100) == b"QUIT\r\n"
    pooled.reactor.advance(1)
    server.sendall(BYE)
    seen = pooled.end()
    assert seen.outcome is Outcome.OK
    assert seen.quit is not None
    assert seen.quit.code == 221
    assert seen.interrupted is None
    assert seen.duration == 1
    assert server.recv(100) == b""


def test_ipv6_is_as_good() -> None:
    pooled = Pooled(StillReactor())
    with Peer("::1") as peer:
        pooled.probe(peer.target())
        server = peer.accept()
        server.sendall(b"554 no\r\n")
        pooled.reactor.turn()
        assert server.recv(100) == b"QUIT\r\n"
        server.close()
        seen = pooled.end()
    assert seen.outcome is Outcome.OK
    assert seen.greeting is not None
    assert seen.greeting.code == 554
    pooled.pool.shutdown()


def test_a_port_where_nobody_listens_is_refused(pooled: Pooled) -> None:
    ip = fresh_ip()
    pooled.probe(Target(ip, closed_port(ip)))
    assert pooled.end().outcome is Outcome.REFUSED


def test_a_reset_before_any_byte(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    reset(peer.accept())
    seen = pooled.end()
    assert seen.outcome is Outcome.RESET
    assert seen.reason is None


def test_an_end_before_any_byte_and_one_amid_the_greeting_are_closed(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    peer.accept().close()
    assert pooled.end().outcome is Outcome.CLOSED
    pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(b"220-wait\r\n")
    server.close()
    seen = pooled.end(2)
    assert seen.outcome is Outcome.CLOSED
    assert seen.greeting is not None
    assert seen.greeting.raw == b"220-wait\r\n"


def test_a_reset_amid_the_greeting_keeps_what_came_before(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(b"220-wait\r\n")
    reset(server)
    seen = pooled.end()
    assert seen.outcome is Outcome.RESET
    assert seen.greeting is not None
    assert seen.greeting.raw == b"220-wait\r\n"


def test_a_whole_greeting_and_then_a_reset_is_ok_and_reset_in_ehlo(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(GREETING)
    reset(server)  # before we have read a byte: our EHLO meets the reset
    seen = pooled.end()
    assert seen.outcome is Outcome.OK
    assert seen.interrupted is not None
    assert (seen.interrupted.stage, seen.interrupted.reason) == ("ehlo", "reset")


def test_a_reset_after_ehlo_is_reset_in_ehlo(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(GREETING)
    pooled.reactor.turn()
    reset(server)
    seen = pooled.end()
    assert seen.interrupted is not None
    assert (seen.interrupted.stage, seen.interrupted.reason) == ("ehlo", "reset")


def test_what_the_socket_does_not_take_is_sent_when_it_does(pooled: Pooled) -> None:
    with Peer(receive_buffer=4096) as peer:
        protocol = pooled.probe(peer.target())
        server = peer.accept()
        server.sendall(b"220-")
        pooled.reactor.turn()
        transport = protocol.transport
        assert transport is not None
        transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        data = bytes(range(256)) * 4096
        transport.write(data)
        transport.writeSequence([b"the", b" end"])
        received = bytearray()
        while len(received) < len(data) + 7:
            pooled.reactor.turn(wait=0)
            received += server.recv(65536)
        assert received == data + b"the end"
        assert not pooled.reactor.turn(wait=0)  # nobody asks any more whether there is room
        server.close()
        assert pooled.end().outcome is Outcome.CLOSED


def test_a_server_that_never_reads_is_too_slow(pooled: Pooled, peer: Peer) -> None:
    protocol = pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(GREETING)
    pooled.reactor.turn()
    assert protocol.transport is not None
    protocol.transport.write(b"x" * 10_000_000)
    pooled.reactor.let_pass(16, step=1)
    seen = pooled.end()
    assert seen.interrupted is not None
    assert (seen.interrupted.stage, seen.interrupted.reason) == ("ehlo", "too_slow")


def test_room_to_write_after_a_reset_ends_the_probe(pooled: Pooled, peer: Peer) -> None:
    protocol = pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(GREETING)
    pooled.reactor.turn()
    assert protocol.transport is not None
    protocol.transport.write(b"x" * 10_000_000)
    reset(server)
    seen = pooled.end()
    assert seen.interrupted is not None
    assert seen.interrupted.stage == "ehlo"
    protocol.transport.write(b"nobody")  # a closed transport takes no notice
    protocol.transport.loseConnection()
    protocol.transport.flush()


def test_a_silent_server_is_silent_after_the_time_for_the_greeting(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target(), Timeouts(connect=8, greeting=10))
    peer.accept()
    pooled.reactor.let_pass(10)
    assert pooled.seen == []
    pooled.reactor.let_pass(2.5)
    seen = pooled.end()
    assert seen.outcome is Outcome.SILENT
    assert seen.greeting is None
    assert 10 <= seen.duration <= 12


def test_a_byte_a_second_is_too_slow(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target(), Timeouts(greeting=10))
    server = peer.accept()
    for byte in b"220 mx.test.":
        server.sendall(bytes([byte]))
        pooled.reactor.turn()
        pooled.reactor.let_pass(1)
        if pooled.seen:
            break
    seen = pooled.end()
    assert seen.outcome is Outcome.TOO_SLOW
    assert seen.greeting is not None
    assert seen.greeting.code is None
    assert seen.greeting.raw.startswith(b"220 mx.te")
    assert 10 <= seen.duration <= 11


def test_a_first_byte_after_the_first_look_is_too_slow_as_well(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target(), Timeouts(greeting=10))
    server = peer.accept()
    pooled.reactor.let_pass(5)
    server.sendall(b"2")
    pooled.reactor.turn()
    pooled.reactor.let_pass(7)
    assert pooled.end().outcome is Outcome.TOO_SLOW


def test_no_answer_to_the_syn_is_timeout(pooled: Pooled) -> None:
    with Peer(backlog=0) as peer:
        crowd = [socket.socket() for _ in range(3)]
        for other in crowd:  # the queue is full after these, and the kernel drops further SYNs
            other.setblocking(False)  # noqa: FBT003 - the standard library's signature
            other.connect_ex((peer.ip, peer.port))
        pooled.probe(peer.target(), Timeouts(connect=8))
        pooled.reactor.let_pass(8)
        assert pooled.seen == []
        pooled.reactor.let_pass(0.5)
        seen = pooled.end()
        for other in crowd:
            other.close()
    assert seen.outcome is Outcome.TIMEOUT
    assert 8 <= seen.duration <= 8.5


def test_a_connect_time_below_the_first_look_is_kept(pooled: Pooled) -> None:
    with Peer(backlog=0) as peer:
        crowd = [socket.socket() for _ in range(3)]
        for other in crowd:
            other.setblocking(False)  # noqa: FBT003 - the standard library's signature
            other.connect_ex((peer.ip, peer.port))
        pooled.probe(peer.target(), Timeouts(connect=0.5))
        pooled.reactor.let_pass(1)
        seen = pooled.end()
        for other in crowd:
            other.close()
    assert seen.outcome is Outcome.TIMEOUT


def test_the_total_bounds_a_server_that_always_answers_just_in_time(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target(), Timeouts(greeting=10, reply=10, total=15))
    server = peer.accept()
    pooled.reactor.let_pass(9)
    server.sendall(GREETING)
    pooled.reactor.turn()
    pooled.reactor.let_pass(5.75)
    assert pooled.seen == []
    pooled.reactor.let_pass(1)
    seen = pooled.end()
    assert seen.interrupted is not None
    assert (seen.interrupted.stage, seen.interrupted.reason) == ("ehlo", "too_slow")
    assert 15 <= seen.duration <= 15.5


def test_the_reply_to_quit_is_waited_for_five_seconds_at_most(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(b"554 go away\r\n")
    pooled.reactor.turn()
    pooled.reactor.let_pass(4.75)
    assert pooled.seen == []
    pooled.reactor.let_pass(0.75)
    seen = pooled.end()
    assert seen.outcome is Outcome.OK
    assert seen.interrupted is not None
    assert (seen.interrupted.stage, seen.interrupted.reason) == ("quit", "too_slow")


def test_a_short_time_for_replies_bounds_quit_too(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target(), Timeouts(reply=2))
    peer.accept().sendall(b"554 go away\r\n")
    pooled.reactor.turn()
    pooled.reactor.let_pass(2.5)
    assert pooled.end().duration <= 2.5


def test_an_endless_greeting_is_cut_off(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target(), limits=Limits(line=100, lines=10, bytes=1000))
    server = peer.accept()
    server.sendall(b"220-" + b"x" * 50_000)
    seen = pooled.end()
    assert seen.outcome is Outcome.OVERSIZE
    assert seen.greeting is not None
    assert len(seen.greeting.raw) <= 100


def test_every_reply_at_once_ends_in_one_turn(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    server = peer.accept()
    server.sendall(GREETING + EHLO + BYE + b"500 more\r\n")
    seen = pooled.end()
    assert seen.outcome is Outcome.OK
    assert seen.flags == ("early_reply",)
    assert seen.quit is not None


def test_a_descriptor_used_again_within_a_turn_gets_no_event_of_the_old_one(
    pooled: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = Peer(), Peer(), Peer()
    one, two = pooled.probe(first.target()), pooled.probe(second.target())
    assert one.transport is not None
    assert two.transport is not None
    servers = [first.accept(), second.accept()]
    for server in servers:
        server.sendall(b"220-not yet\r\n")
    reused: list[SmtpProbe] = []
    victim = two.transport

    def close_and_connect(_: bytes) -> None:
        victim.loseConnection()  # while its own event of this turn is still to come
        reused.append(pooled.probe(third.target()))

    monkeypatch.setattr(one, "dataReceived", close_and_connect)
    pooled.reactor.turn()
    if not reused:  # the kernel told the events in the other order
        pooled.reactor.turn()
    (new,) = reused
    assert new.transport is not None
    assert new.transport.fd == victim.fd
    servers.append(third.accept())
    servers[2].sendall(GREETING)
    pooled.reactor.turn()
    assert servers[2].recv(100) == b"EHLO survey.test.example\r\n"
    assert [seen.target.ip for seen in pooled.seen] == [second.ip]
    for peer in (first, second, third):
        peer.__exit__(None, None, None)
    pooled.reactor.run_until(lambda: len(pooled.pool) == 0)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_no_descriptor_is_exhaustion_and_not_the_host(
    pooled: Pooled, peer: Peer, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(code, "none left")

    monkeypatch.setattr(pool_module.socket, "socket", none_left)
    with pytest.raises(ExhaustedError, match="none left"):
        pooled.probe(peer.target())
    assert pooled.seen == []


def test_a_family_that_this_machine_lacks_is_an_error_of_its_own(
    pooled: Pooled, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_family(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "no such family")

    monkeypatch.setattr(pool_module.socket, "socket", no_family)
    with pytest.raises(OSError, match="no such family"):
        pooled.probe(peer.target())


class FailingSocket(socket.socket):
    code = 0

    def connect_ex(self, _: object) -> int:
        return self.code


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        (errno.ECONNREFUSED, Outcome.REFUSED, None),
        (errno.ENETUNREACH, Outcome.LOCAL_ERROR, "ENETUNREACH"),
        (errno.EPERM, Outcome.LOCAL_ERROR, "EPERM"),
        (9999, Outcome.LOCAL_ERROR, "9999"),
    ],
)
def test_what_connect_itself_says_is_ours_unless_refused(
    pooled: Pooled, monkeypatch: pytest.MonkeyPatch, code: int, outcome: Outcome, reason: str | None
) -> None:
    monkeypatch.setattr(FailingSocket, "code", code)
    monkeypatch.setattr(pool_module.socket, "socket", FailingSocket)
    pooled.probe(Target("127.0.0.1"))
    seen = pooled.end()
    assert (seen.outcome, seen.reason) == (outcome, reason)


def test_no_local_port_is_exhaustion(pooled: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FailingSocket, "code", errno.EADDRNOTAVAIL)
    monkeypatch.setattr(pool_module.socket, "socket", FailingSocket)
    with pytest.raises(ExhaustedError, match="EADDRNOTAVAIL"):
        pooled.probe(Target("127.0.0.1"))
    assert len(pooled.pool) == 0


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (errno.EHOSTUNREACH, Outcome.UNREACHABLE),
        (errno.ENETUNREACH, Outcome.UNREACHABLE),
        (errno.ETIMEDOUT, Outcome.TIMEOUT),
        (errno.ECONNRESET, Outcome.RESET),
        (errno.EIO, Outcome.LOCAL_ERROR),
    ],
)
def test_what_the_network_answers_is_told_apart(pooled: Pooled, code: int, outcome: Outcome) -> None:
    protocol = pooled.probe(Target("127.0.0.1"))
    assert protocol.transport is not None
    protocol.connectFailed(code, local=False)
    protocol.transport.loseConnection()
    protocol.connectFailed(code, local=False)  # a second word changes nothing
    assert pooled.end().outcome is outcome


def test_shutdown_drops_what_is_in_flight_without_a_word(peer: Peer) -> None:
    pooled = Pooled(StillReactor())
    pooled.probe(peer.target())
    peer.accept()
    pooled.pool.shutdown()
    assert pooled.seen == []
    assert len(pooled.pool) == 0
    assert pooled.reactor.getDelayedCalls() == []


def test_an_event_without_data_is_nothing(pooled: Pooled, peer: Peer) -> None:
    protocol = pooled.probe(peer.target())
    peer.accept()
    assert protocol.transport is not None
    pooled.pool.want_write(protocol.transport, wanted=True)
    pooled.reactor.turn()  # writable, nothing to write
    assert not pooled.reactor.turn(wait=0)
    pooled.pool._serve(protocol.transport, select.EPOLLIN)  # an event too many
    assert len(pooled.pool) == 1
    assert pooled.pool.logPrefix() == "smtpsurvey probes"


def test_an_idle_pool_has_no_timer(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target())
    peer.accept().close()
    pooled.end()
    pooled.reactor.advance(1)
    assert pooled.reactor.getDelayedCalls() == []
    assert pooled.turns >= 2


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("broken probe")


def test_a_probe_that_breaks_on_what_it_reads_is_our_error_and_harms_no_other(
    pooled: Pooled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Peer() as first, Peer() as second:
        monkeypatch.setattr(pooled.probe(first.target()), "dataReceived", broken)
        pooled.probe(second.target())
        for peer in (first, second):
            peer.accept().sendall(GREETING)
        pooled.reactor.run_until(lambda: pooled.seen)
        assert [(seen.target.ip, seen.outcome) for seen in pooled.seen] == [(first.ip, Outcome.LOCAL_ERROR)]
        assert len(pooled.pool) == 1
        assert pooled.reactor.readers == [pooled.pool]
        assert "broken probe" in caplog.text
        pooled.reactor.let_pass(16)
        assert pooled.end(2).outcome is Outcome.OK


def test_a_probe_that_breaks_on_its_time_out_is_our_error_and_harms_no_other(
    pooled: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Peer() as peer:
        probes = [pooled.probe(peer.target()) for _ in range(3)]
        for _ in probes:
            peer.accept()
        monkeypatch.setattr(probes[1], "timedOut", broken)
        pooled.reactor.let_pass(40)
        pooled.end(3)
        assert sorted(seen.outcome for seen in pooled.seen) == [Outcome.LOCAL_ERROR, Outcome.SILENT, Outcome.SILENT]


EXHAUSTION = """
import resource, sys
sys.path.insert(0, "tests")
from doubles.clock import StillReactor
from doubles.peer import Peer
from doubles.probing import make_prober

reactor, seen, peer = StillReactor(), [], Peer()
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
prober = make_prober(reactor, seen.append, concurrency=1000)
prober.consume(iter([peer.target() for _ in range(60)]))
prober.finished().addCallback(lambda _: seen.append(None))
most = 0
while None not in seen:
    reactor.turn(wait=0)
    most = max(most, prober.in_flight)
    if prober.in_flight and not reactor.turn(wait=0):
        for transport in list(prober.pool._transports.values())[:3]:
            transport.loseConnection()
    reactor.advance(0.25)
print(most, sorted({str(o.outcome) for o in seen[:-1]}), len(seen) - 1)
"""


def test_few_descriptors_slow_the_prober_down_and_fail_no_host() -> None:
    done = subprocess.run([sys.executable, "-c", EXHAUSTION], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    most, rest = done.stdout.split(" ", 1)
    assert 5 <= int(most) < 30
    assert rest == "['closed'] 60\n"
    assert done.stderr.count("Out of descriptors") == 1
