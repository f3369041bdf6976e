"""A timer wheel: thousands of time-outs for the price of one ``callLater``.

Setting and cancelling cost a set operation. A timer fires within one tick after its deadline.
"""

from __future__ import annotations

from typing import Protocol

TICK = 0.25  # seconds


class Timer(Protocol):
    """Whatever can time out. ``slot`` belongs to the wheel; ``None`` while no timer is set."""

    deadline: float
    slot: int | None


class TimerWheel:
    """Buckets of timers by tick; times are in seconds of whatever clock the caller passes."""

    __slots__ = ("_buckets", "_last")

    def __init__(self, now: float) -> None:
        """Begin at this time."""
        self._buckets: dict[int, set[Timer]] = {}
        self._last = int(now / TICK)

    def __len__(self) -> int:
        """How many timers are set."""
        return sum(map(len, self._buckets.values()))

    def set(self, timer: Timer, deadline: float) -> None:
        """Let the timer fire at the deadline, instead of whenever it was to."""
        timer.deadline = deadline
        slot = int(deadline / TICK) + 1
        if slot <= self._last:
            slot = self._last + 1
        if timer.slot == slot:
            return
        if timer.slot is not None:
            self.cancel(timer)
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = set()
        bucket.add(timer)
        timer.slot = slot

    def cancel(self, timer: Timer) -> None:
        """Forget the timer, if it is set."""
        if timer.slot is not None:
            bucket = self._buckets[timer.slot]
            bucket.discard(timer)
            if not bucket:
                del self._buckets[timer.slot]
            timer.slot = None

    def advance(self, now: float) -> list[Timer]:
        """Give the timers that are due, each unset."""
        last = int(now / TICK)
        due: list[Timer] = []
        if last - self._last > len(self._buckets):
            slots = sorted(slot for slot in self._buckets if slot <= last)
        else:
            slots = [slot for slot in range(self._last + 1, last + 1) if slot in self._buckets]
        for slot in slots:
            due.extend(self._buckets.pop(slot))
        for timer in due:
            timer.slot = None
        self._last = max(last, self._last)
        return due
