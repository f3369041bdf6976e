"""What a network says to a SYN, and the outcome that stands for it: never one for another."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from servers.crawl import schema_errors, start_crawl

if TYPE_CHECKING:
    from pathlib import Path

    from servers.namespace import Namespace
    from servers.network import Network

# An ICMP message that comes while connect() holds the socket is lost: the SYN sent again after 1 s brings another.
TIMEOUTS = {"connect": 2.5, "greeting": 5, "reply": 5, "tls": 5, "total": 15}
EXPECTED = {
    "10.50.1": "ok",
    "10.51.0": "timeout",  # SYNs dropped
    "10.51.2": "unreachable",  # ICMP administratively prohibited
    "10.51.3": "refused",  # RST
    "10.51.4": "refused",  # ICMP port unreachable
    "10.51.5": "unreachable",  # ICMP host unreachable
    "10.52.0": "unreachable",  # a router without a route
}
EXPECTED_IPV6 = {
    "fd50:": "ok",
    "fd51:": "timeout",
    "fd51:2:": "unreachable",
    "fd51:3:": "refused",
    "fd51:4:": "refused",
    "fd51:5:": "unreachable",
    "fd52:": "unreachable",
}
HOSTS = (1, 2)  # Linux tells one source of 5 missing routes at once, then of one a second


def test_each_answer_to_a_syn_gets_its_own_outcome(network: Network, tmp_path: Path) -> None:
    expected = {f"{prefix}.{host}": outcome for prefix, outcome in EXPECTED.items() for host in HOSTS}
    expected |= {f"{prefix}:{host}": outcome for prefix, outcome in EXPECTED_IPV6.items() for host in HOSTS}
    targets = list(expected)
    random.Random(2).shuffle(targets)
    allow = "10.50.0.0/16,10.51.0.0/16,10.52.0.0/16,fd50::/16,fd51::/16,fd52::/16"
    settings = {"SMTPSURVEY_ALLOW": allow, "SMTPSURVEY_TIMEOUTS": TIMEOUTS}
    items = start_crawl(network.client, tmp_path, targets, settings).finish()
    assert {item["ip"]: item["outcome"] for item in items} == expected
    assert len(items) == len(expected)
    assert schema_errors(items) == []


def test_a_host_without_a_route_blames_itself(alone: Namespace, tmp_path: Path) -> None:
    targets = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    settings = {"SMTPSURVEY_ALLOW": "192.0.2.0/24,2001:db8::/32", "SMTPSURVEY_TIMEOUTS": TIMEOUTS}
    items = start_crawl(alone, tmp_path, targets, settings).finish()
    found = {item["ip"]: (item["outcome"], item["reason"]) for item in items}
    assert found == dict.fromkeys(targets, ("local_error", "ENETUNREACH"))
    assert schema_errors(items) == []
