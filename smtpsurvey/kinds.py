"""The items of kinds other than ``probe``; each has ``kind``, ``survey`` and ``time`` (``docs/reference/items.md``).

As :class:`smtpsurvey.items.SmtpItem` they are plain ``__dict__`` classes, which msgspec writes in this order.
"""

from __future__ import annotations

from typing import Any

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
    ``consistent`` says whether the hop above it agrees (``None`` for the first, which is our own server's, and
    where a header says too little).
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


@attrs.define(eq=False, slots=False)
class MtaStsItem(_Listed):
    """What a domain publishes about TLS for its mail (RFC 8461, RFC 8460).

    ``outcome`` is a :class:`~smtpsurvey.outcomes.MtaSts`, ``reason`` says more where there is more to say. ``id`` is of
    the record; ``mode``, ``max_age`` (seconds) and ``patterns`` of the policy. ``exchanges`` are the domain's, with
    whether a pattern covers each; ``covered`` whether all are (``None``: not known, or it takes no mail).
    ``tlsrpt`` is a :class:`~smtpsurvey.outcomes.TlsRpt`, ``reports`` where it wants them.
    """

    survey: str
    time: str
    domain: str
    outcome: str
    reason: str | None = None
    id: str | None = None
    mode: str | None = None
    max_age: int | None = None
    patterns: list[str] | None = None
    exchanges: dict[str, bool] | None = None
    covered: bool | None = None
    tlsrpt: str | None = None
    reports: list[str] | None = None
    source: str | None = None
    kind: str = "mta_sts"


@attrs.frozen(slots=False)
class Line:
    """The line of a command file that an item is from; lines count from 1."""

    file: str
    line: int


@attrs.define(eq=False, slots=False)
class AsItem:
    """Whose an address is.

    ``reason`` is the entry of the lists that covers it; ``opted_out`` is ``None`` without SMTPSURVEY_OPTOUT.
    """

    survey: str
    time: str
    address: str
    prefix: str | None
    asn: int | None
    opted_out: bool | None
    reason: str | None
    command: Line
    kind: str = "as"


@attrs.define(eq=False, slots=False)
class HttpItem:
    """One page. ``outcome`` is a :class:`~smtpsurvey.outcomes.HttpOutcome`; ``location`` is where a redirect leads.

    ``body`` is text; bytes that are not UTF-8 stand as escapes; ``truncated`` when there was more of it.
    """

    survey: str
    time: str
    url: str
    outcome: str
    status: int | None
    location: str | None
    body: str | None
    truncated: bool | None
    command: Line
    kind: str = "http"


@attrs.define(eq=False, slots=False)
class LogItem:
    """A line that a command file puts into the results."""

    survey: str
    time: str
    text: str
    command: Line
    kind: str = "log"


@attrs.define(eq=False, slots=False)
class HeartbeatItem:
    """A sign of life: the running command, how many are done and in flight, memory in bytes."""

    survey: str
    time: str
    running: str | None
    done: int
    in_flight: int
    memory: int
    command: Line
    kind: str = "heartbeat"


@attrs.define(eq=False, slots=False)
class CapabilitiesItem:
    """A node's self-test; each check has ``what``, ``good`` (``None``: not checked) and ``says``."""

    survey: str
    time: str
    fit: bool
    checks: list[Any]
    command: Line
    kind: str = "capabilities"


@attrs.define(eq=False, slots=False)
class Hop:
    """A host on a route that answered: ``ttl`` that the packet began with, round-trip time ``rtt`` in milliseconds.

    ``asn`` and ``prefix`` are those of its address in the AS map, ``None`` where unknown.
    """

    ttl: int
    address: str
    rtt: float
    asn: int | None = None
    prefix: str | None = None


@attrs.define(eq=False, slots=False)
class RouteItem(_Listed):
    """The route to an address; ``prefix`` is that of the AS map, else its /24 or /48.

    Hops that were silent are left out. ``stop`` is a :class:`~smtpsurvey.outcomes.RouteStop`, ``method`` ``tcp`` or
    ``icmp``. ``time`` is when it was measured.
    """

    survey: str
    time: str
    destination: str
    prefix: str
    hops: list[Hop]
    stop: str
    method: str
    source: str | None = None
    kind: str = "route"


MASS = (SmtpItem, DnsItem, MxItem, MtaStsItem, ReceivedItem, RouteItem)
"""What surveys make by the million: a feed writes one in a single call, and no log record tells of each."""
