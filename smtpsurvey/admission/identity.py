"""Who we are. Off loopback nobody is probed by a survey that does not say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from smtpsurvey.items import Target

HOW = (
    "say who you are: -s SMTPSURVEY_HELO=survey.example.org (your host's full name, with a PTR record) "
    "-s SMTPSURVEY_CONTACT=https://survey.example.org/ (a page or mail address for those you probe), "
    "or both in settings.py"
)
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_FQDN = re.compile(rf"(?=.{{4,253}}\Z){_LABEL}(?:\.{_LABEL})*\.(?![0-9]+\Z){_LABEL}")
_CONTACT = re.compile(r"https?://[^\s/]+\S*|(?:mailto:)?[^\s@]+@[^\s@]+\.[^\s@]+")
LOOPBACK_HELO = "localhost"


class IdentityError(SurveyError):
    """The survey does not say, or not rightly, who makes it."""


class Identity:
    """The name said in EHLO and the contact; without them, only loopback may be probed."""

    def __init__(self, helo: str | None, contact: str | None) -> None:
        """Check both; raises :class:`IdentityError` for what is set but wrong."""
        if helo and not _FQDN.fullmatch(helo):
            raise IdentityError(f"SMTPSURVEY_HELO={helo!r} is no fully qualified host name: {HOW}")
        if contact and not _CONTACT.fullmatch(contact):
            raise IdentityError(f"SMTPSURVEY_CONTACT={contact!r} is no URL or mail address: {HOW}")
        self.helo = helo or LOOPBACK_HELO
        self.complete = bool(helo and contact)

    def admit(self, target: Target) -> None:
        """Let a target pass, or not, as :meth:`check` says."""
        self.check(target.ip)

    def check(self, host: str) -> None:
        """Let an address or host name pass; raises :class:`IdentityError` off loopback when nobody said who we are."""
        if not self.complete and not is_loopback(host):
            raise IdentityError(f"{host} is not a loopback address; before you survey others, {HOW}")


def is_loopback(host: str) -> bool:
    """Tell whether a canonical address is in 127.0.0.0/8 or ``::1``, or a name is ``localhost``."""
    return host.startswith("127.") or host in {"::1", "localhost"}
