"""A target that is excluded gets no packet: the router on the way counts the SYNs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mmdb_writer import MMDBWriter
from netaddr import IPSet
from servers.crawl import schema_errors, start_crawl

if TYPE_CHECKING:
    from pathlib import Path

    from servers.network import Network

ALLOW = "10.50.0.0/16,fd50::/64"
OPTED_OUT = """\
AS64502            # the whole network asked
10.50.1.0/24       # a network
10.50.3.7          # one address
fd50::bad          # one more
optout.example     # a domain, and what is below it
"""
# target line: reason
EXCLUDED = {
    "10.50.2.1": "AS",
    "10.50.2.200": "AS",
    "10.50.1.1": "opt-out",
    "10.50.1.255": "opt-out",
    "10.50.3.7": "opt-out",
    "fd50::bad": "opt-out",
    "10.50.4.1,optout.example": "opt-out",
    "10.50.4.2,mx.optout.example": "opt-out",
    "10.60.0.1": "reserved",
    "192.168.7.7": "reserved",
    "198.18.0.1": "reserved",
    "224.0.0.1": "reserved",
    "fd99::1": "reserved",
    "2001:db8::1": "reserved",
}
ADMITTED = ["10.50.3.6", "10.50.3.8", "10.50.4.3,mx.notoptout.example", "10.50.0.255", "fd50::bae", "10.50.5.1"]


def test_excluded_targets_get_no_syn_and_the_others_get_theirs(network: Network, tmp_path: Path) -> None:
    as_map = MMDBWriter(6, "test", ipv4_compatible=True)
    as_map.insert_network(IPSet(["10.50.2.0/24"]), {"autonomous_system_number": 64502})
    as_map.insert_network(IPSet(["10.50.5.0/24"]), {"autonomous_system_number": 64505})
    as_map.to_db_file(str(tmp_path / "as.mmdb"))
    (tmp_path / "optout.txt").write_text(OPTED_OUT, "utf-8")
    settings = {
        "SMTPSURVEY_ALLOW": ALLOW,
        "SMTPSURVEY_AS_MAP": str(tmp_path / "as.mmdb"),
        "SMTPSURVEY_OPTOUT": str(tmp_path / "optout.txt"),
    }
    network.forget_contacted()
    items = start_crawl(network.client, tmp_path, [*EXCLUDED, *ADMITTED], settings).finish()

    assert network.contacted() == {_address(line) for line in ADMITTED}
    found = {item["ip"]: (item["outcome"], item.get("reason")) for item in items}
    assert found == {
        **{_address(line): ("excluded", reason) for line, reason in EXCLUDED.items()},
        **{_address(line): ("ok", None) for line in ADMITTED},
    }
    assert {item["ip"]: item.get("asn") for item in items}["10.50.5.1"] == 64505
    assert schema_errors(items) == []


def test_the_summary_of_a_crawl_counts_what_was_excluded_by_reason(network: Network, tmp_path: Path) -> None:
    (tmp_path / "optout.txt").write_text("10.50.1.0/24\n", "utf-8")
    settings = {"SMTPSURVEY_ALLOW": ALLOW, "SMTPSURVEY_OPTOUT": str(tmp_path / "optout.txt")}
    targets = ["10.50.1.1", "10.50.1.2", "192.168.7.7", "10.50.0.1"]
    items = start_crawl(network.client, tmp_path, targets, settings).finish()
    assert Counter(item.get("reason") for item in items) == {"opt-out": 2, "reserved": 1, None: 1}


def _address(line: str) -> str:
    return line.partition(",")[0]
