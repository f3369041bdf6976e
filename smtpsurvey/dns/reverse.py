"""Reverse names, and the domains that the names behind them may get mail for."""

from __future__ import annotations

from itertools import islice
from socket import AF_INET6, inet_pton
from typing import TYPE_CHECKING

from smtpsurvey.dns.addresses import values
from smtpsurvey.targets.address import BadTargetError, read_span
from smtpsurvey.targets.lines import TargetLines
from smtpsurvey.targets.names import host_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpsurvey.dns.answer import Answer
    from smtpsurvey.items import Target
    from smtpsurvey.targets.lines import HostName

MAX_DOMAINS = 100
"""Domains that one address leads to at most: an answer may hold thousands of names."""


def reverse_name(ip: str) -> str:
    """Give the name below in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5) of an address."""
    if ":" in ip:
        return ".".join(inet_pton(AF_INET6, ip).hex()[::-1]) + ".ip6.arpa"
    return ".".join(reversed(ip.split("."))) + ".in-addr.arpa"


class Suffixes:
    """The Public Suffix List that comes with tldextract; nothing is fetched.

    Its private section (github.io, amazonaws.com's zones, …) does not count: a walk towards an ICANN suffix
    passes the customer's domain and the provider's, the other way round the provider's would be lost.
    """

    def __init__(self) -> None:
        """Read the list."""
        from tldextract import TLDExtract  # noqa: PLC0415 - Scrapy imports every spider for each

        self._extract = TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=False)

    def domains(self, name: str) -> Iterator[str]:
        """Yield the domain that a host name is in and its parents, down to the registered one.

        A registered domain itself stands for itself; public suffixes and names below none yield nothing.
        """
        found = self._extract.extract_str(name)
        if not found.suffix or not found.domain:
            return
        registered = f"{found.domain}.{found.suffix}"
        parent = name if name == registered else name.partition(".")[2]
        while len(parent) >= len(registered):
            yield parent
            parent = parent.partition(".")[2]


def domains_behind(answer: Answer, suffixes: Suffixes) -> list[str]:
    """Give the domains that the PTR records of an answer lead to, each once."""
    found = (domain for name in _hosts(values(answer)) for domain in suffixes.domains(name))
    return list(islice(dict.fromkeys(found), MAX_DOMAINS))


def _hosts(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        try:
            yield host_name(name)
        except BadTargetError:
            continue


class AddressLines(TargetLines):
    """A list of targets in which a host name is a bad line."""

    def _targets(self, fields: list[str]) -> Iterable[Target | HostName]:
        address = self._columns(fields)[0]
        if not address or read_span(address) is None:
            raise BadTargetError("a host name: reverse look-ups take addresses")
        return super()._targets(fields)
