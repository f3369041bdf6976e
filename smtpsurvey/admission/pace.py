"""When a target may be contacted: token buckets for the whole survey, each network and each AS.

Each bucket is the generic cell rate algorithm (ITU-T I.371, the "virtual scheduling" form): one
number, the time from which the next token is there. Over any time of ``t`` seconds a bucket
releases at most ``burst + rate * t`` targets, with ``burst = 1 + rate * SLACK``. SLACK is as late
as a timer may be without loss of throughput; it is short, so that a slow bucket releases one
target at a time, evenly spaced. From its token to its packet a target may take as long again, so
that a network sees ``1 + rate * 2 * SLACK`` at a time, at most.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from math import inf
from socket import AF_INET6, inet_pton
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

SLACK = 0.05  # seconds
FORGET_ABOVE = 4096  # buckets kept before full ones are looked for

EVERYONE = "everyone"  # the key of the one bucket that counts all targets

T = TypeVar("T")


class _Waiting(NamedTuple, Generic[T]):
    """A target that waits: what it is counted by at each level (``None``: not counted), and its handle."""

    prefix: Hashable
    asn: Hashable
    everyone: Hashable
    handle: T


class _Level(Generic[T]):
    """The buckets of one level, and the targets that wait for them in order of arrival.

    ``heads`` holds the first that waits for a bucket, ``behind`` the others, if there are any.
    A bucket that is full is as good as one that is absent, and is forgotten.
    """

    __slots__ = ("behind", "due", "forget_above", "heads", "interval")

    def __init__(self, rate: float) -> None:
        self.interval = 1 / rate
        self.due: dict[Hashable, float] = {}
        self.heads: dict[Hashable, _Waiting[T]] = {}
        self.behind: dict[Hashable, deque[_Waiting[T]]] = {}
        self.forget_above = FORGET_ABOVE

    def is_free(self, key: Hashable, now: float) -> bool:
        """Say whether a token is there and nobody waits for it."""
        return self.due.get(key, -inf) <= now and key not in self.heads

    def take(self, key: Hashable, now: float) -> float:
        """Take the token that is there; return when the next one will be."""
        due = self.due[key] = max(self.due.get(key, -inf), now - SLACK) + self.interval
        if len(self.due) > self.forget_above:
            self.due = {key: due for key, due in self.due.items() if due > now - SLACK}
            self.forget_above = max(FORGET_ABOVE, 2 * len(self.due))
        return due

    def join(self, key: Hashable, waiting: _Waiting[T]) -> bool:
        """Queue up for the bucket; say whether that is at the head."""
        if key not in self.heads:
            self.heads[key] = waiting
            return True
        self.behind.setdefault(key, deque()).append(waiting)
        return False

    def leave(self, key: Hashable) -> _Waiting[T] | None:
        """Take the head off the queue; return the new one."""
        queue = self.behind.get(key)
        if queue is None:
            del self.heads[key]
            return None
        head = self.heads[key] = queue.popleft()
        if not queue:
            del self.behind[key]
        return head


class Pacer(Generic[T]):
    """Lets targets go at three rates at once, and keeps those whose time has not come.

    A target that waits goes through three queues: that of its network, then that of its AS, then
    everyone's. It stays at the head of the earlier ones until it is released, when a token is taken
    from all three buckets at once. So within a network targets go as they came, and no one is
    overtaken for ever. Only heads that wait for a token stand in the heap of due times, so a target
    costs O(log n) however many wait.

    Times are seconds of any clock that never goes back. ``T`` is the caller's handle of a target.
    """

    def __init__(self, rate: float, prefix_rate: float, as_rate: float) -> None:
        """Set the rates, in targets a second: in all, per /24 or /48, per AS; 0 means no limit."""
        self._levels = tuple(_Level[T](rate) if rate else None for rate in (prefix_rate, as_rate, rate))
        self._heap: list[tuple[float, int, int, _Waiting[T]]] = []
        self._turns = count()

    def admit(self, ip: str, asn: int | None, now: float) -> bool:
        """Take all tokens and return True if the target may go now; else take none.

        ``ip`` is canonical text. An unknown AS (``None``) has no bucket.
        """
        prefixes, ases, everyone = self._levels
        if everyone is not None and not everyone.is_free(EVERYONE, now):
            return False
        if asn is None:
            ases = None
        if ases is not None and not ases.is_free(asn, now):
            return False
        if prefixes is not None:
            prefix = prefix_of(ip)
            if not prefixes.is_free(prefix, now):
                return False
            prefixes.take(prefix, now)
        if ases is not None:
            ases.take(asn, now)
        if everyone is not None:
            everyone.take(EVERYONE, now)
        return True

    def park(self, handle: T, ip: str, asn: int | None, now: float) -> None:
        """Keep a target that :meth:`admit` did not let go; :meth:`release` returns its handle in time."""
        prefixes, ases, everyone = self._levels
        waiting = _Waiting(
            None if prefixes is None else prefix_of(ip),
            None if ases is None else asn,
            None if everyone is None else EVERYONE,
            handle,
        )
        if self._queue(waiting, 0, now):
            self._wait(now, len(self._levels), waiting)

    def release(self, now: float) -> list[T]:
        """Return the handles of the targets whose time has come, all their tokens taken."""
        released = []
        while self._heap and self._heap[0][0] <= now:
            _, _, level, waiting = heappop(self._heap)
            # The token it waited for stays: nobody else may take it while this target is the head.
            if self._queue(waiting, level + 1, now):
                self._take_all(waiting, now)
                released.append(waiting.handle)
        return released

    def next_due(self) -> float | None:
        """Return when :meth:`release` may next have something; ``None`` when nobody waits."""
        return self._heap[0][0] if self._heap else None

    def _queue(self, waiting: _Waiting[T], first: int, now: float) -> bool:
        """Queue up at each level from ``first`` on, as far as it goes; say whether nothing holds it."""
        for index, level in enumerate(self._levels[first:], first):
            key = waiting[index]
            if level is None or key is None:
                continue
            if not level.join(key, waiting):
                return False
            due = level.due.get(key, -inf)
            if due > now:
                self._wait(due, index, waiting)
                return False
        return True

    def _take_all(self, waiting: _Waiting[T], now: float) -> None:
        """Take a token at each level, and let the next in each queue wait for its own."""
        for index, level in enumerate(self._levels):
            key = waiting[index]
            if level is None or key is None:
                continue
            due = level.take(key, now)
            head = level.leave(key)
            if head is not None:
                self._wait(due, index, head)

    def _wait(self, due: float, level: int, head: _Waiting[T]) -> None:
        heappush(self._heap, (due, next(self._turns), level, head))


def prefix_of(ip: str) -> Hashable:
    """Return a key that all addresses of one /24 (IPv4) or /48 (IPv6) share."""
    if ":" in ip:
        return inet_pton(AF_INET6, ip)[:6]
    return ip[: ip.rindex(".")]
