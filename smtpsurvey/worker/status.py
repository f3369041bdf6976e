"""SERVICE-THREAD and HEARTBEAT-THREAD: what the worker does at the moment, for whoever asks, and now and then."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall

from smtpsurvey.errors import SurveyError
from smtpsurvey.kinds import HeartbeatItem
from smtpsurvey.worker.results import line_of, now

if TYPE_CHECKING:
    from smtpsurvey.worker.commands import Command
    from smtpsurvey.worker.executor import Executor
    from smtpsurvey.worker.results import Results

logger = logging.getLogger(__name__)


class Status:
    """Tells how an executor does."""

    def __init__(self, reactor: Any, executor: Executor, results: Results, address: str) -> None:
        """Listen on ``address`` when a command says so."""
        self._reactor = reactor
        self._executor = executor
        self._results = results
        self._address = address
        self._ports: list[Any] = []
        self._beats: list[LoopingCall] = []

    async def serve(self, command: Command) -> None:
        """SERVICE-THREAD: answer every connection to the port with :meth:`text`, and close it."""
        try:
            port = self._reactor.listenTCP(command.arguments[0], _Answers(self), interface=self._address)
        except CannotListenError as error:
            raise SurveyError(f"{self._address}:{error.port}: {error.socketError}") from None
        self._ports.append(port)
        where = port.getHost()
        logger.info("%s: status on %s:%d", command.place, where.host, where.port)

    async def beat(self, command: Command) -> None:
        """HEARTBEAT-THREAD: give a sign of life, now and regularly."""
        call = LoopingCall(self._beat, command)
        self._beats.append(call)
        call.start(command.arguments[0])

    async def end(self) -> None:
        """Stop both."""
        for call in self._beats:
            if call.running:
                call.stop()
        for port in self._ports:
            await maybe_deferred_to_future(maybeDeferred(port.stopListening))

    def text(self) -> str:
        """Write the state, one fact a line."""
        executor = self._executor
        done, seconds = executor.done.total(), time.monotonic() - executor.started
        facts = {
            "survey": self._results.survey,
            "running": self._running() or "-",
            "in flight": f"{executor.in_flight:,}",
            "done": f"{done:,}",
            "errors": f"{executor.errors:,}",
            "rate": f"{done / seconds if seconds else 0:.1f}/s",
            "uptime": f"{seconds:.0f} s",
            "memory": f"{memory() / 1e6:,.1f} MB",
            **{word: f"{count:,}" for word, count in sorted(executor.done.items())},
        }
        return "".join(f"{name}: {value}\n" for name, value in facts.items())

    def _running(self) -> str | None:
        command = self._executor.running
        return None if command is None else f"{command} ({command.place})"

    def _beat(self, command: Command) -> None:
        executor, running = self._executor, self._running()
        done = executor.done.total()
        logger.info("alive: %s, %d done, %d in flight, %.1f MB", running, done, executor.in_flight, memory() / 1e6)
        self._results.submit(
            HeartbeatItem(self._results.survey, now(), running, done, executor.in_flight, memory(), line_of(command))
        )


class _Answers(Factory):
    def __init__(self, status: Status) -> None:
        self._status = status
        self.noisy = False

    def buildProtocol(self, addr: object) -> Protocol:  # noqa: N802 - Twisted's name
        del addr
        return _Answer(self._status)


class _Answer(Protocol):
    def __init__(self, status: Status) -> None:
        self._status = status

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        transport: Any = self.transport
        transport.write(self._status.text().encode("utf-8", "backslashreplace"))
        transport.loseConnection()


def memory() -> int:
    """Give the bytes of memory that this process has now; where the system does not tell, the most it ever had."""
    with suppress(OSError):
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
