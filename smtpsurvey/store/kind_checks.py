"""What an item of another kind than ``probe`` has to be before it is stored, as :mod:`smtpsurvey.store.checks`."""

from __future__ import annotations

from ipaddress import ip_network
from math import isfinite
from typing import TYPE_CHECKING, Any

from smtpsurvey.kinds import DnsItem, MtaStsItem, MxItem, ReceivedItem, RouteItem
from smtpsurvey.outcomes import DnsOutcome, MtaSts, MxFlag, RouteStop, TlsRpt
from smtpsurvey.store.checks import address, canonical, need, one_of
from smtpsurvey.store.schema import TYPE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpsurvey.kinds import Exchange

_MAX_PREFERENCE = 0xFFFF
_MAX_HOP = 2**31 - 1
_MAX_TTL = 255
_MAX_COUNT = 2**63 - 1
_METHODS = frozenset(("tcp", "icmp"))
_OUTCOMES, _FLAGS, _MTA_STS, _TLSRPT, _STOPS = (
    frozenset(map(str, closed)) for closed in (DnsOutcome, MxFlag, MtaSts, TlsRpt, RouteStop)
)


def checked_kind(item: Any) -> Any:
    """Give an item of another kind back, addresses and time in canonical form; raises :class:`BadItemError`."""
    item.time = canonical(item.time)
    CHECKS[type(item)](item)
    return item


def _dns(item: DnsItem) -> None:
    _looked(item)
    need(0 < len(item.type) <= TYPE_LENGTH, "type", item.type)


def _mx(item: MxItem) -> None:
    _looked(item)
    for exchange in item.exchanges or ():
        _exchange(exchange)


def _mta_sts(item: MtaStsItem) -> None:
    one_of(_MTA_STS, "outcome", item.outcome)
    one_of(_TLSRPT, "tlsrpt", item.tlsrpt)
    need(item.max_age is None or 0 <= item.max_age <= _MAX_COUNT, "max_age", item.max_age)


def _received(item: ReceivedItem) -> None:
    if item.address is not None:
        item.address = address(item.address)
    need(item.address is not None or item.name is not None, "name", item.name)
    need(1 <= item.hop <= _MAX_HOP, "hop", item.hop)
    need(1 <= item.messages <= _MAX_COUNT, "messages", item.messages)


def _route(item: RouteItem) -> None:
    item.destination = address(item.destination)
    try:
        item.prefix = str(ip_network(item.prefix))
    except ValueError:
        need(fits=False, name="prefix", value=item.prefix)
    one_of(_STOPS, "stop", item.stop)
    one_of(_METHODS, "method", item.method)
    for hop in item.hops:
        address(hop.address)
        need(0 < hop.ttl <= _MAX_TTL, "hops.ttl", hop.ttl)
        need(isfinite(hop.rtt) and hop.rtt >= 0, "hops.rtt", hop.rtt)


def _looked(item: DnsItem | MxItem) -> None:
    one_of(_OUTCOMES, "outcome", item.outcome)
    need(isfinite(item.duration) and item.duration >= 0, "duration", item.duration)


def _exchange(exchange: Exchange) -> None:
    preference = exchange.preference
    need(preference is None or 0 <= preference <= _MAX_PREFERENCE, "exchanges.preference", preference)
    if exchange.addresses is not None:
        exchange.addresses = [address(each) for each in exchange.addresses]
    for flag in exchange.flags or ():
        one_of(_FLAGS, "exchanges.flags", flag)


CHECKS: dict[type, Callable[[Any], None]] = {
    DnsItem: _dns,
    MtaStsItem: _mta_sts,
    MxItem: _mx,
    ReceivedItem: _received,
    RouteItem: _route,
}
"""The kinds that may come from a file."""
