"""UDP sockets: what the kernel refuses, and datagrams that cannot be dealt with."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest
from doubles.clock import StillReactor

from smtpsurvey.dns.servers import Address
from smtpsurvey.dns.udp import TURN, UdpSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

Taken = list[tuple[bytes, str, int]]


class Refusing:
    """A socket that cannot send."""

    def __init__(self, code: int) -> None:
        self.code = code

    def sendto(self, *_: object) -> int:
        raise OSError(self.code, "no")


@pytest.fixture
def taken() -> Taken:
    return []


@pytest.fixture
def opened(taken: Taken) -> Iterator[UdpSocket]:
    def received(_: UdpSocket, data: bytes, host: str, port: int) -> None:
        if data == b"bad":
            raise RuntimeError("a mistake")
        taken.append((data, host, port))

    reactor: Any = StillReactor()
    opened = UdpSocket(reactor, socket.AF_INET, received)
    yield opened
    opened.close()
    assert reactor.readers == []


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN])
def test_no_room_for_a_datagram_is_for_now(opened: UdpSocket, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(opened, "_socket", Refusing(code))
        with pytest.raises(BlockingIOError):
            opened.send(b"", Address("192.0.2.1", 53))


def test_other_trouble_is_the_servers(opened: UdpSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(opened, "_socket", Refusing(errno.ENETUNREACH))
        with pytest.raises(OSError, match="no") as caught:
            opened.send(b"", Address("192.0.2.1", 53))
    assert not isinstance(caught.value, BlockingIOError)


def test_a_mistake_with_one_datagram_harms_no_other(
    opened: UdpSocket, taken: Taken, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        own = opened._socket.getsockname()[1]
        for data in (b"one", b"bad", b"", b"two"):
            peer.sendto(data, ("127.0.0.1", own))
        opened.doRead()
        assert taken == [(data, *peer.getsockname()) for data in (b"one", b"", b"two")]
    assert "a datagram of 127.0.0.1 could not be dealt with" in caplog.text


def test_a_turn_is_bounded(opened: UdpSocket, taken: Taken) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for number in range(TURN + 5):
            peer.sendto(b"%d" % number, ("127.0.0.1", opened._socket.getsockname()[1]))
        opened.doRead()
        assert len(taken) == TURN
        opened.doRead()
        assert len(taken) == TURN + 5
