"""Who really runs a domain's mail: by certificate, by what the server calls itself, by the exchange's name.

In this order, because a customer may give an exchange a name of the own domain, but the provider's server still has
the provider's certificate and says the provider's name. A host that was rented has a name of its landlord's, made of
its address: that says who owns the machine, not who runs its mail, and such names are passed over.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.analysis.table import Table, ranked, regroup, share

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Mapping

    Registrable = Callable[[str], str | None]

SELF = "self-hosted"
"""What stands for a provider where all names are the domain's own."""

_GENERIC = re.compile(
    r"(?:^|[.-])(?:vps|vm|ip|host|server|static|dyn|dynamic|dhcp|dsl|adsl|pool|cloud|ec2|node|unn|srv|client|cust|customer|ns)"
    r"[-.]?\d|(?:^|\.)(?:static|dynamic|dyn|dhcp|dsl|pool|rev|reverse|compute|clients?|customers?|vps|colo)\."
)
_MIN_NUMBERS = 2  # of the address that have to be in a name for it to be made of it


class Seen(NamedTuple):
    """What is known of a server that takes a domain's mail; names in lower case, without the last dot.

    ``certificate`` are the names of its certificate where it is trusted, ``host`` what greeting or EHLO calls it,
    ``exchange`` what the MX record calls it.
    """

    address: str
    certificate: tuple[str, ...]
    host: str | None
    exchange: str | None


class Provider(NamedTuple):
    """Who runs the mail, and which name of which kind says so."""

    name: str
    evidence: str
    by: str | None


@cache
def known() -> Mapping[str, str]:
    """Give the providers that are known, by the names under which their servers are (data/providers.toml)."""
    data = tomllib.loads((files(__package__) / "data" / "providers.toml").read_text("utf-8"))
    return {name: provider["name"] for provider in data["providers"] for name in provider["names"]}


def provider(domain: str, seen: Seen, registrable: Registrable) -> Provider:
    """Tell who runs a domain's mail by one of its servers.

    ``registrable`` gives the registered domain of a name, by the public suffix list, or ``None``. A provider that is
    not known goes by its registered domain.
    """
    own = registrable(domain) or domain
    candidates = [("certificate", name) for name in seen.certificate]
    candidates += [(kind, name) for kind, name in (("host", seen.host), ("mx", seen.exchange)) if name]
    for evidence, name in candidates:
        bare = name.removeprefix("*.")
        named = _known(bare)
        if named is not None:
            return Provider(named, evidence, name)
        registered = registrable(bare)
        if registered is not None and registered != own and not is_default_name(bare, seen.address):
            return Provider(registered, evidence, name)
    return Provider(SELF, "none", None)


def is_default_name(name: str, address: str) -> bool:
    """Tell whether a name is one that a landlord gives to any host: made of its address, or of a number."""
    if _GENERIC.search(name):
        return True
    if ":" in address:
        return False
    numbers = re.findall(r"\d+", name)
    parts = address.split(".")
    return sum(part in {number.lstrip("0") or "0" for number in numbers} for part in parts) >= _MIN_NUMBERS


def _known(name: str) -> str | None:
    """Find the provider under one of whose names a name is, the longest first."""
    table = known()
    while name:
        found = table.get(name)
        if found is not None:
            return found
        name = name.partition(".")[2]
    return None


def choose(found: Iterable[Provider]) -> Provider | None:
    """Choose among what a domain's servers say: the first that is known to be somebody else; ``None`` without any."""
    first: Provider | None = None
    for each in found:
        if each.name != SELF:
            return each
        first = first or each
    return first


def providers(domains: Counter[Provider]) -> Table:
    """Domains (``hosts``) by who runs their mail, with the evidence it rests on."""
    whole = domains.total()
    by_name = regroup(domains, lambda each: each.name)
    evidence = regroup(domains, lambda each: (each.name, each.evidence))
    rows = tuple(
        (
            name,
            hosts,
            share(hosts, whole),
            *(evidence[name, kind] for kind in ("certificate", "host", "mx")),
        )
        for name, hosts in ranked(by_name)
    )
    measures = ("hosts", "share_of_domains", "by_certificate", "by_host", "by_mx")
    return Table("providers", ("provider",), measures, rows)
