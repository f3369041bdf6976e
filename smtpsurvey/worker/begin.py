"""What has to begin once, before the first that needs it, and may fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from collections.abc import Callable


class Beginning:
    """Calls ``begin()`` for the first that waits; all others wait for the same.

    When that raises :class:`SurveyError`, all who wait get it, and the next one to come tries again.
    """

    def __init__(self, begin: Callable[[], Deferred[None]]) -> None:
        """Begin when somebody waits."""
        self.done = False
        self._begin = begin
        self._waiting: list[Deferred[None]] | None = None

    async def wait(self) -> None:
        """Return when it has begun."""
        if self.done:
            return
        if self._waiting is not None:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await maybe_deferred_to_future(waiter)
            return
        waiting = self._waiting = list[Deferred[None]]()
        try:
            await maybe_deferred_to_future(self._begin())
        except SurveyError as error:
            for each in waiting:
                each.errback(SurveyError(str(error)))
            raise
        finally:
            self._waiting = None
        self.done = True
        for each in waiting:
            each.callback(None)
