"""Without epoll: the reactor's own TCP clients, on real sockets, and whole crawls that end as those with epoll do."""

from __future__ import annotations

import json
import select
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from doubles.clock import LONG, StillReactor
from doubles.crawl import FREE, QUICK, REPOSITORY, items
from doubles.mailer import Mailer
from doubles.peer import Peer, closed_port, fresh_ip, reset
from doubles.probing import make_probe, make_prober
from servers.certificate import make_certificate
from servers.crawl import start_crawl
from servers.responder import sessions, start_responder
from twisted.internet.selectreactor import SelectReactor

from smtpsurvey.items import Target
from smtpsurvey.outcomes import Outcome
from smtpsurvey.probe.pool import ExhaustedError, ProbePool
from smtpsurvey.probe.prober import open_pool
from smtpsurvey.probe.protocol import SmtpProbe, Timeouts
from smtpsurvey.probe.reactor_pool import ReactorPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers.namespace import Namespace
    from servers.network import Network

    from smtpsurvey.items import Observation

GREETING = b"220 mx.test.example ESMTP\r\n"
# What a command line of Python follows as its arguments: [python, -m, scrapy, crawl, …].
NO_EPOLL = (
    sys.executable,
    "-c",
    "import select, sys; del select.epoll; from scrapy.cmdline import execute; execute(['scrapy', *sys.argv[4:]])",
)


class SteppedReactor(SelectReactor):
    """A real reactor, not the installed one, whose time is the test's own."""

    now = 1000.1

    def seconds(self) -> float:
        return self.now

    def turn(self, wait: float = 0) -> None:
        due = any(call.getTime() <= self.now for call in self.getDelayedCalls())
        self.runUntilCurrent()
        self.doIteration(0 if due else wait)

    def run_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + LONG
        while not condition():
            assert time.monotonic() < deadline, "nothing happens"
            self.turn(LONG)

    def let_pass(self, seconds: float, step: float = 0.25) -> None:
        for _ in range(round(seconds / step)):
            self.now += step
            self.turn()
            self.turn()

    def close(self) -> None:
        """Let what was closed go, and nothing else be left."""
        self.run_until(lambda: len(self.getReaders()) == len(self._internalReaders) and not self.getWriters())
        assert self.getDelayedCalls() == []
        for reader in self._internalReaders:
            self.removeReader(reader)
            reader.connectionLost(None)


class Pooled:
    """A pool whose probes leave their observations in ``seen``."""

    def __init__(self, reactor: SteppedReactor) -> None:
        self.reactor = reactor
        self.seen: list[Observation] = []
        self.turns: list[int] = []
        self.pool = ReactorPool(reactor, lambda: self.turns.append(len(self.seen)))  # type: ignore[arg-type]  # a zope interface

    def probe(self, target: Target, timeouts: Timeouts | None = None) -> SmtpProbe:
        protocol = SmtpProbe(target, make_probe(self.reactor, timeouts=timeouts), self.seen.append)  # type: ignore[arg-type]  # for its clock
        self.pool.connect(target.ip, target.port, protocol, protocol.patience)  # type: ignore[arg-type]  # a Twisted protocol
        return protocol

    def end(self) -> Observation:
        """Take turns until there is one observation more, nothing is in flight, and that was told."""
        before = len(self.seen)
        self.reactor.run_until(lambda: len(self.seen) > before and not self.pool)
        self.reactor.run_until(lambda: self.turns and self.turns[-1] == len(self.seen))
        assert len(self.pool.wheel) == 0
        assert len(self.seen) == before + 1
        return self.seen[-1]


@pytest.fixture
def pooled() -> Iterator[Pooled]:
    reactor = SteppedReactor()
    pooled = Pooled(reactor)
    yield pooled
    pooled.pool.shutdown()
    reactor.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


def accept(pooled: Pooled, peer: Peer) -> socket.socket:
    pooled.reactor.turn()  # the SYN goes
    return peer.accept()


def hear(pooled: Pooled, server: socket.socket) -> bytes:
    """Take turns until the probe has said something."""
    pooled.reactor.run_until(lambda: select.select([server], [], [], 0)[0])
    return server.recv(100)


