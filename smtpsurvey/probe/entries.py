"""Entries of a target list for the prober: addresses as they are, host names with their addresses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from smtpsurvey.dns.addresses import ResolveError
from smtpsurvey.items import Target
from smtpsurvey.targets.lines import HostName
from smtpsurvey.targets.shard import shard_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.statscollectors import StatsCollector
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from smtpsurvey.dns.addresses import Hosts
    from smtpsurvey.probe.ledger import Ledger
    from smtpsurvey.probe.prober import Entry

logger = logging.getLogger(__name__)


class TargetEntries:
    """Leaves out what is done or another shard's, and looks up host names."""

    def __init__(
        self,
        path: str,
        hosts: Hosts,
        stats: StatsCollector,
        ledger: Ledger | None = None,
        shard: tuple[int, int] | None = None,
    ) -> None:
        """Tell of names in the list at ``path`` that have no address; ``shard`` is (index from 0, count)."""
        self._path = path
        self._hosts = hosts
        self._stats = stats
        self._ledger = ledger
        self._shard = shard

    def __call__(self, entries: Iterator[Target | HostName]) -> Iterator[Entry]:
        """Make lazily what the prober takes."""
        shard, ledger = self._shard, self._ledger
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
        found = self._hosts.addresses(host.name)
        return found.addCallbacks(self._targets, self._unresolved, callbackArgs=(host,), errbackArgs=(host,))

    def _targets(self, addresses: list[str], host: HostName) -> list[Target]:
        shard = self._shard
        found = [host.target(ip) for ip in addresses if shard is None or shard_of(ip, shard[1]) == shard[0]]
        if self._ledger is not None:
            self._ledger.take(host.position, len(found))
            self._ledger.done(host.position)
        return found

    def _unresolved(self, failure: Failure, host: HostName) -> list[Target] | Failure:
        if not isinstance(failure.value, ResolveError):
            return failure
        self._stats.inc_value("smtpsurvey/targets/unresolved")
        logger.warning("%s:%d: %s", self._path, host.line, failure.value)
        return self._targets([], host)


def checked_name(entry: Target | HostName) -> str:
    """Give what an entry is judged by before the first packet."""
    return entry.ip if isinstance(entry, Target) else entry.name
