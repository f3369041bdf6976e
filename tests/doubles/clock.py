"""A reactor for tests: a clock that stands still until it is moved, and a list of the readers."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from twisted.internet.task import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 10.0  # real seconds to wait for the kernel before a test has failed


class StillReactor(Clock):
    """Timers run when :meth:`advance` is called; descriptors are served by :meth:`turn`."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1000.1
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:  # noqa: N802 - Twisted's name
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:  # noqa: N802 - Twisted's name
        self.readers.remove(reader)

    def turn(self, *, wait: float = LONG) -> bool:
        """Run the timers that are due and serve the descriptors once one is ready; tell whether one was."""
        self.advance(0)
        ready, _, _ = select.select(self.readers, [], [], wait)
        for reader in ready:
            reader.doRead()
        return bool(ready)

    def run_until(self, condition: Callable[[], object]) -> None:
        """Take turns until the condition holds; time stands still."""
        while not condition():
            due = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
            assert self.turn(wait=0 if due else LONG) or due, "nothing happens"

    def let_pass(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass in steps, serving what is ready."""
        for _ in range(round(seconds / step)):
            self.advance(step)
            self.turn(wait=0)