def test_epoll_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = open_pool(StillReactor(), lambda: None)  # type: ignore[arg-type]  # the part of a reactor that is used
    assert isinstance(pool, ProbePool)
    pool.shutdown()
    monkeypatch.delattr(select, "epoll")
    reactor = StillReactor()
    pool = open_pool(reactor, lambda: None)  # type: ignore[arg-type]  # the part of a reactor that is used
    assert isinstance(pool, ReactorPool)
    pool.shutdown()
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize("ip", [None, "::1"])
def test_a_whole_conversation(pooled: Pooled, ip: str | None) -> None:
    with Peer(ip) as peer:
        pooled.probe(peer.target())
        server = accept(pooled, peer)
        server.sendall(GREETING)
        assert hear(pooled, server) == b"EHLO survey.test.example\r\n"
        server.sendall(b"250-mx.test.example\r\n250 SIZE 1000\r\n")
        assert hear(pooled, server) == b"QUIT\r\n"
        pooled.reactor.now += 1
        server.sendall(b"221 Bye\r\n")
        seen = pooled.end()
        assert seen.outcome is Outcome.OK
        assert seen.quit is not None
        assert seen.interrupted is None
        assert seen.duration == 1
        assert server.recv(100) == b""  # an end, and no reset


def test_a_port_where_nobody_listens_is_refused(pooled: Pooled) -> None:
    ip = fresh_ip()
    pooled.probe(Target(ip, closed_port(ip)))
    assert pooled.end().outcome is Outcome.REFUSED


@pytest.mark.parametrize(("end", "outcome"), [(reset, Outcome.RESET), (socket.socket.close, Outcome.CLOSED)])
def test_ends_before_any_byte_and_amid_the_greeting(
    pooled: Pooled, peer: Peer, end: Callable[[socket.socket], None], outcome: Outcome
) -> None:
    pooled.probe(peer.target())
    end(accept(pooled, peer))
    assert pooled.end().outcome is outcome
    protocol = pooled.probe(peer.target())
    server = accept(pooled, peer)
    server.sendall(b"220-wait\r\n")
    pooled.reactor.run_until(lambda: protocol._conversation)
    end(server)
    seen = pooled.end()
    assert seen.outcome is outcome
    assert seen.greeting is not None
    assert seen.greeting.raw == b"220-wait\r\n"


def test_a_silent_server_is_silent_after_the_time_for_the_greeting(pooled: Pooled, peer: Peer) -> None:
    pooled.probe(peer.target(), Timeouts(connect=8, greeting=10))
    server = accept(pooled, peer)
    pooled.reactor.let_pass(10)
    assert pooled.seen == []
    pooled.reactor.let_pass(2.5)
    assert [(o.outcome, 10 <= o.duration <= 12) for o in pooled.seen] == [(Outcome.SILENT, True)]
    assert server.recv(100) == b""


def test_no_answer_to_the_syn_is_timeout(pooled: Pooled) -> None:
    with Peer(backlog=0) as peer, ExitStack() as crowd:
        for _ in range(3):  # the queue is full after these, and the kernel drops further SYNs
            other = crowd.enter_context(socket.socket())
            other.settimeout(0)
            other.connect_ex((peer.ip, peer.port))
        pooled.probe(peer.target(), Timeouts(connect=8))
        pooled.reactor.let_pass(8)
        assert pooled.seen == []
        pooled.reactor.let_pass(0.5)
        assert [o.outcome for o in pooled.seen] == [Outcome.TIMEOUT]
        assert len(pooled.pool) == 0


def test_what_a_server_never_reads_does_not_keep_the_connection(pooled: Pooled, peer: Peer) -> None:
    protocol = pooled.probe(peer.target())
    server = accept(pooled, peer)
    server.sendall(GREETING)
    assert hear(pooled, server).startswith(b"EHLO")
    assert protocol.transport is not None
    protocol.transport.write(b"x" * 50_000_000)
    pooled.reactor.let_pass(15.5, step=0.5)
    assert [str(o.interrupted.reason) for o in pooled.seen if o.interrupted] == ["too_slow"]
    pooled.reactor.let_pass(0.5)
    assert len(pooled.pool) == 0
    with pytest.raises(ConnectionResetError):
        deque(iter(lambda: server.recv(1_000_000), b""), maxlen=0)


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("broken probe")


