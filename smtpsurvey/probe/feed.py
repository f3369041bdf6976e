"""Feeds a target list to the prober: reads ahead in a thread, looks up host names, tells bad lines."""

from __future__ import annotations

import logging
from itertools import chain, islice
from typing import TYPE_CHECKING

import attrs
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.threads import deferToThread

from smtpsurvey.items import Target
from smtpsurvey.targets.lines import HostName, TargetLines
from smtpsurvey.targets.resolve import HostResolver, ResolveError
from smtpsurvey.targets.shard import shard_of
from smtpsurvey.targets.source import BlockReader, TargetsError, open_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrapy.statscollectors import StatsCollector
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from smtpsurvey.probe.ledger import Ledger
    from smtpsurvey.probe.prober import Entry, Prober

logger = logging.getLogger(__name__)
FIRST_TARGETS = 100_000  # looked at before the first packet
BAD_LINES_SHOWN = 1000  # after that they are only counted


@attrs.frozen
class ListOptions:
    """Which list, and how to read it. ``shard`` is (index from 0, count)."""

    path: str
    source: str
    port: int
    strict: bool = False
    shard: tuple[int, int] | None = None


class ListFeed:
    """One target list on its way to the prober."""

    def __init__(
        self, options: ListOptions, resolver: HostResolver, stats: StatsCollector, ledger: Ledger | None = None
    ) -> None:
        """Open the list; what the ledger says is done is passed over. Raises :class:`TargetsError`."""
        self._ledger = ledger
        self._estimate: int | None = None
        self._options = options
        self._resolver = resolver
        self._stats = stats
        self.reader: BlockReader = open_targets(options.path)
        self.lines = TargetLines(options.path, options.source, options.port, self._bad_line)

    async def run(self, prober: Prober, check: Callable[[str], object]) -> None:
        """Give the prober every target, and wait until all are done.

        ``check`` may refuse the address or name of one of the first targets before any packet is sent. What
        came before the place where a list cannot be read any further is probed before :class:`TargetsError`
        is raised.
        """
        failure: TargetsError | None = None
        first = True
        try:
            block = await self._end_reading(self._begin_reading())
            while block:
                fraction = self.reader.fraction
                upcoming = self._begin_reading()
                entries = self.lines.feed(block)
                if first:
                    first, entries = False, _checked(entries, check)
                await maybe_deferred_to_future(prober.consume(self._entries(entries)))
                self._estimate = int(self.lines.targets / fraction) if fraction else None
                block = await self._end_reading(upcoming)
            await maybe_deferred_to_future(prober.consume(self._entries(self.lines.finish())))
            self._estimate = self.lines.targets
        except TargetsError as error:
            failure = error
        finally:
            self._stats.set_value("smtpsurvey/targets/lines", self.lines.lines)
            self._stats.set_value("smtpsurvey/targets/bad_lines", self.lines.bad)
            self.reader.close()
        if failure is None and not self.lines.targets:
            bad = f" ({self.lines.bad} bad lines)" if self.lines.bad else ""
            failure = TargetsError(f"{self._options.path}: no targets in it{bad}")
        await maybe_deferred_to_future(prober.finished())
        if failure is not None:
            raise failure

    def estimate(self) -> int | None:
        """Give the number of targets of the whole list, estimated from the blocks taken so far; ``None`` before."""
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

    def _entries(self, entries: Iterator[Target | HostName]) -> Iterator[Entry]:
        shard, ledger = self._options.shard, self._ledger
        for entry in entries:
            if ledger is not None and ledger.is_done(entry.position):
                continue
            if type(entry) is HostName:
                if ledger is not None:
                    ledger.take(entry.position)  # the look-up itself, until its addresses are known
                yield self._look_up(entry)
            elif shard is None or shard_of(entry.ip, shard[1]) == shard[0]:  # type: ignore[union-attr]  # a Target
                if ledger is not None:
                    ledger.take(entry.position)
                yield entry  # type: ignore[misc]  # a Target

    def _look_up(self, host: HostName) -> Deferred[list[Target]]:
        found: Deferred[list[str]] = deferToThread(self._resolver.addresses, host.name)
        return found.addCallbacks(self._targets, self._unresolved, callbackArgs=(host,), errbackArgs=(host,))

    def _targets(self, addresses: list[str], host: HostName) -> list[Target]:
        shard = self._options.shard
        found = [host.target(ip) for ip in addresses if shard is None or shard_of(ip, shard[1]) == shard[0]]
        if self._ledger is not None:
            self._ledger.take(host.position, len(found))
            self._ledger.done(host.position)
        return found

    def _unresolved(self, failure: Failure, host: HostName) -> list[Target] | Failure:
        if not isinstance(failure.value, ResolveError):
            return failure
        self._stats.inc_value("smtpsurvey/targets/unresolved")
        logger.warning("%s:%d: %s", self._options.path, host.line, failure.value)
        return self._targets([], host)

    def _bad_line(self, number: int, reason: str) -> None:
        line = f"{self._options.path}:{number}: {reason}"
        if self._options.strict:
            raise TargetsError(f"{line} (strict=1)")
        if self.lines.bad <= BAD_LINES_SHOWN:
            logger.warning("%s", line)
        if self.lines.bad == BAD_LINES_SHOWN:
            logger.warning("%s: further bad lines are only counted", self._options.path)


def _checked(entries: Iterator[Target | HostName], check: Callable[[str], object]) -> Iterator[Target | HostName]:
    first = list(islice(entries, FIRST_TARGETS))
    for entry in first:
        check(entry.ip if isinstance(entry, Target) else entry.name)
    return chain(first, entries)
