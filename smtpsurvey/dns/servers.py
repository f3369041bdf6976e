"""The DNS servers that are asked: which they are, whether they work, and how much each is asked."""

from __future__ import annotations

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING, NamedTuple

import dns.resolver

from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpsurvey.dns.lookup import Lookup

PORT = 53
FAILURES = 20
"""Tries without a useful answer, one after the other, after which a server has to prove that it works."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a server that does not work is probed again; each time twice the last."""
BURST = 0.1  # seconds of the rate that may be sent at once

_SERVER = re.compile(
    r"\[(?P<v6>[^]]+)\](?::(?P<p6>[0-9]{1,5}))?|(?P<v4>[^:\[\]]+)(?::(?P<p4>[0-9]{1,5}))?|(?P<bare>.+)"
)


class Address(NamedTuple):
    """Where a server is."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as in SMTPSURVEY_DNS_SERVERS."""
        if self.port == PORT:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_server(text: str) -> Address:
    """Read ``192.0.2.53``, ``192.0.2.53:5353``, ``2001:db8::53`` or ``[2001:db8::53]:5353``; raises ValueError."""
    match = _SERVER.fullmatch(text.strip())
    host = match and (match["v6"] or match["v4"] or match["bare"])
    port = int(match["p6"] or match["p4"] or PORT) if match else 0
    family = AF_INET6 if ":" in (host or "") else AF_INET
    try:
        host = inet_ntop(family, inet_pton(family, host or ""))
    except (OSError, ValueError):
        host = None
    if host is None or not 0 < port < 1 << 16:
        raise ValueError(f"DNS server {text!r} is no address, address:port or [IPv6 address]:port")
    return Address(host, port)


def read_servers(given: Iterable[str]) -> list[Address]:
    """Read SMTPSURVEY_DNS_SERVERS, or resolv.conf where that is empty; each server once.

    Raises :class:`SurveyError` for a server that is no address, and where there is none at all.
    """
    texts = [text for text in given if text.strip()]
    try:
        servers = list(dict.fromkeys(map(read_server, texts))) or _of_resolv_conf()
    except ValueError as error:
        raise SurveyError(f"SMTPSURVEY_DNS_SERVERS: {error}") from None
    if not servers:
        raise SurveyError("no DNS servers: resolv.conf names none; give SMTPSURVEY_DNS_SERVERS")
    return servers


def _of_resolv_conf() -> list[Address]:
    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise SurveyError(f"no DNS servers: {error}; give SMTPSURVEY_DNS_SERVERS") from None
    found = []
    for text in map(str, resolver.nameservers):
        try:
            found.append(read_server(text))
        except ValueError:  # link-local, with a zone: no server that we could ask
            continue
    return list(dict.fromkeys(found))


class Server:
    """One server, and how it does. Times are of the reactor's clock."""

    __slots__ = ("_rate", "_room", "_then", "address", "failures", "in_flight", "pause", "reason", "works")

    def __init__(self, address: Address, rate: float, now: float) -> None:
        """Allow ``rate`` queries a second; 0 is no limit."""
        self.address = address
        self.works = False
        self.reason = "not asked yet"  # why it does not work
        self.failures = 0
        self.pause = FIRST_PAUSE
        self.in_flight = 0
        self._rate = rate
        self._room = 1.0
        self._then = now

    def may_send(self, now: float) -> bool:
        """Tell whether the rate lets one more query pass now."""
        if not self._rate:
            return True
        self._room = min(1 + self._rate * BURST, self._room + (now - self._then) * self._rate)
        self._then = now
        return self._room >= 1

    def sent(self) -> None:
        """Take note of a query."""
        self.in_flight += 1
        self._room -= 1

    def answered(self) -> None:
        """Take note of an answer, whatever it says, but SERVFAIL."""
        self.failures = 0

    def failed(self) -> bool:
        """Take note of a try without a useful answer; true when now it has to prove that it works."""
        self.failures += 1
        return self.works and self.failures >= FAILURES

    def lost(self, reason: str) -> None:
        """Stop asking it."""
        self.works, self.reason = False, reason

    def proved(self) -> None:
        """Ask it again."""
        self.works, self.failures, self.pause = True, 0, FIRST_PAUSE

    def next_pause(self) -> float:
        """Give the seconds until the next probe."""
        pause, self.pause = self.pause, min(LONGEST_PAUSE, self.pause * 2)
        return pause


class Servers:
    """All of them, taken in turn."""

    def __init__(self, servers: Iterable[Server], most: int) -> None:
        """Let ``most`` queries be in flight to each."""
        self._all = tuple(servers)
        self._most = most
        self._turn = 0

    def __iter__(self) -> Iterator[Server]:
        """Go through them as they were given."""
        return iter(self._all)

    def any_works(self, but: tuple[Server, ...] = ()) -> bool:
        """Tell whether one works, leaving some out."""
        return any(server.works and server not in but for server in self._all)

    def choose(self, lookup: Lookup, now: float) -> Server | None:
        """Give one that may be asked now; one that was asked this already only if no other works."""
        number = len(self._all)
        fresh, again = False, None
        for step in range(self._turn, self._turn + number):
            server = self._all[step % number]
            if not server.works:
                continue
            asked = server is lookup.last or server in lookup.tried
            fresh = fresh or not asked
            if server.in_flight < self._most and server.may_send(now):
                if not asked:
                    self._turn = (step + 1) % number
                    return server
                again = again or server
        return None if fresh else again
