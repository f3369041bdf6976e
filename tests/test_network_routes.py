"""Routes across a real router: hops with their AS, and targets that are left alone for an AS on the way."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from servers.crawl import SETTINGS, start_crawl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from servers.network import Network

ROUTER, NEAR, FAR = 64501, 64502, 64503
# Addresses that the client sends anything to, and those that it sends echo requests to.
RULES = """
table inet routes {
  set sent { type ipv4_addr; size 65535; flags dynamic; }
  set echoed { type ipv4_addr; size 65535; flags dynamic; }
  chain prerouting {
    type filter hook prerouting priority -290; policy accept;
    iifname "client" ip daddr 10.50.0.0/16 add @sent { ip daddr }
    iifname "client" icmp type echo-request add @echoed { ip daddr }
  }
}
"""


class Packets:
    """What the router saw."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def sent(self) -> set[str]:
        return self.network.router.nft_set("routes", "sent")

    def echoed(self) -> set[str]:
        return self.network.router.nft_set("routes", "echoed")

    def forget(self) -> None:
        self.network.router.nft("flush set inet routes sent\nflush set inet routes echoed")
        self.network.forget_contacted()


@pytest.fixture
def packets(network: Network) -> Iterator[Packets]:
    network.router.nft(RULES)
    network.forget_contacted()
    yield Packets(network)
    network.router.nft("delete table inet routes")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    as_map = MMDBWriter(6, "test", ipv4_compatible=True)
    for prefix, asn in (("10.49.1.0/24", ROUTER), ("10.50.0.0/17", NEAR), ("10.50.128.0/17", FAR)):
        as_map.insert_network(IPSet([prefix]), {"autonomous_system_number": asn})
    as_map.to_db_file(str(tmp_path / "as.mmdb"))
    opt_out(tmp_path, 64599)
    return {
        "SMTPSURVEY_ALLOW": "10.50.0.0/16,fd60::/64",
        "SMTPSURVEY_AS_MAP": str(tmp_path / "as.mmdb"),
        "SMTPSURVEY_OPTOUT": str(tmp_path / "optout.txt"),
    }


def opt_out(folder: Path, *asns: int) -> None:
    (folder / "optout.txt").write_text("".join(f"AS{asn}\n" for asn in asns))


def trace(
    network: Network, folder: Path, settings: Mapping[str, object], *arguments: str, wrapper: tuple[str, ...] = ()
) -> tuple[list[dict[str, Any]], str]:
    """Run ``scrapy crawl traceroute`` on the client; give its items and its log."""
    argv = [*wrapper, sys.executable, "-m", "scrapy", "crawl", "traceroute", "-a", f"targets={folder}/list.txt"]
    for argument in arguments:
        argv += ["-a", argument]
    for name, value in {**SETTINGS, **settings}.items():
        argv += ["-s", f"{name}={value}"]
    ended = network.client.run(*argv, "-O", folder / "routes.jsonl")
    assert "Traceback" not in ended.stderr, ended.stderr
    feed = folder / "routes.jsonl"
    return [json.loads(line) for line in feed.read_text().splitlines()] if feed.exists() else [], ended.stderr


@pytest.mark.parametrize("method", ["tcp", "icmp"])
def test_a_prefix_of_65536_targets_is_traced_once_and_each_hop_has_its_as(
    network: Network, packets: Packets, settings: dict[str, object], tmp_path: Path, method: str
) -> None:
    (tmp_path / "list.txt").write_text("10.50.0.0/16\n")
    routes, log = trace(network, tmp_path, settings, f"method={method}")
    found = {
        route["prefix"]: [(hop["ttl"], hop["address"], hop["asn"], hop["prefix"]) for hop in route["hops"]]
        for route in routes
    }
    assert found == {
        prefix: [(1, "10.49.1.1", ROUTER, "10.49.1.0/24"), (2, address, asn, prefix)]
        for prefix, address, asn in (("10.50.0.0/17", "10.50.0.0", NEAR), ("10.50.128.0/17", "10.50.128.0", FAR))
    }
    assert len(routes) == 2
    assert {(route["kind"], route["stop"], route["method"], route["source"]) for route in routes} == {
        ("route", "completed", method, "list.txt")
    }
    assert all(0 < hop["rtt"] < 1000 for route in routes for hop in route["hops"])
    assert packets.sent() == {"10.50.0.0", "10.50.128.0"}
    assert network.contacted() == ({"10.50.0.0", "10.50.128.0"} if method == "tcp" else set())
    assert "'smtpsurvey/route/same_prefix': 65534" in log


def test_each_address_is_traced_where_that_is_asked_for_but_nobody_who_opted_out(
    network: Network, packets: Packets, settings: dict[str, object], tmp_path: Path
) -> None:
    opt_out(tmp_path, FAR)
    (tmp_path / "list.txt").write_text("10.50.1.0/29\n10.50.128.0/29\n")
    routes, log = trace(network, tmp_path, settings, "per=address", "method=icmp")
    traced = {f"10.50.1.{host}" for host in range(8)}
    assert {route["destination"] for route in routes} == traced == packets.sent()
    assert "'smtpsurvey/route/excluded': 8" in log


