"""Executes command files: in order, look-ups and probes side by side."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from twisted.internet.defer import CancelledError, Deferred

from smtpsurvey.admission import Exclude
from smtpsurvey.errors import SurveyError
from smtpsurvey.worker.commands import Command, Word
from smtpsurvey.worker.source import CommandFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from twisted.internet.base import ReactorBase

    Handler = Callable[[Command], Awaitable[Path | None]]

T = TypeVar("T")
logger = logging.getLogger(__name__)
MOST = 4096  # commands in flight
DEPTH = 16  # files that fetch one another, each with something left to do
RETRY = 0.25  # seconds until another look whether something new may be begun
_FOREGROUND = frozenset((Word.COMMAND_FETCH, Word.SERVICE_THREAD, Word.HEARTBEAT_THREAD, Word.LOG))


class Executor:
    """Runs commands with ``handlers``; what one of them raises is told, and the rest goes on.

    ``hold()`` says whether to begin nothing new at the moment (paused, or the store lags).
    """

    def __init__(self, reactor: ReactorBase, handlers: Mapping[Word, Handler], hold: Callable[[], bool]) -> None:
        """Be ready for :meth:`run`."""
        self.running: Command | None = None
        self.in_flight = 0
        self.errors = 0
        self.done: Counter[str] = Counter()
        self.started = time.monotonic()
        self._reactor = reactor
        self._handlers = handlers
        self._hold = hold
        self._stopped = False
        self._waiting: Deferred[Any] | None = None  # what the next command waits for
        self._freed: list[Deferred[None]] = []

    async def run(self, paths: Sequence[str]) -> None:
        """Execute the files in this order, and wait for everything; raises :class:`SurveyError` if one is missing."""
        files = [CommandFile(path, self._reactor) for path in paths]
        for file in files:
            await self._run(file)
        await self._idle()
        self.running = None

    async def stop(self) -> None:
        """Begin nothing new."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def end(self) -> None:
        """Wait for what is in flight."""
        while self.in_flight:
            await maybe_deferred_to_future(self._one_done())

    async def _run(self, file: CommandFile) -> None:
        """Execute a file; one that it fetches comes at once, and then its own rest."""
        files = [file]
        while files:
            current = files[-1]
            command = None if self._stopped else await self._wait(Deferred.fromCoroutine(current.next()))
            if command is None or command.word is Word.END:
                self.running = command
                await self._idle()
                files.pop().close()
                continue
            self.running = command
            path = await self._execute(command)
            if path is None or self._stopped:
                continue
            if await self._wait(Deferred.fromCoroutine(current.at_end())):
                files.pop().close()  # so that a file may end with fetching the next one for ever
            if len(files) == DEPTH:
                self._fail(command, f"{DEPTH} files fetched one another; this one is not executed")
            else:
                files.append(CommandFile(str(path), self._reactor))

    async def _execute(self, command: Command) -> Path | None:
        """Begin a command, and wait for those that others depend on."""
        while not self._stopped and (self.in_flight >= MOST or self._hold()):
            await self._wait(self._one_done() if self.in_flight >= MOST else self._sleep(RETRY))
        if self._stopped:
            return None
        match command.word:
            case Word.START:
                logger.info("%s: start", command.file)
            case Word.SLEEP:
                await self._idle()
                if not self._stopped:
                    await self._wait(self._sleep(command.arguments[0]))
            case word if word in _FOREGROUND:
                return await self._wait(deferred_from_coro(self._attempt(command)))
            case _:
                deferred_from_coro(self._attempt(command))
                return None
        self.done[command.word] += 1
        return None

    async def _attempt(self, command: Command) -> Path | None:
        self.in_flight += 1
        try:
            return await self._handlers[command.word](command)
        except Exclude as excluded:
            self._fail(command, f"excluded ({excluded.reason})")
        except (SurveyError, OSError) as error:
            self._fail(command, str(error))
        except CancelledError:
            pass
        except Exception:
            self.errors += 1
            logger.exception("%s: %s", command.place, command)
        finally:
            self.in_flight -= 1
            self.done[command.word] += 1
            freed, self._freed = self._freed, []
            for each in freed:
                each.callback(None)
        return None

    def _fail(self, command: Command, reason: str) -> None:
        self.errors += 1
        logger.error("%s: %s: %s", command.place, command.word, reason)

    async def _idle(self) -> None:
        while self.in_flight and not self._stopped:
            await self._wait(self._one_done())

    def _one_done(self) -> Deferred[None]:
        done: Deferred[None] = Deferred(self._freed.remove)
        self._freed.append(done)
        return done

    def _sleep(self, seconds: float) -> Deferred[None]:
        done: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._reactor.callLater(seconds, done.callback, None)
        return done

    async def _wait(self, waiting: Deferred[T]) -> T | None:
        """Wait, but not longer than until :meth:`stop`."""
        self._waiting = waiting
        try:
            return await maybe_deferred_to_future(waiting)
        except CancelledError:
            return None
        finally:
            self._waiting = None
