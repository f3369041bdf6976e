"""Domains for the prober: their exchanges, and of those each address once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from smtpsurvey.dns.lines import shard_of_name
from smtpsurvey.items import Target
from smtpsurvey.targets.seen import Seen, key_of
from smtpsurvey.targets.shard import shard_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpsurvey.dns.lines import ListedName
    from smtpsurvey.dns.mx import MailExchanges
    from smtpsurvey.kinds import MxItem
    from smtpsurvey.probe.ledger import Ledger

SOURCE = "mx"
"""Source of the targets that are found so."""


class DomainEntries:
    """Looks up MX, hands on the item, and makes targets of the addresses that no earlier domain had.

    With shards, every shard looks up all domains, since only then each address is probed once; it keeps the
    items of its part of the domains.
    """

    def __init__(
        self,
        mail: MailExchanges,
        submit: Callable[[MxItem], object],
        port: int,
        ledger: Ledger | None = None,
        shard: tuple[int, int] | None = None,
    ) -> None:
        """Look up with ``mail`` and give the items to ``submit``; ``shard`` is (index from 0, count)."""
        self._mail = mail
        self._submit = submit
        self._port = port
        self._ledger = ledger
        self._shard = shard
        self._seen = Seen()
        self._pending: set[Deferred[list[Target]]] = set()
        self._stopped = False

    def __call__(self, entries: Iterator[ListedName]) -> Iterator[Deferred[list[Target]]]:
        """Make lazily what the prober takes."""
        ledger = self._ledger
        for entry in entries:
            if ledger is None:
                yield self._begin(entry)
            elif not ledger.is_done(entry.position):
                ledger.take(entry.position)
                yield self._begin(entry)

    def stop(self) -> None:
        """Give up the look-ups in flight: no item may come when the pipelines are closed."""
        self._stopped = True
        for pending in tuple(self._pending):
            pending.cancel()

    def _begin(self, entry: ListedName) -> Deferred[list[Target]]:
        looking = Deferred.fromCoroutine(self._look_up(entry))
        self._pending.add(looking)
        return looking.addBoth(self._ended, looking)

    def _ended(self, result: list[Target], looking: Deferred[list[Target]]) -> list[Target]:
        self._pending.discard(looking)
        return result

    async def _look_up(self, entry: ListedName) -> list[Target]:
        item = await self._mail.look_up(entry)
        if self._stopped:
            return []
        found = self._targets(item, entry.position)
        if self._ledger is not None:
            self._ledger.take(entry.position, len(found))
        if self._shard is None or shard_of_name(entry.name, self._shard[1]) == self._shard[0]:
            item.put(entry.position)
            self._submit(item)
        elif self._ledger is not None:
            self._ledger.done(entry.position)
        return found

    def _targets(self, item: MxItem, position: int) -> list[Target]:
        shard = self._shard
        return [
            Target(ip, self._port, exchange.name, None, SOURCE, position, domain=item.domain)
            for exchange in item.exchanges or ()
            for ip in exchange.addresses or ()
            if (shard is None or shard_of(ip, shard[1]) == shard[0]) and self._seen.add(key_of(ip))
        ]
