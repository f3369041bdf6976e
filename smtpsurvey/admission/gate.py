"""The gate before the sockets: every target passes the ``admit`` hooks of the pipelines, in order.

A hook returns at once (``None``), returns an awaitable that has to be waited for, or raises
:class:`~smtpsurvey.admission.Exclude`. There is no other way to the prober.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.utils.defer import deferred_from_coro, ensure_awaitable
from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from smtpsurvey.items import Target

    Hook = Callable[[Target], Awaitable[Any] | None]


class Gate:
    """The hooks, asked in the order of the pipelines they belong to."""

    def __init__(self, hooks: Iterable[Hook]) -> None:
        """Ask these."""
        self._hooks = tuple(hooks)

    def admit(self, target: Target) -> Deferred[None] | None:
        """Return ``None`` when the target may go now, or a Deferred that fires when it may.

        Raises ``Exclude``, here or through the Deferred.
        """
        for place, hook in enumerate(self._hooks, 1):
            waiting = hook(target)
            if waiting is not None:
                if place == len(self._hooks) and isinstance(waiting, Deferred):
                    return waiting
                return deferred_from_coro(self._wait(waiting, target, place))
        return None

    async def _wait(self, waiting: Awaitable[Any], target: Target, place: int) -> None:
        await ensure_awaitable(waiting)
        for hook in self._hooks[place:]:
            waiting_too = hook(target)
            if waiting_too is not None:
                await ensure_awaitable(waiting_too)
