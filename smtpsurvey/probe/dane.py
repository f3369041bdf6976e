"""DANE after the probe: an observation with TLS waits until it is known what its server's zone publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.outcomes import Dane

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpsurvey.dns.tlsa import Published, TlsaRecords
    from smtpsurvey.items import Observation

MAX_WAITING = 20_000
"""Observations that may wait for DNS before nothing new is begun."""


class DaneCheck:
    """Called with each observation; gives it to ``record`` with ``dane`` set where there were TLS facts."""

    def __init__(self, records: TlsaRecords, record: Callable[[Observation], None]) -> None:
        """Compare with these TLSA records."""
        self._records = records
        self._record = record
        self._waiting = 0
        self._idle: Deferred[None] | None = None

    @property
    def must_wait(self) -> bool:
        """Whether so many wait that nothing new may be begun."""
        return self._waiting > MAX_WAITING

    def __call__(self, seen: Observation) -> None:
        """Take one, look up its server's name if it has one, and let it go on."""
        target = seen.target
        if seen.tls is None:
            self._record(seen)
        elif target.name is None:
            self._record(attrs.evolve(seen, dane=Dane.NOT_MEASURED))
        else:
            self._waiting += 1
            self._records.of(target.name, target.port).addCallback(self._judge, seen)

    async def end(self) -> None:
        """Wait for all that wait."""
        if self._waiting:
            self._idle = Deferred()
            await maybe_deferred_to_future(self._idle)

    def _judge(self, published: Published, seen: Observation) -> None:
        names = [name for name in (seen.target.name, seen.target.domain) if name]
        chain = seen.tls.chain if seen.tls else ()
        self._record(attrs.evolve(seen, dane=published.judge(chain, names)))
        self._waiting -= 1
        if self._idle is not None and not self._waiting:
            self._idle.callback(None)
