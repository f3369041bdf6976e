"""The control socket, with a scamper that the test plays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from smtpsurvey.errors import SurveyError
from smtpsurvey.routes.attachment import TRACE_TIME, Attachment, TraceError
from smtpsurvey.routes.trace import Method

if TYPE_CHECKING:
    from smtpsurvey.routes.trace import Trace


class Scamper:
    """The other end: :meth:`says` something, and :meth:`asked` gives the lines that came since."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.attachment = Attachment(self.clock, lambda: "scamper has ended: of old age")
        self.attachment.makeConnection(self.transport)

    def says(self, *parts: bytes) -> None:
        for part in parts:
            self.attachment.dataReceived(part)

    def asked(self) -> list[str]:
        lines = self.transport.value().decode().splitlines()
        self.transport.clear()
        return lines

    def trace(self, address: str) -> tuple[Deferred[Trace], list[Any]]:
        ends: list[Any] = []
        deferred = self.attachment.trace(address, Method.ICMP)
        deferred.addCallbacks(ends.append, lambda failure: ends.append(failure.value))
        return deferred, ends


@pytest.fixture
def scamper() -> Scamper:
    made = Scamper()
    assert made.asked() == ["attach format json"]
    made.says(b"OK\nMORE\n")
    assert made.attachment.ready.called
    return made


def record(number: int) -> bytes:
    data = b'{"type":"trace", "userid":%d, "stop_reason":"COMPLETED", "hops":[]}\n' % number
    return b"DATA %d\n%b" % (len(data), data)


def test_a_command_goes_for_each_more_and_results_come_in_any_order(scamper: Scamper) -> None:
    (_, first), (_, second) = scamper.trace("192.0.2.1"), scamper.trace("192.0.2.2")
    assert [line.split()[-2:] for line in scamper.asked()] == [["1", "192.0.2.1"]]
    scamper.says(b"OK id-1\nMORE\n")
    assert [line.split()[-2:] for line in scamper.asked()] == [["2", "192.0.2.2"]]
    both = record(2) + record(1)
    scamper.says(b"OK id-2\n", *(both[at : at + 1] for at in range(len(both))))
    assert [trace.number for trace in (*first, *second)] == [1, 2]
    assert scamper.clock.getDelayedCalls() == []


def test_a_refusal_fails_that_trace_alone_and_leaves_room_for_the_next(scamper: Scamper) -> None:
    (_, first), (_, second) = scamper.trace("2001:db8::1"), scamper.trace("192.0.2.2")
    scamper.says(b"ERR command not accepted\n", record(2))
    assert isinstance(first[0], TraceError)
    assert second[0].number == 2


def test_a_trace_that_does_not_end_fails_in_time(scamper: Scamper) -> None:
    _, ends = scamper.trace("192.0.2.1")
    scamper.clock.advance(TRACE_TIME - 1)
    assert ends == []
    scamper.clock.advance(1)
    assert str(ends[0]) == "192.0.2.1: no end of the trace within 180 seconds"
    scamper.says(record(1))  # too late: nobody waits any more


def test_what_waits_can_be_taken_back_and_what_is_sent_goes_on(scamper: Scamper) -> None:
    (_, first), (_, second) = scamper.trace("192.0.2.1"), scamper.trace("192.0.2.2")
    scamper.attachment.cancel_waiting()
    assert isinstance(second[0], CancelledError)
    scamper.says(b"MORE\n", record(1))
    assert first[0].number == 1
    assert len(scamper.asked()) == 1


def test_who_gives_up_leaves_nothing_behind(scamper: Scamper) -> None:
    deferred, ends = scamper.trace("192.0.2.1")
    deferred.cancel()
    assert isinstance(ends[0], CancelledError)
    assert scamper.clock.getDelayedCalls() == []
    scamper.says(record(1))


@pytest.mark.parametrize(
    "said",
    [b"HELLO\n", b"DATA x\n", b"DATA 99999999\n", b"DATA 3\nabc", b"x" * 100_000, b"OK\nOK\n"],
    ids=["word", "no number", "too much", "no record", "no line", "too many answers"],
)
def test_what_makes_no_sense_ends_it_with_one_line(scamper: Scamper, said: bytes) -> None:
    _, ends = scamper.trace("192.0.2.1")
    scamper.says(said)
    assert isinstance(ends[0], SurveyError)
    assert str(ends[0]).startswith("what scamper says cannot be read: ")
    assert scamper.transport.disconnecting
    assert scamper.clock.getDelayedCalls() == []


def test_when_scamper_ends_everything_fails_also_what_comes_later(scamper: Scamper) -> None:
    _, before = scamper.trace("192.0.2.1")
    scamper.attachment.connectionLost()
    _, after = scamper.trace("192.0.2.2")
    assert [str(error) for error in (*before, *after)] == ["scamper has ended: of old age"] * 2
    assert isinstance(before[0], SurveyError)


def test_a_scamper_that_does_not_know_json_is_refused() -> None:
    scamper = Scamper()
    failures: list[Any] = []
    scamper.attachment.ready.addErrback(failures.append)
    scamper.says(b"ERR\n")
    assert "has to be of 2021 or later" in str(failures[0].value)
