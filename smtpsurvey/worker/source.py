"""Where commands come from: a file, or standard input, which may be a terminal."""

from __future__ import annotations

import logging
import os
from collections import deque
from threading import Thread
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from smtpsurvey.errors import SurveyError
from smtpsurvey.worker.commands import BadCommandError, Command, CommandLines, Word

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase

logger = logging.getLogger(__name__)
BLOCK = 65_536  # bytes
SHOWN = 1000  # bad lines of a file; after that they are only counted


class CommandFile:
    """One file of commands, read as far as it is needed.

    A terminal or pipe gives its commands as they come: each read waits in a thread of its own, which ends with the
    process.
    """

    def __init__(self, path: str, reactor: ReactorBase) -> None:
        """Open the file, ``-`` for standard input; raises :class:`SurveyError`."""
        self.bad = 0
        self._path = path
        self._reactor = reactor
        self._ended = False
        self._commands: deque[Command] = deque()
        self._lines = CommandLines("stdin" if path == "-" else path, self._tell)
        try:
            self._descriptor = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY)
        except OSError as error:
            raise SurveyError(f"{path}: {error.strerror}") from None

    async def next(self) -> Command | None:
        """Give the next command, ``None`` after the last one; must be awaited as a coroutine of Deferreds."""
        while not self._commands and not self._ended:
            try:
                block = await self._read()
            except OSError as error:
                logger.error("%s: %s", self._path, error.strerror)  # noqa: TRY400 - one line says it
                block = b""
            self._ended = not block
            self._commands.extend(self._lines.feed(block) if block else self._lines.finish())
        return self._commands.popleft() if self._commands else None

    async def at_end(self) -> bool:
        """Tell whether nothing is left to do; of standard input nobody knows."""
        if self._path == "-":
            return False
        command = await self.next()
        if command is not None:
            self._commands.appendleft(command)
        return command is None or command.word is Word.END

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _read(self) -> Deferred[bytes]:
        read: Deferred[bytes] = Deferred()

        def wait() -> None:
            try:
                block = os.read(self._descriptor, BLOCK)
            except OSError as error:
                self._reactor.callFromThread(read.errback, error)
            else:
                self._reactor.callFromThread(read.callback, block)

        Thread(target=wait, daemon=True).start()
        return read

    def _tell(self, error: BadCommandError) -> None:
        self.bad += 1
        if self.bad <= SHOWN:
            logger.error("%s", error)
        if self.bad == SHOWN:
            logger.error("%s: further bad lines are only counted", self._path)
