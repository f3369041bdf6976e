"""TLSA records of mail servers (RFC 6698, RFC 7672 section 2.2), each name looked up once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, succeed

from smtpsurvey.dns.addresses import values
from smtpsurvey.outcomes import Dane, DnsOutcome
from smtpsurvey.smtp.dane import MAX_RECORDS, Tlsa, dane, read_tlsa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpsurvey.dns.answer import Answer
    from smtpsurvey.dns.resolver import Resolver

KEPT = 100_000
"""Names whose records are kept, the last used."""

_NOTHING = frozenset((DnsOutcome.NXDOMAIN, DnsOutcome.NO_DATA))


@attrs.frozen(eq=False)
class Published:
    """The TLSA records of a name: ``verdict`` is set where they are not to be compared with a chain."""

    verdict: Dane | None
    records: tuple[Tlsa, ...] = ()

    def judge(self, chain: Sequence[bytes], names: Sequence[str]) -> Dane:
        """Compare them with a chain, as :func:`smtpsurvey.smtp.dane.dane` does."""
        return dane(self.records, chain, names) if self.verdict is None else self.verdict


class TlsaRecords:
    """Looks up TLSA; those who want the same name at the same time share the query."""

    def __init__(self, resolver: Resolver) -> None:
        """Ask this resolver, whose AD flag is believed."""
        self._resolver = resolver
        self._kept: OrderedDict[str, Published] = OrderedDict()
        self._waiting: dict[str, list[Deferred[Published]]] = {}

    def of(self, name: str, port: int) -> Deferred[Published]:
        """Give what is published for a port of a host; never fails."""
        owner = f"_{port}._tcp.{name.lower()}"
        known = self._kept.get(owner)
        if known is not None:
            self._kept.move_to_end(owner)
            return succeed(known)
        waiter: Deferred[Published] = Deferred()
        if owner in self._waiting:
            self._waiting[owner].append(waiter)
        else:
            self._waiting[owner] = [waiter]
            self._resolver.resolve(owner, "TLSA").addCallback(self._answered, owner)
        return waiter

    def _answered(self, answer: Answer, owner: str) -> None:
        published = published_by(answer)
        if published.verdict is not Dane.NOT_MEASURED:  # which may be otherwise the next time
            self._kept[owner] = published
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        for waiter in self._waiting.pop(owner):
            waiter.callback(published)


def published_by(answer: Answer) -> Published:
    """Judge an answer by itself."""
    if answer.outcome in _NOTHING:
        return Published(Dane.NONE)
    if answer.outcome is not DnsOutcome.OK:
        return Published(Dane.NOT_MEASURED)
    if not answer.ad:
        return Published(Dane.INSECURE)
    return Published(None, tuple(filter(None, map(read_tlsa, values(answer)[:MAX_RECORDS]))))
