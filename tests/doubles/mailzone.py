"""A zone of domains with every way that mail may go, and what dnspython's own resolver makes of it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

import dns.exception
import dns.inet
import dns.name
import dns.rdatatype
import dns.resolver

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGIN = "test.example"
PROVIDERS = 50
LINES: dict[str, Callable[[int], list[str]]] = {
    "two": lambda n: [f"MX 10 mx1.p{n % PROVIDERS}", f"MX 20 mx2.p{n % PROVIDERS}"],
    "provider": lambda n: [f"MX 10 mx1.p{n % PROVIDERS}"],
    "equal": lambda n: [f"MX 10 mx2.p{n % PROVIDERS}", f"MX 10 mx1.p{n % PROVIDERS}", "MX 10 both"],
    "upper": lambda n: [f"MX 0 MX1.P{n % PROVIDERS}.Test.Example."],
    "own": lambda n: [f"MX 10 mail.d{n}", "TXT mail"],
    "implicit": lambda n: [f"A 8.{n >> 16 & 127}.{n >> 8 & 255}.{n & 255}", "A 8.8.8.8"],
    "implicit_v6": lambda n: [f"AAAA 2600::{n & 0xFFFF:x}"],
    "implicit_reserved": lambda n: [f"A 10.{n >> 16 & 127}.{n >> 8 & 255}.{n & 255}"],
    "null": lambda _: ["MX 0 .", "A 8.8.8.8"],
    "null_preferred": lambda _: ["MX 10 ."],
    "mixed_null": lambda n: ["MX 0 .", f"MX 10 mx1.p{n % PROVIDERS}"],
    "cname_exchange": lambda _: ["MX 10 alias", "MX 20 dead-alias"],
    "literal": lambda n: [f"MX 10 127.0.0.{n % 250}.", "MX 20 both"],
    "number": lambda _: ["MX 10 1.2.3."],
    "localhost": lambda _: ["MX 10 localhost."],
    "dangling": lambda n: [f"MX 10 nowhere{n}", "MX 20 text-only"],
    "reserved": lambda _: ["MX 10 private"],
    "bad_exchange": lambda _: ["MX 10 a\\ b", "MX 20 -dash", "MX 30 under_score"],
    "mapped": lambda _: ["MX 10 mapped"],
    "no_data": lambda _: ["TXT nothing"],
    "aliased": lambda n: [f"CNAME d{n - n % len(LINES)}"],
    "aliased_implicit": lambda _: ["CNAME both"],
    "dead_alias": lambda n: [f"CNAME nowhere{n}"],
    "missing": lambda _: [],
}
BAD = ("a..b.example", f"{'x' * 64}.example", "y." * 127 + "example", "a b.example")
"""Names that are none."""


class Mail(NamedTuple):
    """What a look-up of MX comes to; an exchange is preference, name, addresses, flags."""

    outcome: str
    implicit: bool = False
    null_mx: bool = False
    exchanges: tuple[tuple[int | None, str, tuple[str, ...] | None, tuple[str, ...]], ...] | None = None


def mail_zone(count: int) -> tuple[str, list[str]]:
    """Write the zone of so many domains as a master file, and list them, bad names between."""
    lines = [
        f"$ORIGIN {ORIGIN}.",
        "$TTL 60",
        "@ SOA ns hostmaster 1 3600 600 86400 60",
        " NS ns",
        " MX 10 both",
        "ns A 127.0.0.53",
        "both A 8.8.8.1",
        " AAAA 2600::1",
        "alias CNAME both",
        "dead-alias CNAME nowhere",
        "text-only TXT text",
        "private A 10.0.0.1",
        " A 8.8.8.7",
        "under_score A 8.8.8.6",
        "mapped AAAA ::ffff:8.8.8.8",
    ]
    for provider in range(PROVIDERS):
        lines += [
            f"mx1.p{provider} A 9.9.{provider}.1",
            f"mx2.p{provider} A 9.9.{provider}.2",
            f" AAAA 2600:9::{provider}",
        ]
    names = []
    kinds = list(LINES.values())
    for n in range(count):
        records = kinds[n % len(kinds)](n)
        lines += [f"d{n} {records[0]}", *(f" {record}" for record in records[1:])] if records else []
        if kinds[n % len(kinds)] is LINES["own"]:
            lines.append(f"mail.d{n} A 7.{n >> 16 & 127}.{n >> 8 & 255}.{n & 255}")
        names.append(f"d{n}.{ORIGIN}")
    return "\n".join(lines) + "\n", [*names, *BAD]


class Oracle:
    """Looks up one domain at a time with dnspython's resolver, as the standards say, and slowly."""

    def __init__(self, server: str, port: int) -> None:
        """Ask this server."""
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers, self._resolver.port = [server], port
        self._resolver.cache = dns.resolver.LRUCache(100_000)

    def look_up(self, domain: str) -> Mail:
        """Do so."""
        try:
            name = dns.name.from_text(domain)
        except (dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel):
            name = None
        if name is None or " " in domain:
            return Mail("bad_name")
        try:
            answer = self._resolver.resolve(name, "MX", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Mail("nxdomain")
        if answer.rrset is None:
            addresses, _ = self._addresses(name)
            if not addresses:
                return Mail("no_data")
            return Mail("ok", implicit=True, exchanges=((None, domain, addresses, _reserved(addresses)),))
        records = sorted((record.preference, record.exchange) for record in answer.rrset)
        if [exchange for _, exchange in records] == [dns.name.root]:
            return Mail("ok", null_mx=True, exchanges=())
        named = sorted((preference, str(exchange).lower().rstrip(".")) for preference, exchange in records)
        return Mail("ok", exchanges=tuple((preference, name, *self._exchange(name)) for preference, name in named))

    def _exchange(self, name: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        if name == "localhost":
            return None, ("localhost",)
        if dns.inet.is_address(name):
            return None, ("literal",)
        if name in {"", "1.2.3"} or "\\" in name or name.startswith("-"):
            return None, ("bad_name",)
        addresses, alias = self._addresses(dns.name.from_text(name))
        flags = ("cname",) if alias else ()
        return addresses, flags + (_reserved(addresses) if addresses else ("dangling",))

    def _addresses(self, name: dns.name.Name) -> tuple[tuple[str, ...], bool]:
        found: list[str] = []
        alias = False
        for kind in ("A", "AAAA"):
            try:
                answer = self._resolver.resolve(name, kind, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN as error:
                alias = alias or error.canonical_name != name
                continue
            alias = alias or answer.canonical_name != name
            found += [record.address for record in answer.rrset or ()]
        return tuple(ip for ip in found if not ip.startswith("::ffff:")), alias


def _reserved(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return ("reserved",) if any(ip_address(ip).is_private for ip in addresses) else ()
