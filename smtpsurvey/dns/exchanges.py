"""Mail exchanges: what their names are, and their addresses, each looked up once."""

from __future__ import annotations

import re
from collections import OrderedDict
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred

from smtpsurvey.admission.exclusions import Exclusions, networks_of
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE
from smtpsurvey.dns.addresses import find_addresses
from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import DnsOutcome, MxFlag
from smtpsurvey.targets.address import BadTargetError
from smtpsurvey.targets.names import host_name

if TYPE_CHECKING:
    from typing import Self

    from scrapy.settings import BaseSettings
    from scrapy.statscollectors import StatsCollector

    from smtpsurvey.dns.addresses import Found
    from smtpsurvey.dns.resolver import Resolver

ENTRY_BYTES = 280  # of an entry, measured, without name and addresses
ADDRESS_BYTES = 72
_SURE = frozenset((DnsOutcome.OK, DnsOutcome.NXDOMAIN, DnsOutcome.NO_DATA))  # worth keeping
_LIKE_ADDRESS = re.compile(r"[0-9.]+|.*[:\[].*", re.DOTALL)


@attrs.frozen(eq=False)
class Host:
    """An exchange; ``addresses`` is ``None`` where it is not known which it has."""

    addresses: tuple[str, ...] | None
    flags: tuple[MxFlag, ...] = ()
    outcome: DnsOutcome = DnsOutcome.OK


_ODD = {flag: Host(None, (flag,)) for flag in (MxFlag.LITERAL, MxFlag.LOCALHOST, MxFlag.BAD_NAME)}


class Exchanges:
    """Looks up exchanges and keeps what it found, the last used, in so many bytes.

    Concurrent look-ups of one name share the queries. What is not sure (no answer in time, servers that
    fail) is not kept: the next domain with that exchange asks again.
    """

    def __init__(self, resolver: Resolver, exclusions: Exclusions, limit: int) -> None:
        """Keep ``limit`` bytes; addresses that ``exclusions`` cover are flagged as reserved."""
        self._resolver = resolver
        self._exclusions = exclusions
        self._limit = limit
        self._kept: OrderedDict[str, Host] = OrderedDict()
        self._pending: dict[str, list[Deferred[Host]]] = {}
        self.bytes = self.asked = self.hits = 0

    @classmethod
    def of(cls, settings: BaseSettings, resolver: Resolver) -> Self:
        """Read SMTPSURVEY_EXCHANGE_CACHE and SMTPSURVEY_ALLOW; raises :class:`SurveyError`."""
        given = settings.get("SMTPSURVEY_EXCHANGE_CACHE")
        if not str(given).isdecimal():
            raise SurveyError(f"SMTPSURVEY_EXCHANGE_CACHE={given!r} is no number of bytes")
        allow = networks_of("SMTPSURVEY_ALLOW", settings.getlist("SMTPSURVEY_ALLOW"))
        return cls(resolver, Exclusions(SPECIAL_PURPOSE, allow), int(given))

    def tell(self, stats: StatsCollector) -> None:
        """Say how often exchanges were wanted, and how often that took no query."""
        stats.set_value("smtpsurvey/exchanges/wanted", self.asked)
        stats.set_value("smtpsurvey/exchanges/cached", self.hits)
        stats.set_value("smtpsurvey/exchanges/cache_bytes", self.bytes)

    def known(self, name: str) -> Host | None:
        """Give what is known of a name without a query."""
        self.asked += 1
        host = self._kept.get(name)
        if host is not None:
            self.hits += 1
            self._kept.move_to_end(name)
            return host
        odd = oddity(name)
        if odd is not None:
            self.hits += 1
            return _ODD[odd]
        return None

    async def find(self, name: str) -> Host:
        """Look up what :meth:`known` does not know."""
        pending = self._pending.get(name)
        if pending is not None:
            self.hits += 1
            shared: Deferred[Host] = Deferred()
            pending.append(shared)
            return await shared
        waiting = self._pending[name] = []
        host = Host(None, (), DnsOutcome.LOCAL_ERROR)
        try:
            host = self.judge(await find_addresses(self._resolver, name))
        finally:
            del self._pending[name]
            if host.outcome in _SURE:
                self._keep(name, host)
            for waiter in waiting:
                waiter.callback(host)
        return host

    def judge(self, found: Found, *, alias_allowed: bool = False) -> Host:
        """Make an exchange of the addresses of its name."""
        if not found.addresses and found.outcome not in _SURE:
            return Host(None, (), found.outcome)
        flags = [MxFlag.CNAME] if found.alias and not alias_allowed else []
        if not found.addresses:
            flags.append(MxFlag.DANGLING)
        elif any(self._exclusions.of_target(ip, None) for ip in found.addresses):
            flags.append(MxFlag.RESERVED)
        return Host(found.addresses, tuple(flags), found.outcome)

    async def of_domain(self, domain: str) -> Host:
        """Look up the domain itself, which may be its own exchange, and may be an alias (RFC 5321 section 5.1)."""
        return self.judge(await find_addresses(self._resolver, domain), alias_allowed=True)

    def _keep(self, name: str, host: Host) -> None:
        self._kept[name] = host
        self.bytes += _size(name, host)
        while self.bytes > self._limit:
            self.bytes -= _size(*self._kept.popitem(last=False))


def oddity(name: str) -> MxFlag | None:
    """Tell why a name (lower-case, without the last dot) is none to look up; ``None`` for one that is."""
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
        return MxFlag.LOCALHOST
    if _LIKE_ADDRESS.fullmatch(name):
        return MxFlag.LITERAL if _is_address(name) else MxFlag.BAD_NAME
    try:
        host_name(name)
    except BadTargetError:
        return MxFlag.BAD_NAME
    return None


def _is_address(name: str) -> bool:
    """Tell whether a name is an address, bare or as a literal of mail (RFC 5321 section 4.1.3)."""
    bare = name.removeprefix("[").removesuffix("]").removeprefix("ipv6:")
    try:
        inet_pton(AF_INET6 if ":" in bare else AF_INET, bare)
    except (OSError, ValueError):  # ValueError: a NUL
        return False
    return True


def _size(name: str, host: Host) -> int:
    return ENTRY_BYTES + len(name) + ADDRESS_BYTES * len(host.addresses or ())
