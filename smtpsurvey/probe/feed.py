"""Feeds a list to whoever works it off: reads ahead in a thread, tells bad lines."""

from __future__ import annotations

import logging
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.threads import deferToThread

from smtpsurvey.targets.source import BlockReader, TargetsError, open_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrapy.statscollectors import StatsCollector
    from twisted.internet.defer import Deferred

logger = logging.getLogger(__name__)
FIRST_ENTRIES = 100_000  # looked at before the first packet
BAD_LINES_SHOWN = 1000  # after that they are only counted


class Lines(Protocol):
    """Makes entries of blocks of bytes, as :class:`~smtpsurvey.targets.lines.TargetLines` does."""

    lines: int
    bad: int
    targets: int

    def feed(self, block: bytes) -> Iterator[Any]:
        """Yield what the lines that end in a block stand for."""

    def finish(self) -> Iterator[Any]:
        """Yield what a last line without an end stands for."""


class Consumer(Protocol):
    """Takes entries as fast as it works them off, as :class:`~smtpsurvey.probe.prober.Prober` does."""

    def consume(self, entries: Iterator[Any]) -> Deferred[None]:
        """Take all; fires when the last one is taken."""

    def finished(self) -> Deferred[None]:
        """Fire when everything taken is done."""


class ListFeed:
    """One list on its way to a consumer."""

    def __init__(
        self,
        path: str,
        lines_of: Callable[[Callable[[int, str], None]], Lines],
        stats: StatsCollector,
        *,
        strict: bool = False,
    ) -> None:
        """Open the list; ``lines_of`` makes its reader, given what to call for bad lines.

        Raises :class:`TargetsError`.
        """
        self._path = path
        self._stats = stats
        self._strict = strict
        self._estimate: int | None = None
        self.reader: BlockReader = open_targets(path)
        self.lines = lines_of(self._bad_line)

    async def run(
        self,
        consumer: Consumer,
        entries_of: Callable[[Iterator[Any]], Iterator[Any]],
        check: Callable[[Any], object] | None = None,
    ) -> None:
        """Give the consumer everything, made into what it takes by ``entries_of``, and wait until all is done.

        ``check`` may refuse one of the first entries before any packet is sent. What came before the place
        where a list cannot be read any further is worked off before :class:`TargetsError` is raised.
        """
        failure: TargetsError | None = None
        try:
            block = await self._end_reading(self._begin_reading())
            while block:
                fraction = self.reader.fraction
                upcoming = self._begin_reading()
                entries = self.lines.feed(block)
                if check is not None:
                    entries, check = _checked(entries, check), None
                await maybe_deferred_to_future(consumer.consume(entries_of(entries)))
                self._estimate = int(self.lines.targets / fraction) if fraction else None
                block = await self._end_reading(upcoming)
            await maybe_deferred_to_future(consumer.consume(entries_of(self.lines.finish())))
            self._estimate = self.lines.targets
        except TargetsError as error:
            failure = error
        finally:
            self._stats.set_value("smtpsurvey/targets/lines", self.lines.lines)
            self._stats.set_value("smtpsurvey/targets/bad_lines", self.lines.bad)
            self.reader.close()
        if failure is None and not self.lines.targets:
            bad = f" ({self.lines.bad} bad lines)" if self.lines.bad else ""
            failure = TargetsError(f"{self._path}: no targets in it{bad}")
        await maybe_deferred_to_future(consumer.finished())
        if failure is not None:
            raise failure

    def estimate(self) -> int | None:
        """Give the number of entries of the whole list, estimated from the blocks taken so far; ``None`` before."""
        return self._estimate

    def _begin_reading(self) -> Deferred[bytes | TargetsError]:
        """Read the next block in a thread; an error waits until it is looked at."""

        def read() -> bytes | TargetsError:
            try:
                return self.reader.read()
            except TargetsError as error:
                return error

        return deferToThread(read)

    async def _end_reading(self, reading: Deferred[bytes | TargetsError]) -> bytes:
        result = await maybe_deferred_to_future(reading)
        if isinstance(result, TargetsError):
            raise result
        return result

    def _bad_line(self, number: int, reason: str) -> None:
        line = f"{self._path}:{number}: {reason}"
        if self._strict:
            raise TargetsError(f"{line} (strict=1)")
        if self.lines.bad <= BAD_LINES_SHOWN:
            logger.warning("%s", line)
        if self.lines.bad == BAD_LINES_SHOWN:
            logger.warning("%s: further bad lines are only counted", self._path)


def _checked(entries: Iterator[Any], check: Callable[[Any], object]) -> Iterator[Any]:
    first = list(islice(entries, FIRST_ENTRIES))
    for entry in first:
        check(entry)
    return chain(first, entries)
