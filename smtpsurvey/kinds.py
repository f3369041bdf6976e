"""The items of kinds other than ``probe``; each has ``kind``, ``survey`` and ``time`` (``docs/reference/items.md``).

As :class:`smtpsurvey.items.SmtpItem` they are plain ``__dict__`` classes, which msgspec writes in this order.
"""

from __future__ import annotations

import attrs

from smtpsurvey.items import SmtpItem, Software


@attrs.define(eq=False, slots=False)
class DnsRecord:
    """One resource record of an answer: owner without the last dot, TTL in seconds, value as in a zone file."""

    name: str
    type: str
    ttl: int
    value: str


class _Listed:
    """Keeps the place in the list beside the fields, so that no feed writes it and the checkpoint can."""

    _position: int | None = None

    @property
    def position(self) -> int | None:
        """Where the entry stands in its list, from 0 (``None``: in none)."""
        return self._position

    def put(self, position: int) -> None:
        """Say where the entry stands."""
        self._position = position


@attrs.define(eq=False, slots=False)
class DnsItem(_Listed):
    """One look-up. ``outcome`` is a :class:`~smtpsurvey.outcomes.DnsOutcome`, ``rcode`` its mnemonic.

    ``server`` is the address that answered, ``ad`` its AD flag (``None`` without an answer), ``duration``
    in seconds from the first query to the end, tries included. ``source`` is what the name was found by.
    """

    survey: str
    time: str
    name: str
    type: str
    outcome: str
    rcode: str | None = None
    records: list[DnsRecord] | None = None
    server: str | None = None
    ad: bool | None = None
    duration: float = 0.0
    source: str | None = None
    kind: str = "dns"


@attrs.define(eq=False, slots=False)
class Exchange:
    """A host that takes a domain's mail; ``addresses`` is ``None`` where they were not looked up.

    ``flags`` holds :class:`~smtpsurvey.outcomes.MxFlag`, ``preference`` is ``None`` for an implicit MX.
    """

    preference: int | None
    name: str
    addresses: list[str] | None = None
    flags: list[str] | None = None


@attrs.define(eq=False, slots=False)
class MxItem(_Listed):
    """Where a domain's mail goes, by preference (RFC 5321 section 5.1; null MX: RFC 7505)."""

    survey: str
    time: str
    domain: str
    outcome: str
    implicit: bool = False
    null_mx: bool = False
    exchanges: list[Exchange] | None = None
    rcode: str | None = None
    server: str | None = None
    ad: bool | None = None
    duration: float = 0.0
    source: str | None = None
    kind: str = "mx"


@attrs.define(eq=False, slots=False)
class ReceivedItem:
    """A server seen in the Received headers of mail, not probed (a passive observation).

    ``address`` or ``name`` may be unknown, not both. ``hop`` counts from 1, the header written last;
    ``consistent`` says whether the hop above it agrees (``None`` for the first, which is our own server's).
    ``messages`` counts the messages that say the same.
    """

    survey: str
    time: str
    address: str | None
    name: str | None
    software: Software | None
    hop: int
    consistent: bool | None
    messages: int = 1
    source: str = "received"
    kind: str = "received"


MASS = (SmtpItem, DnsItem, MxItem, ReceivedItem)
"""What surveys make by the million: a feed writes one in a single call, and no log record tells of each."""
