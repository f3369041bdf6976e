"""The control socket of scamper, attached (scamper(1), sc_attach(1)).

We send ``attach format json``, then one command for each ``MORE``: with that scamper says that it has packets to
spare at its rate, so what it has not asked for waits here and may still be taken back. ``DATA n`` comes before ``n``
bytes, a record; ``OK`` and ``ERR`` answer commands in their order.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.protocols.basic import LineReceiver

from smtpsurvey.errors import SurveyError
from smtpsurvey.routes.trace import Trace, read_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.base import DelayedCall, ReactorBase
    from twisted.python.failure import Failure

    from smtpsurvey.routes.trace import Method

MAX_RECORD = 1 << 20  # bytes; a trace of 40 hops takes 12,000
TRACE_TIME = 180.0  # seconds that scamper may take for one trace, twice what its own limits add up to at most
_MAX_NUMBER = 2**31


class TraceError(Exception):
    """One route could not be measured."""


class Attachment(LineReceiver):
    """Sends traces to scamper and gives their results."""

    delimiter = b"\n"

    def __init__(self, reactor: ReactorBase, lost: Callable[[], str]) -> None:
        """Be ready to be connected; ``lost()`` says why, when the connection is lost."""
        self.ready: Deferred[None] = Deferred()
        self._reactor = reactor
        self._lost = lost
        self._failure: SurveyError | None = None
        self._credit = 0
        self._number = 0
        self._waiting: dict[int, tuple[str, Method]] = {}
        self._unanswered: deque[int] = deque()
        self._results: dict[int, Deferred[Trace]] = {}
        self._timers: dict[int, DelayedCall] = {}
        self._left = 0
        self._record: list[bytes] = []

    def trace(self, address: str, method: Method) -> Deferred[Trace]:
        """Trace the route; fails with :class:`TraceError`, or :class:`SurveyError` when scamper has ended."""
        self._number = number = self._number % _MAX_NUMBER + 1
        result: Deferred[Trace] = Deferred(lambda _: self._drop(number))
        if self._failure is not None:
            result.errback(self._failure)
            return result
        self._results[number] = result
        self._waiting[number] = (address, method)
        self._send()
        return result

    def cancel_waiting(self) -> None:
        """Take back what scamper has not asked for yet."""
        for number in list(self._waiting):
            self._results[number].cancel()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Attach."""
        self.sendLine(b"attach format json")  # type: ignore[no-untyped-call]  # Twisted has no hints there
        self._unanswered.append(0)

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take an answer."""
        word, _, rest = line.partition(b" ")
        # As text: no bytes in this code are a command of SMTP's that is never sent, and a test holds that.
        if str(word, "ascii", "replace") == "DATA" and rest.isdigit() and int(rest) <= MAX_RECORD:
            self._left = int(rest)
            self.setRawMode()  # type: ignore[no-untyped-call]  # Twisted has no hints there
        elif word == b"MORE":
            self._credit += 1
            self._send()
        elif word in {b"OK", b"ERR"} and self._unanswered:
            self._answered(self._unanswered.popleft(), accepted=word == b"OK")
        elif line:
            self._lose(f"what scamper says cannot be read: {line[:60]!r}")

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take a part of a record."""
        self._record.append(data[: self._left])
        rest = data[self._left :]
        self._left -= len(self._record[-1])
        if self._left:
            return
        record, self._record = b"".join(self._record), []
        try:
            trace = read_trace(record)
        except ValueError as error:
            self._lose(f"what scamper says cannot be read: {error}")
            return
        if trace is not None and (result := self._take(trace.number)) is not None:
            result.callback(trace)
        self.setLineMode(rest)  # type: ignore[no-untyped-call]  # Twisted has no hints there

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Give up: these are not scamper's lines."""
        self._lose(f"what scamper says cannot be read: {line[:60]!r}")

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002, N802 - Twisted's name and arguments
        """Fail what is in flight, and what comes."""
        self._fail(self._lost())

    def _lose(self, why: str) -> None:
        self._fail(why)
        if self.transport is not None:
            self.transport.loseConnection()  # type: ignore[misc]  # zope's interfaces have no self

    def _fail(self, why: str) -> None:
        if self._failure is None:
            self._failure = SurveyError(why)
        for number in list(self._results):
            result = self._take(number)
            if result is not None:
                result.errback(self._failure)
        if not self.ready.called:
            self.ready.errback(self._failure)

    def _send(self) -> None:
        while self._credit and self._waiting:
            number = next(iter(self._waiting))
            address, method = self._waiting.pop(number)
            self._credit -= 1
            self.sendLine(method.command(address, number).encode("ascii"))  # type: ignore[no-untyped-call]  # Twisted has no hints there
            self._unanswered.append(number)
            late = TraceError(f"{address}: no end of the trace within {TRACE_TIME:g} seconds")
            self._timers[number] = self._reactor.callLater(TRACE_TIME, self._give_up, number, late)

    def _answered(self, number: int, *, accepted: bool) -> None:
        if number == 0:
            if accepted:
                self.ready.callback(None)
            else:
                self._lose("scamper does not know `attach format json`: it has to be of 2021 or later")
        elif not accepted:
            self._credit += 1
            self._give_up(number, TraceError("scamper refuses to trace this address: there is no route to it"))
            self._send()

    def _give_up(self, number: int, error: TraceError) -> None:
        result = self._take(number)
        if result is not None:
            result.errback(error)

    def _take(self, number: int) -> Deferred[Trace] | None:
        self._waiting.pop(number, None)
        timer = self._timers.pop(number, None)
        if timer is not None and timer.active():
            timer.cancel()
        return self._results.pop(number, None)

    def _drop(self, number: int) -> None:
        self._take(number)
