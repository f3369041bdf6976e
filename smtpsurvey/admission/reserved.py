"""Addresses that are no public hosts: our own list, an RFC a line.

``ipaddress.is_global`` is no filter for probing: on Python 3.11 it is true for multicast, 6to4 and
the 6to4 relay, among others. The list follows the IANA registries of special-purpose addresses and
of the IPv6 address space; what they call globally reachable but no mail server can live on (AS112,
AMT, protocol anycast) is left alone too.
"""

from __future__ import annotations

from ipaddress import ip_network

from smtpsurvey.admission.exclusions import Exclusion
from smtpsurvey.outcomes import Reason

# Broad lines first: a later line names an address better.
_LINES = (
    ("0.0.0.0/8", "RFC 791", "this network"),
    ("10.0.0.0/8", "RFC 1918", "private use"),
    ("100.64.0.0/10", "RFC 6598", "shared address space"),
    ("127.0.0.0/8", "RFC 1122", "loopback"),
    ("169.254.0.0/16", "RFC 3927", "link-local"),
    ("172.16.0.0/12", "RFC 1918", "private use"),
    ("192.0.0.0/24", "RFC 6890", "IETF protocol assignments"),
    ("192.0.2.0/24", "RFC 5737", "documentation"),
    ("192.31.196.0/24", "RFC 7535", "AS112"),
    ("192.52.193.0/24", "RFC 7450", "AMT"),
    ("192.88.99.0/24", "RFC 7526", "6to4 relay anycast, deprecated"),
    ("192.168.0.0/16", "RFC 1918", "private use"),
    ("192.175.48.0/24", "RFC 7534", "AS112"),
    ("198.18.0.0/15", "RFC 2544", "benchmarking"),
    ("198.51.100.0/24", "RFC 5737", "documentation"),
    ("203.0.113.0/24", "RFC 5737", "documentation"),
    ("224.0.0.0/4", "RFC 5771", "multicast"),
    ("240.0.0.0/4", "RFC 1112", "reserved for future use"),
    ("255.255.255.255/32", "RFC 919", "limited broadcast"),
    ("::/3", "RFC 4291", "outside global unicast 2000::/3"),
    ("4000::/2", "RFC 4291", "outside global unicast 2000::/3"),
    ("8000::/1", "RFC 4291", "outside global unicast 2000::/3"),
    ("::/128", "RFC 4291", "unspecified"),
    ("::1/128", "RFC 4291", "loopback"),
    ("::ffff:0:0/96", "RFC 4291", "IPv4-mapped"),
    ("64:ff9b::/96", "RFC 6052", "IPv4/IPv6 translation"),
    ("64:ff9b:1::/48", "RFC 8215", "IPv4/IPv6 translation, local use"),
    ("100::/64", "RFC 6666", "discard only"),
    ("100:0:0:1::/64", "RFC 9780", "dummy prefix"),
    ("2001::/23", "RFC 2928", "IETF protocol assignments"),
    ("2001::/32", "RFC 4380", "Teredo"),
    ("2001:2::/48", "RFC 5180", "benchmarking"),
    ("2001:3::/32", "RFC 7450", "AMT"),
    ("2001:4:112::/48", "RFC 7535", "AS112"),
    ("2001:10::/28", "RFC 4843", "ORCHID, deprecated"),
    ("2001:20::/28", "RFC 7343", "ORCHIDv2"),
    ("2001:30::/28", "RFC 9374", "drone remote ID"),
    ("2001:db8::/32", "RFC 3849", "documentation"),
    ("2002::/16", "RFC 3056", "6to4"),
    ("2620:4f:8000::/48", "RFC 7534", "AS112"),
    ("3ffe::/16", "RFC 3701", "6bone, returned"),
    ("3fff::/20", "RFC 9637", "documentation"),
    ("5f00::/16", "RFC 9602", "segment routing SIDs"),
    ("fc00::/7", "RFC 4193", "unique local"),
    ("fe80::/10", "RFC 4291", "link-local"),
    ("fec0::/10", "RFC 3879", "site-local, deprecated"),
    ("ff00::/8", "RFC 4291", "multicast"),
)

SPECIAL_PURPOSE = tuple(Exclusion(ip_network(cidr), Reason.RESERVED, why, rfc) for cidr, rfc, why in _LINES)
"""Every special-purpose range, to go into :class:`~smtpsurvey.admission.exclusions.Exclusions`."""
