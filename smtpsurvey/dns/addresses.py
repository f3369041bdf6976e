"""The addresses of host names: A, then AAAA."""

from __future__ import annotations

from itertools import islice
from socket import AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING

import attrs
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred

from smtpsurvey.outcomes import DnsOutcome

if TYPE_CHECKING:
    from smtpsurvey.dns.answer import Answer
    from smtpsurvey.dns.resolver import Resolver

MAX_ADDRESSES = 256
"""Addresses of a name at most; an answer may hold 4,000."""

LOOPBACK = ("127.0.0.1", "::1")
_NO_OTHER_TYPE = frozenset((DnsOutcome.NXDOMAIN, DnsOutcome.BAD_NAME))  # what holds for every type (RFC 8020)


class ResolveError(Exception):
    """A name that gave no address; the message is one line: reason and name."""


@attrs.frozen(eq=False)
class Found:
    """The IPv4 and then the IPv6 addresses of a name, canonical, each once.

    ``outcome`` is ``ok`` where there is one; ``no_data`` or ``nxdomain`` where it is sure that there is none;
    otherwise it says what went wrong. ``alias``: the name is a CNAME.
    """

    addresses: tuple[str, ...]
    outcome: DnsOutcome
    alias: bool = False


async def find_addresses(resolver: Resolver, name: str) -> Found:
    """Look up A and AAAA. What came counts, even if the other type got no answer.

    ``localhost`` is never asked for (RFC 6761 section 6.3), and an IPv4-mapped AAAA is a mistake of the zone.
    """
    if name == "localhost":
        return Found(LOOPBACK, DnsOutcome.OK)
    first = await resolver.resolve(name, "A")
    if first.outcome in _NO_OTHER_TYPE:
        return Found((), first.outcome, _is_alias(first))
    second = await resolver.resolve(name, "AAAA")
    found = dict.fromkeys(values(first))
    found.update(dict.fromkeys(ip for ip in map(_canonical, values(second)) if not ip.startswith("::ffff:")))
    alias = _is_alias(first) or _is_alias(second)
    if found:
        return Found(tuple(islice(found, MAX_ADDRESSES)), DnsOutcome.OK, alias)
    sure = (DnsOutcome.OK, DnsOutcome.NO_DATA)  # ok: of records that do not count
    failed = next((answer.outcome for answer in (first, second) if answer.outcome not in sure), DnsOutcome.NO_DATA)
    # A server that says NXDOMAIN to one type alone has the name all the same.
    return Found((), DnsOutcome.NO_DATA if failed is DnsOutcome.NXDOMAIN else failed, alias)


def values(answer: Answer) -> list[str]:
    """Give the values of the type asked for that belong to the name, at the end of its aliases (RFC 1034 3.6.2)."""
    owner, wanted, records = answer.name.lower(), answer.type, answer.records
    found = [record.value for record in records if record.type == wanted and record.name.lower() == owner]
    if found or not records:
        return found
    aliases = {record.name.lower(): record.value.lower() for record in records if record.type == "CNAME"}
    for _ in range(len(aliases)):  # a loop of aliases ends here too
        owner = aliases.get(owner, owner).removesuffix(".")
    return [record.value for record in records if record.type == wanted and record.name.lower() == owner]


class Hosts:
    """Gives the addresses of host names with a resolver that is started when the first name comes."""

    def __init__(self, resolver: Resolver) -> None:
        """Look up with this one."""
        self._resolver = resolver
        self._begun = False
        self._waiting: list[Deferred[None]] | None = None  # while it is being started

    def addresses(self, name: str) -> Deferred[list[str]]:
        """Fire with the addresses, or with :class:`ResolveError`; ``SurveyError`` when no DNS server works."""
        return Deferred.fromCoroutine(self._addresses(name))

    async def stop(self) -> None:
        """Close the sockets."""
        if self._begun:
            await maybe_deferred_to_future(self._resolver.stop())

    async def _addresses(self, name: str) -> list[str]:
        if name == "localhost":
            return list(LOOPBACK)
        await self.start()
        found = await find_addresses(self._resolver, name)
        if not found.addresses:
            raise ResolveError(f"{_REASONS[found.outcome]}: {name}")
        return list(found.addresses)

    async def start(self) -> None:
        """Start the resolver, unless it is; ``SurveyError`` when no DNS server works."""
        if not self._begun:
            self._begun = True
            waiting = self._waiting = list[Deferred[None]]()
            try:
                await self._resolver.start()
            finally:
                self._waiting = None
                for each in waiting:
                    each.callback(None)
        elif self._waiting is not None:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter


_REASONS = {
    DnsOutcome.NXDOMAIN: "no such name",
    DnsOutcome.NO_DATA: "no address",
    DnsOutcome.TIMEOUT: "no answer in time",
    DnsOutcome.SERVFAIL: "the DNS servers failed",
    DnsOutcome.REFUSED: "the DNS servers refused",
    DnsOutcome.BAD_NAME: "no name of the DNS",
    DnsOutcome.BAD_ANSWER: "no answer that makes sense",
    DnsOutcome.LOCAL_ERROR: "the look-up failed here",
}


def _is_alias(answer: Answer) -> bool:
    return any(record.type == "CNAME" for record in answer.records)


def _canonical(ip: str) -> str:
    return inet_ntop(AF_INET6, inet_pton(AF_INET6, ip))
