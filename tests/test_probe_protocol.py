"""STARTTLS over the pool: the test plays the server, TLS included, and time is the test's own."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import certifi
import pytest
from doubles.clock import StillReactor
from doubles.peer import Peer, reset
from doubles.probing import make_probe
from servers.certificate import ServerCertificate, make_certificate

from smtpsurvey.probe.pool import ProbePool
from smtpsurvey.probe.protocol import SmtpProbe
from smtpsurvey.smtp.certificate import Examiner
from smtpsurvey.smtp.tls import TlsClient

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from smtpsurvey.items import Observation

OFFER = b"250-mx.test.example\r\n250 STARTTLS\r\n"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def client() -> TlsClient:
    return TlsClient(Examiner(certifi.where()), 65536)


class Server:
    """The server's side of one probe, that has said 220 to STARTTLS."""

    def __init__(self, reactor: StillReactor, connection: socket.socket, shown: ServerCertificate) -> None:
        self.reactor = reactor
        self.connection = connection
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown.certificate, shown.key)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def say(self, line: bytes, answer: bytes) -> None:
        """Say a plain line, and expect an answer."""
        self.connection.sendall(line)
        self.reactor.turn()
        assert self.connection.recv(1000).startswith(answer)

    def shake_hands(self) -> None:
        while True:
            self._incoming.write(self.connection.recv(20_000))
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
            else:
                break
        self._flush()

    def say_in_tls(self, line: bytes) -> None:
        self._tls.write(line)
        self._flush()

    def hear_in_tls(self) -> bytes:
        while True:
            try:
                return self._tls.read(1000)
            except ssl.SSLWantReadError:
                self._incoming.write(self.connection.recv(20_000))

    def end_tls(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self.connection.sendall(data)
            self.reactor.turn()


class Session:
    def __init__(self, client: TlsClient, shown: ServerCertificate) -> None:
        self.reactor = StillReactor()
        self.seen: list[Observation] = []
        self.peer = Peer()
        self.pool = ProbePool(self.reactor, lambda: None)  # type: ignore[arg-type]  # the part of a reactor that is used
        target = self.peer.target(name="mx.test.example")
        protocol = SmtpProbe(target, make_probe(self.reactor, tls=client), self.seen.append)
        self.pool.connect(target.ip, target.port, protocol, protocol.patience)  # type: ignore[arg-type]  # a Twisted protocol
        self.server = Server(self.reactor, self.peer.accept(), shown)
        self.server.say(b"220 mx\r\n", b"EHLO")
        self.server.say(OFFER, b"STARTTLS")

    def end(self) -> Observation:
        self.reactor.run_until(lambda: self.seen)
        assert len(self.seen) == 1
        assert len(self.pool) == len(self.pool.wheel) == 0
        return self.seen[0]


@pytest.fixture
def session(client: TlsClient, shown: ServerCertificate) -> Iterator[Session]:
    session = Session(client, shown)
    yield session
    session.pool.shutdown()
    session.peer.__exit__(None, None, None)


def test_ehlo_and_quit_are_said_again_inside(session: Session, shown: ServerCertificate) -> None:
    server = session.server
    server.connection.sendall(b"220 go\r\n")
    session.reactor.turn()
    server.shake_hands()
    assert server.hear_in_tls() == b"EHLO survey.test.example\r\n"
    server.say_in_tls(b"250-mx\r\n250 HELP\r\n")
    assert server.hear_in_tls() == b"QUIT\r\n"
    server.say_in_tls(b"221 bye\r\n")
    seen = session.end()
    assert (seen.outcome, seen.starttls, seen.interrupted) == ("ok", "ok", None)
    assert seen.tls is not None
    assert seen.tls.version == "TLSv1.3"
    assert seen.tls.hashes == (shown.sha256,)
    assert (seen.tls.trusted, seen.tls.matches_name) == (False, True)
    assert seen.tls_ehlo is not None
    assert seen.quit is not None


def test_plain_bytes_before_the_handshake_are_kept_apart(session: Session) -> None:
    session.server.connection.sendall(b"220 go\r\n250 injected\r\n")
    session.reactor.turn()
    session.server.shake_hands()
    assert session.server.hear_in_tls().startswith(b"EHLO")
    session.server.connection.close()
    seen = session.end()
    assert seen.tls is not None
    assert seen.tls.stray_plaintext == b"250 injected\r\n"
    assert seen.interrupted is not None
    assert (seen.interrupted.stage, seen.interrupted.reason) == ("ehlo_tls", "closed")


def garbage(session: Session) -> None:
    session.server.connection.sendall(b"\x16\x03\x01\x00\x04nope" + b"x" * 100)


def close(session: Session) -> None:
    session.server.connection.recv(5000)
    session.server.connection.close()


def rst(session: Session) -> None:
    reset(session.server.connection)


def stall(session: Session) -> None:
    session.reactor.let_pass(15.5)


def plain_for_ever(session: Session) -> None:
    session.server.connection.setblocking(True)  # noqa: FBT003 - the standard library's signature
    for _ in range(5):
        session.server.connection.sendall(b"250 and so on\r\n" * 1000)
        session.reactor.turn()


@pytest.mark.parametrize(
    ("act", "error"),
    [(garbage, None), (close, "closed"), (rst, "reset"), (stall, "timeout"), (plain_for_ever, "oversize")],
)
def test_a_handshake_that_fails_keeps_greeting_and_ehlo(
    session: Session, act: Callable[[Session], None], error: str | None
) -> None:
    session.server.connection.sendall(b"220 go\r\n")
    session.reactor.turn()
    act(session)
    seen = session.end()
    assert (seen.outcome, seen.starttls) == ("ok", "failed")
    assert seen.greeting is not None
    assert seen.ehlo is not None
    assert seen.starttls_reply is not None
    assert seen.tls is not None
    assert seen.tls.error == error if error else seen.tls.error is not None


@pytest.mark.parametrize("how", ["close_notify", "garbage", "reset", "silence", "no smtp"])
def test_trouble_inside_is_an_interruption_and_starttls_was_ok(session: Session, how: str) -> None:
    server = session.server
    server.connection.sendall(b"220 go\r\n")
    session.reactor.turn()
    server.shake_hands()
    assert server.hear_in_tls().startswith(b"EHLO")
    if how == "close_notify":
        server.end_tls()
    elif how == "garbage":
        server.connection.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    elif how == "reset":
        reset(server.connection)
    elif how == "silence":
        session.reactor.let_pass(15.5)
    else:
        server.say_in_tls(b"HTTP/1.1 400 Bad Request\r\n")
    seen = session.end()
    assert (seen.outcome, seen.starttls) == ("ok", "ok")
    assert seen.tls is not None
    assert seen.tls.version == "TLSv1.3"
    assert seen.interrupted is not None
    assert seen.interrupted.stage == "ehlo_tls"
