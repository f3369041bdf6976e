"""A look before a survey starts: whether it is who it says, can be reached, and is slow enough."""

from __future__ import annotations

import re
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple

import dns.exception
import dns.nameserver
import dns.resolver
import dns.reversename

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.identity import Identity
from smtpsurvey.admission.optout import read_optout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrapy.settings import BaseSettings

TIMEOUT = 10.0  # seconds, for a look-up and for the page
MAX_PAGE = 1 << 20  # bytes of the page that are searched for our name
HIGHEST = {"SMTPSURVEY_RATE": 20_000, "SMTPSURVEY_PREFIX_RATE": 10, "SMTPSURVEY_AS_RATE": 500}
"""New contacts a second that are still polite: forty, five and ten times the defaults."""


class Finding(NamedTuple):
    """One thing looked at: what, whether it is as it should be, and what was found."""

    what: str
    good: bool
    says: str


class Names:
    """The three look-ups that are needed, by dnspython."""

    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        """Ask ``servers`` (address, port), or those of resolv.conf if there are none given."""
        self._resolver = dns.resolver.Resolver(configure=not servers)
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in servers]
        self._resolver.lifetime = TIMEOUT

    def addresses(self, name: str) -> list[str]:
        """Give the addresses of a name."""
        return [*self.records(name, "A"), *self.records(name, "AAAA")]

    def names(self, address: str) -> list[str]:
        """Give the names of an address, lower-case, without the last dot."""
        found = self.records(dns.reversename.from_address(address).to_text(), "PTR")
        return [name.lower().removesuffix(".") for name in found]

    def records(self, name: str, kind: str) -> list[str]:
        """Give the records of a name; none where the look-up failed, which comes to the same here."""
        try:
            return [record.to_text() for record in self._resolver.resolve(f"{name.removesuffix('.')}.", kind)]
        except dns.exception.DNSException:
            return []


def check(settings: BaseSettings, addresses: Sequence[str], names: Names) -> Iterator[Finding]:
    """Look at a survey's settings and at its host; ``addresses`` are those it probes from, if known.

    Without them, those of the name in EHLO are looked at. Raises ``IdentityError`` for an identity that is none.
    """
    identity = Identity(settings.get("SMTPSURVEY_HELO") or None, settings.get("SMTPSURVEY_CONTACT") or None)
    if not identity.complete:
        yield Finding("identity", good=False, says="SMTPSURVEY_HELO and SMTPSURVEY_CONTACT are needed off loopback")
        return
    yield Finding("identity", good=True, says=f"{identity.helo}, {settings['SMTPSURVEY_CONTACT']}")
    yield from _named(identity.helo, addresses, names)
    yield _contact(str(settings["SMTPSURVEY_CONTACT"]), identity.helo, names)
    yield from _rates(settings)
    yield _optout(settings)


def _named(helo: str, addresses: Sequence[str], names: Names) -> Iterator[Finding]:
    """Compare name and addresses both ways, as mail servers do (forward-confirmed reverse DNS)."""
    forward = names.addresses(helo)
    yield Finding(f"addresses of {helo}", good=bool(forward), says=", ".join(forward) or "none")
    for address in addresses or forward:
        found = names.names(address)
        says = ", ".join(found[:5]) or "no PTR record"
        yield Finding(f"PTR of {address}", good=helo.lower() in found, says=says)
        if addresses:
            good = address in forward
            yield Finding(f"{helo} has {address}", good=good, says="yes" if good else "no")


def _contact(contact: str, helo: str, names: Names) -> Finding:
    if not contact.startswith(("http://", "https://")):
        domain = contact.rpartition("@")[2]
        good = bool(names.records(domain, "MX") or names.addresses(domain))
        return Finding("contact", good, f"{domain} {'takes' if good else 'takes no'} mail")
    try:
        # A URL the surveyor gave as his own; its scheme was checked with the identity.
        with urllib.request.urlopen(contact, timeout=TIMEOUT) as answer:  # noqa: S310
            status, body = answer.status, answer.read(MAX_PAGE)
    except (OSError, HTTPException, ValueError) as error:
        return Finding("contact", good=False, says=f"{contact}: {getattr(error, 'reason', None) or error}")
    if status != HTTPStatus.OK:
        return Finding("contact", good=False, says=f"{contact}: status {status}")
    named = re.search(re.escape(helo.encode()), body, re.IGNORECASE) is not None
    return Finding("contact", named, f"{contact} {'names' if named else 'does not name'} {helo}")


def _rates(settings: BaseSettings) -> Iterator[Finding]:
    for name, highest in HIGHEST.items():
        rate = settings.getfloat(name)
        says = f"{rate:g} a second" if rate else "no limit"
        yield Finding(name, good=0 < rate <= highest, says=f"{says} (at most {highest:,})")


def _optout(settings: BaseSettings) -> Finding:
    path = settings.get("SMTPSURVEY_OPTOUT")
    if not path:
        return Finding("opt-outs", good=False, says="SMTPSURVEY_OPTOUT is not set: nobody could opt out")
    try:
        entries = read_optout(path, with_as_map=bool(settings.get("SMTPSURVEY_AS_MAP")))
    except AdmissionError as error:
        return Finding("opt-outs", good=False, says=str(error))
    return Finding("opt-outs", good=True, says=f"{path}: {len(entries):,} entries")