def test_a_route_across_an_as_that_opted_out_keeps_65536_targets_from_being_contacted(
    network: Network, packets: Packets, settings: dict[str, object], tmp_path: Path
) -> None:
    opt_out(tmp_path, ROUTER, FAR)
    settings["SMTPSURVEY_ROUTE_CHECK"] = True
    crawl = start_crawl(network.client, tmp_path, ["10.50.0.0/16"], settings, arguments=())
    (route,) = crawl.finish()
    assert network.contacted() == set()
    # One trace for the prefix, and not a packet to those whose own AS opted out.
    assert packets.sent() == packets.echoed() == {route["destination"]} == {"10.50.0.0"}
    log = crawl.log.read_text()
    assert "'smtpsurvey/unrecorded/excluded/route/targets.txt': 32768" in log
    assert "'smtpsurvey/unrecorded/excluded/AS/targets.txt': 32768" in log


def test_a_route_without_opt_outs_lets_targets_pass_and_is_known_to_the_next_survey(
    network: Network, packets: Packets, settings: dict[str, object], tmp_path: Path
) -> None:
    settings |= {"SMTPSURVEY_ROUTE_CHECK": True, "SMTPSURVEY_SHARDS": f"sqlite:///{tmp_path}/store.sqlite3"}
    targets = ["10.50.1.1", "10.50.1.2"]
    for age, traced in ((0, {"10.50.1.1"}), (3600, set())):
        packets.forget()
        found = start_crawl(network.client, tmp_path, targets, settings | {"SMTPSURVEY_ROUTE_AGE": age}).finish()
        assert {item["ip"]: item["outcome"] for item in found if "ip" in item} == dict.fromkeys(targets, "ok")
        assert network.contacted() == set(targets)
        assert packets.echoed() == traced
    opt_out(tmp_path, ROUTER)
    packets.forget()
    found = start_crawl(network.client, tmp_path, targets, settings).finish()
    assert [(item["outcome"], item["reason"]) for item in found] == [("excluded", "route")] * 2
    assert packets.sent() == set()


def test_what_cannot_be_traced_is_not_probed(
    network: Network, packets: Packets, settings: dict[str, object], tmp_path: Path
) -> None:
    settings["SMTPSURVEY_ROUTE_CHECK"] = True
    network.client.ip("-6", "route", "add", "unreachable", "fd60::/64")
    try:
        found = start_crawl(network.client, tmp_path, ["fd60::1", "10.50.1.1"], settings).finish()
    finally:
        network.client.ip("-6", "route", "del", "unreachable", "fd60::/64")
    outcomes = {item["ip"]: (item["outcome"], item["reason"]) for item in found if "ip" in item}
    assert outcomes == {"fd60::1": ("excluded", "route"), "10.50.1.1": ("ok", None)}
    assert packets.echoed() == {"10.50.1.1"}


@pytest.mark.parametrize(
    ("wrapper", "said"),
    [
        (("setpriv", "--bounding-set=-net_raw"), "traceroutes need raw sockets: run as root, or with CAP_NET_RAW"),
        (("env", "PATH=/nowhere"), "traceroutes need scamper, which is not on the PATH (Debian: apt install scamper)"),
    ],
    ids=["rights", "scamper"],
)
def test_what_is_missing_is_said_in_one_line(
    network: Network, settings: dict[str, object], tmp_path: Path, wrapper: tuple[str, ...], said: str
) -> None:
    (tmp_path / "list.txt").write_text("10.50.1.1\n")
    routes, log = trace(network, tmp_path, settings, wrapper=wrapper)
    assert routes == []
    assert f"[traceroute] ERROR: {said}\n" in log


@pytest.fixture
def scamper(tmp_path: Path) -> Path:
    """Give the place of a program that stands in for scamper, first on the PATH of :func:`with_scamper`."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "scamper"
    program.touch(0o755)
    return program


def with_scamper(program: Path) -> tuple[str, ...]:
    return ("env", f"PATH={program.parent}:{os.environ['PATH']}")


def test_a_scamper_that_does_not_start_ends_a_survey_with_its_last_line_and_nobody_is_contacted(
    network: Network, packets: Packets, settings: dict[str, object], tmp_path: Path, scamper: Path
) -> None:
    scamper.write_text("#!/bin/sh\necho no permission >&2\n")
    settings["SMTPSURVEY_ROUTE_CHECK"] = True
    targets = ["10.50.1.0/28", "10.50.128.0/28"]
    crawl = start_crawl(network.client, tmp_path, targets, settings, wrapper=with_scamper(scamper))
    assert crawl.process.wait(30) == 1
    log = crawl.log.read_text()
    assert log.count("scamper does not start: no permission\n") == 1
    assert "Traceback" not in log
    assert packets.sent() == set()


def test_a_scamper_that_ends_in_the_middle_ends_the_traces_with_one_line(
    network: Network, settings: dict[str, object], tmp_path: Path, scamper: Path
) -> None:
    scamper.write_text(f'#!/bin/sh\nexec timeout 1 {shutil.which("scamper")} "$@"\n')
    (tmp_path / "list.txt").write_text("10.51.0.0/24\n")  # which do not answer: a trace takes longer than that
    settings["SMTPSURVEY_ALLOW"] = "10.51.0.0/16"
    routes, log = trace(network, tmp_path, settings, "per=address", wrapper=with_scamper(scamper))
    assert routes == []
    assert log.count("[traceroute] ERROR: scamper has ended: ") == 1
