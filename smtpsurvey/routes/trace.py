"""What scamper says of a traceroute: one JSON object, read into a :class:`Trace`."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import attrs
import msgspec

from smtpsurvey.outcomes import RouteStop

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_HOPS = 40
GAP = 5  # silent hops in a row that end a trace
ATTEMPTS = 2  # packets to a hop at most
WAIT = 2  # seconds for an answer
SMTP = 25
_IPV4_LENGTH, _IPV6_LENGTH = 24, 48


class Method(StrEnum):
    """What the packets of a trace are: SYNs to port 25, or echo requests of one flow (Paris traceroute)."""

    TCP = "tcp"
    ICMP = "icmp"

    def command(self, address: str, number: int) -> str:
        """Give the line that makes scamper trace the route to an address, and put ``number`` on the result."""
        how = f"tcp -d {SMTP}" if self is Method.TCP else "icmp-paris"
        return f"trace -P {how} -q {ATTEMPTS} -w {WAIT} -g {GAP} -m {MAX_HOPS} -U {number} {address}"


@attrs.frozen
class Step:
    """A hop that answered: TTL, canonical address, round-trip time in milliseconds."""

    ttl: int
    address: str
    rtt: float


@attrs.frozen
class Trace:
    """A finished trace, of the command with this ``number``."""

    number: int
    stop: RouteStop
    steps: Sequence[Step]


class _Hop(msgspec.Struct):
    addr: str
    probe_ttl: int
    rtt: float


class _Record(msgspec.Struct):
    type: str
    userid: int = -1
    stop_reason: str = RouteStop.NONE
    hops: list[_Hop] = []


_DECODER = msgspec.json.Decoder(_Record)


def read_trace(data: bytes) -> Trace | None:
    """Read a record; ``None`` for one that is no trace. Raises ``ValueError`` for one that cannot be read."""
    record = _DECODER.decode(data)
    if record.type != "trace":
        return None
    try:
        stop = RouteStop(record.stop_reason.lower())
    except ValueError:
        stop = RouteStop.NONE
    # A hop may have answered each attempt: the first answer counts.
    steps = {(hop.probe_ttl, hop.addr): hop for hop in reversed(record.hops)}
    found = [Step(ttl, str(ip_address(addr)), hop.rtt) for (ttl, addr), hop in sorted(steps.items())]
    return Trace(record.userid, stop, found)


def network_around(ip: str) -> str:
    """Give the /24 (IPv4) or /48 (IPv6) of an address."""
    return str(ip_network(f"{ip}/{_IPV6_LENGTH if ':' in ip else _IPV4_LENGTH}", strict=False))
