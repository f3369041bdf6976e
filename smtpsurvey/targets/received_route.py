"""The hops of a message, from its Received headers: which servers it passed, and whether the headers agree.

The header written last stands first, and is our own server's. Each says who wrote it and who its client was, so that
the client of one should be who wrote the next; a forger writes headers below the first that he has no hand in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpsurvey.items import Software
    from smtpsurvey.targets.received_header import Received

_LOOPBACK = re.compile(r"127\.|::1\Z")


class Hop(NamedTuple):
    """A host that a message passed, as :class:`~smtpsurvey.kinds.ReceivedItem` has it."""

    address: str | None
    name: str | None
    software: Software | None
    hop: int
    consistent: bool | None


def hops(headers: Sequence[tuple[Received, Software | None]]) -> Iterator[Hop]:
    """Yield the hosts that the headers name.

    Hop n is who wrote header n; header n - 1 names it as its client. Where the two differ both are given, neither
    consistent. The client of the last header is a hop that wrote none.
    """
    own = _written(headers)
    for place in range(1, len(own) + 2):
        above = own[place - 2][0] if place > 1 else None
        told = None if above is None else Hop(_public(above.address), next(iter(above.names), None), None, place, None)
        if place <= len(own):
            server, software = own[place - 1]
            agrees = None if above is None else _agree(above, server)
            address = _public(server.by_address)
            if agrees and above is not None:
                address = address or _public(above.address)
            yield from _known(Hop(address, server.by, software, place, agrees))
            told = told and told._replace(consistent=agrees)
            if agrees:
                continue
        if told is not None:
            yield from _known(told)


def _agree(above: Received, server: Received) -> bool | None:
    """Tell whether a header names as its client who wrote the one below it; ``None`` where either says too little."""
    if (server.by is None or not above.names) and (server.by_address is None or above.address is None):
        return None
    return server.by in above.names or (server.by_address is not None and server.by_address == above.address)


def _written(headers: Sequence[tuple[Received, Software | None]]) -> list[tuple[Received, Software | None]]:
    """Leave out headers that name no host at all; what software they tell of wrote the one below.

    qmail-queue writes such a one above that of qmail-smtpd.
    """
    written: list[tuple[Received, Software | None]] = []
    before: Software | None = None
    for header, software in headers:
        if header.by or header.by_address or header.names or header.address:
            written.append((header, software or before))
            before = None
        else:
            before = software
    return written


def _known(hop: Hop) -> Iterator[Hop]:
    if hop.address or hop.name:
        yield hop


def _public(address: str | None) -> str | None:
    """Drop an address that says nothing but that two servers share a host."""
    return None if address is None or _LOOPBACK.match(address) else address
