"""Look-up of the host names in a target list: A and AAAA, blocking, by dnspython."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import dns.exception
import dns.inet
import dns.ipv6
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

if TYPE_CHECKING:
    from collections.abc import Iterable

DNS_PORT = 53
TRY = 2.0
"""Seconds to wait for one server before the next one is asked."""

_SERVER = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<v4>[^:]+))(?::(?P<port>[0-9]{1,5}))?")


class ResolveError(Exception):
    """A name that gave no address; the message is one line: reason and name."""


class HostResolver:
    """Gives the addresses of host names. Threads may share one."""

    def __init__(self, servers: Iterable[str], timeout: float) -> None:
        """Ask ``servers`` (``192.0.2.53``, ``192.0.2.53:5353``, ``[2001:db8::53]:53``), else those of resolv.conf.

        One look-up of A or AAAA takes at most ``timeout`` seconds. Raises :class:`ValueError` for an
        entry of another form, :class:`ResolveError` where there is no resolv.conf.
        """
        nameservers = [_nameserver(server) for server in servers]
        try:
            self._resolver = dns.resolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration as error:
            raise ResolveError(f"no DNS servers: {error}") from error
        if nameservers:
            self._resolver.nameservers = nameservers
        self._resolver.timeout = min(TRY, timeout)
        self._resolver.lifetime = timeout

    def addresses(self, name: str) -> list[str]:
        """Return the IPv4 and then the IPv6 addresses of ``name``, canonical, each once.

        A name with an A record but no answer for AAAA (or the other way round) has the addresses that
        came. Raises :class:`ResolveError` when none did: no such name, no address, no answer in time,
        servers failed. ``localhost`` is never asked for (RFC 6761 section 6.3).
        """
        if name == "localhost":
            return ["127.0.0.1", "::1"]
        found: dict[str, None] = {}
        failure = f"no address: {name}"
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                found.update(dict.fromkeys(self._ask(name, kind)))
            except dns.resolver.NXDOMAIN:
                failure = f"no such name: {name}"
                break  # of any type (RFC 8020)
            except dns.resolver.LifetimeTimeout:
                failure = f"no answer within {self._resolver.lifetime:g} s: {name}"
            except dns.resolver.NoNameservers as error:
                failure = f"the DNS servers failed: {name} ({error})"
            except dns.exception.DNSException as error:
                failure = f"the look-up failed: {name} ({error})"
        if not found:
            raise ResolveError(failure)
        return list(found)

    def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> list[str]:
        question = dns.name.from_text(name)  # absolute: the search list of resolv.conf is not for targets
        answer = self._resolver.resolve(question, kind, raise_on_no_answer=False)
        addresses = [record.address for record in answer.rrset or ()]
        # An IPv4-mapped AAAA is a mistake of the zone, and no address of its own.
        return [ip for ip in addresses if ":" not in ip or not dns.ipv6.is_mapped(dns.ipv6.inet_aton(ip))]


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    match = _SERVER.fullmatch(f"[{text}]" if dns.inet.is_address(text) and ":" in text else text)
    address = match and (match["v6"] or match["v4"])
    port = int(match["port"] or DNS_PORT) if match else 0
    if not address or not dns.inet.is_address(address) or not 0 < port < 1 << 16:
        raise ValueError(f"DNS server {text!r} is no address, address:port or [IPv6 address]:port")
    return dns.nameserver.Do53Nameserver(address, port)