def test_a_probe_that_breaks_is_our_error_and_harms_no_other(
    pooled: Pooled, peer: Peer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(SmtpProbe, "dataReceived", broken)
    probes = [pooled.probe(peer.target()) for _ in range(3)]
    monkeypatch.setattr(probes[0], "timedOut", broken)
    servers = [accept(pooled, peer) for _ in probes]
    servers[2].sendall(GREETING)
    pooled.reactor.run_until(lambda: pooled.seen)
    pooled.reactor.let_pass(40)
    assert sorted((o.outcome, o.reason) for o in pooled.seen) == [
        (Outcome.LOCAL_ERROR, "0"),
        (Outcome.LOCAL_ERROR, "0"),
        (Outcome.SILENT, None),
    ]
    assert caplog.text.count("RuntimeError: broken probe") == 2
    assert len(pooled.pool) == 0


def test_shutdown_drops_what_is_in_flight_without_a_word(peer: Peer) -> None:
    pooled = Pooled(SteppedReactor())
    protocol = pooled.probe(peer.target())
    server = accept(pooled, peer)
    pooled.reactor.run_until(lambda: protocol.connected)
    pooled.probe(peer.target())  # not begun yet
    pooled.pool.shutdown()
    pooled.reactor.close()
    assert server.recv(100) == b""
    assert len(pooled.pool) == 0
    assert pooled.seen == []
    assert pooled.turns == []


def test_no_descriptor_is_local_and_bounds_what_is_in_flight(
    pooled: Pooled, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled.probe(peer.target())
    accept(pooled, peer)
    with monkeypatch.context() as patch:
        patch.setattr("twisted.internet.tcp.socket.socket", none_left)
        pooled.probe(peer.target())
    pooled.reactor.run_until(lambda: pooled.seen)
    assert [(o.outcome, o.reason) for o in pooled.seen] == [(Outcome.LOCAL_ERROR, "EMFILE")]
    with pytest.raises(ExhaustedError, match="no more than 1 connections"):
        pooled.probe(peer.target())
    pooled.reactor.let_pass(0.25)  # a tick: 3 at most
    pooled.probe(peer.target())
    pooled.probe(peer.target())
    with pytest.raises(ExhaustedError):
        pooled.probe(peer.target())


def none_left(*_: object) -> socket.socket:
    raise OSError(24, "Too many open files")


def test_a_target_that_nothing_was_left_for_is_tried_again(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(select, "epoll")
    reactor, seen = SteppedReactor(), list[Any]()
    prober = make_prober(reactor, seen.append)  # type: ignore[arg-type]  # another reactor
    prober.consume(iter([peer.target(), peer.target()]))
    prober.finished().addCallback(seen.append)
    with monkeypatch.context() as patch:
        patch.setattr("twisted.internet.tcp.socket.socket", none_left)
        reactor.let_pass(20)  # longer than a connection may take
    assert seen == []
    reactor.let_pass(0.5)
    peer.accept().close()
    peer.accept().close()
    reactor.run_until(lambda: len(seen) == 3)
    assert [o.outcome for o in seen[:2]] == [Outcome.CLOSED] * 2
    assert seen[2] is None
    assert caplog.text.count("Out of descriptors or local ports (EMFILE)") == 1
    reactor.let_pass(0.25)  # so that the prober's own wake-up is over
    prober.pool.shutdown()
    reactor.close()


class _Resetting(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        reset(self.request)


@contextmanager
def resetting(ip: str) -> Iterator[int]:
    """Answer every connection with RST; give the port."""
    with socketserver.TCPServer((ip, 0), _Resetting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


@contextmanager
def starttls_server(ip: str, folder: Path) -> Iterator[int]:
    """Run aiosmtpd with a certificate; give the port."""
    made = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    port = closed_port(ip)
    controller = Controller(Sink(), ip, port, tls_context=context, ident="aiosmtpd", server_hostname="mx.test.example")
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def crawl(folder: Path, lines: list[str], wrapper: tuple[str, ...], *more: str) -> dict[str, dict[str, Any]]:
    """Run a whole crawl; give the items by address, without what differs from run to run."""
    targets, feed = folder / "targets.txt", folder / "out.jsonl"
    targets.write_text("".join(f"{line}\n" for line in lines))
    timeouts = json.dumps({"connect": 2, "greeting": 1, "reply": 5, "tls": 5, "total": 15})
    argv = [*wrapper, sys.executable, "-m", "scrapy", "crawl", "smtp", "-a", f"targets={targets}", "-a", "record=all"]
    argv += ["-O", str(feed), *QUICK, *FREE, "-s", f"SMTPSURVEY_TIMEOUTS={timeouts}", *more]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "Unhandled" not in done.stderr, done.stderr
    return {i["ip"]: {k: v for k, v in i.items() if k not in {"time", "duration"}} for i in items(feed)}


def test_a_crawl_without_epoll_finds_what_one_with_it_does(tmp_path: Path) -> None:
    live, refused, silent, resets, tls = (fresh_ip() for _ in range(5))
    with (
        Mailer(ip=live) as mailer,
        Peer(silent) as quiet,
        resetting(resets) as reset_port,
        starttls_server(tls, tmp_path) as tls_port,
    ):
        ports = {
            live: mailer.port,
            silent: quiet.port,
            resets: reset_port,
            tls: tls_port,
            refused: closed_port(refused),
        }
        lines = [f"{ip},mx.test.example,,{port}" for ip, port in ports.items()]
        expected = crawl(tmp_path, lines, ())
        found = crawl(tmp_path, lines, NO_EPOLL)
        asyncio_found = crawl(tmp_path, lines, NO_EPOLL, "-s", "ASYNCIO_EVENT_LOOP=asyncio.SelectorEventLoop")
    assert {ip: item["outcome"] for ip, item in found.items()} == {
        live: "ok",
        refused: "refused",
        silent: "silent",
        resets: "reset",
        tls: "ok",
    }
    assert found[tls]["starttls"] == "ok"
    assert found[tls]["tls"]["version"] == "TLSv1.3"
    assert found == expected
    assert asyncio_found == expected


def test_few_descriptors_find_every_server_without_epoll(tmp_path: Path) -> None:
    with Mailer() as mailer:
        lines = [f"127.79.1.{host},,,{mailer.port}" for host in range(1, 151)]
        found = crawl(tmp_path, lines, ("prlimit", "--nofile=64:64", "--", *NO_EPOLL))
        assert sorted(mailer.came) == sorted(found)
    assert {item["outcome"] for item in found.values()} == {"ok"}
    assert len(found) == 150


def test_few_local_ports_find_every_name_without_epoll(alone: Namespace, tmp_path: Path) -> None:
    responder = start_responder(alone, tmp_path, delay=0.1)
    try:
        alone.sysctl("net.ipv4.ip_local_port_range=20000 20050")
        lines = [f"127.0.1.1,mx{n}.test.example" for n in range(150)]
        run = start_crawl(alone, tmp_path, lines, {"SMTPSURVEY_ALLOW": "127.0.0.0/8"}, wrapper=NO_EPOLL)
        found = run.finish()
    finally:
        responder.stop()
    assert {item["outcome"] for item in found} == {"ok"}
    assert {item["name"] for item in found} == {f"mx{n}.test.example" for n in range(150)}
    assert len(found) == len(sessions(tmp_path)) == 150
    assert "EADDRNOTAVAIL" in run.log.read_text("utf-8")


def test_a_host_without_a_route_and_epoll_blames_itself(alone: Namespace, tmp_path: Path) -> None:
    targets = ["192.0.2.1", "2001:db8::1"]
    settings = {"SMTPSURVEY_ALLOW": "192.0.2.0/24,2001:db8::/32"}
    found = start_crawl(alone, tmp_path, targets, settings, wrapper=NO_EPOLL).finish()
    expected = dict.fromkeys(targets, ("local_error", "ENETUNREACH"))
    assert {item["ip"]: (item["outcome"], item["reason"]) for item in found} == expected


def test_answers_to_a_syn_are_told_apart_without_epoll(network: Network, tmp_path: Path) -> None:
    # Dropped; prohibited, refused by RST and by ICMP, unreachable; behind a router without a route.
    expected = {"10.50.1.1": "ok", "10.51.0.1": "timeout", "10.51.2.1": "unreachable", "10.51.3.1": "refused"}
    expected |= {"10.51.4.1": "refused", "10.51.5.1": "unreachable", "10.52.0.1": "unreachable"}
    expected |= {"fd51:5::1": "unreachable"}
    allow = {"SMTPSURVEY_ALLOW": "10.50.0.0/15,10.52.0.0/16,fd51::/16", "SMTPSURVEY_TIMEOUTS": {"connect": 2.5}}
    found = start_crawl(network.client, tmp_path, expected, allow, wrapper=NO_EPOLL).finish()
    assert {item["ip"]: item["outcome"] for item in found} == expected
