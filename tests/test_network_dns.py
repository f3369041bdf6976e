"""``scrapy crawl dns`` through unbound and nsd in a namespace: long answers, validation, dead servers, lost packets."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from doubles.crawl import REPOSITORY, SCRAPY, items
from servers.dns import NSD, NSD_PORT, UNBOUND_PORT, nsd, unbound
from servers.namespace import Namespace
from servers.signing import signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

HEAD = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n NS ns\nns A 127.0.0.53\n"
TEXTS = 40
LONG_TEXT = "x" * 200  # forty of them make 8 KiB, which no datagram of ours may have
HOSTS, FEW = 2000, 500
PROBES = 4  # packets that a probe may take, and the next one's first
DEAD = f"127.0.0.99:{UNBOUND_PORT}"
COUNTED = """
table inet counted {
  counter dead {}
  chain in {
    type filter hook input priority 0; policy accept;
    ip daddr 127.0.0.99 counter name dead drop
  }
}
"""
NO_TCP = f"""
table inet no_tcp {{
  chain in {{ type filter hook input priority 0; policy accept; tcp dport {UNBOUND_PORT} reject with tcp reset; }}
}}
"""
LOSS = f"""
table inet loss {{
  chain in {{
    type filter hook input priority 0; policy accept;
    udp sport {UNBOUND_PORT} numgen random mod 20 < 1 drop
    udp dport {UNBOUND_PORT} numgen random mod 20 < 1 drop
  }}
}}
"""


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    namespace = Namespace("dns")
    yield namespace
    namespace.close()


@pytest.fixture(scope="module")
def server(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Resolve three zones with a validating unbound: a plain one, a signed one, and one with a wrong signature."""
    folder = tmp_path_factory.mktemp("dns")
    plain = HEAD + "".join(f'long TXT "{n}" "{LONG_TEXT}"\n' for n in range(TEXTS))
    plain += "".join(f"h{n} A 9.9.{n >> 8}.{n & 255}\n" for n in range(HOSTS))
    good, anchor = signed("signed.example", HEAD + "www A 9.9.9.9\n")
    bogus, bogus_anchor = signed("bogus.example", HEAD + "www A 9.9.9.9\n")
    assert bogus.count(" A 9.9.9.9") == 1
    zones = {
        "plain.example": plain,
        "signed.example": good,
        "bogus.example": bogus.replace(" A 9.9.9.9", " A 9.9.9.8"),
    }
    with ExitStack() as stack:
        stack.enter_context(nsd(namespace, folder / "nsd", zones))
        anchors = f'{anchor}"\n  trust-anchor: "{bogus_anchor}'
        yield stack.enter_context(unbound(namespace, folder / "unbound", zones, anchor=anchors))


def look_up(
    namespace: Namespace, folder: Path, names: Iterable[str], servers: str, *more: str, types: str = "A"
) -> tuple[dict[str, dict[str, Any]], str]:
    """Look the names up; give the items by name, and the log."""
    (folder / "names.txt").write_text("\n".join(names))
    arguments = ("-a", f"names={folder}/names.txt", "-a", f"types={types}", "-O", folder / "out.jsonl")
    settings = ("SMTPSURVEY_SHARDS=", f"SMTPSURVEY_DNS_SERVERS={servers}", "SMTPSURVEY_DNS_RATE=0", *more)
    done = subprocess.run(
        namespace.command(SCRAPY, "crawl", "dns", *arguments, *(part for each in settings for part in ("-s", each))),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {item["name"]: item for item in items(folder / "out.jsonl")}, done.stderr


def test_what_is_too_long_for_a_datagram_comes_by_tcp(namespace: Namespace, server: str, tmp_path: Path) -> None:
    for servers in (server, f"{NSD}:{NSD_PORT}"):
        found, log = look_up(
            namespace, tmp_path, ["long.plain.example"], servers, "SMTPSURVEY_DNS_PROBE=plain.example SOA", types="TXT"
        )
        (item,) = found.values()
        assert item["outcome"] == "ok"
        assert {record["value"] for record in item["records"]} == {f'"{n}" "{LONG_TEXT}"' for n in range(TEXTS)}
        assert "'smtpsurvey/dns/tcp': 1," in log


def test_a_server_that_cuts_answers_and_has_no_tcp_gives_none(
    server: str, tmp_path: Path, namespace: Namespace
) -> None:
    namespace.nft(NO_TCP)
    try:
        _, log = look_up(namespace, tmp_path, ["long.plain.example", "h1.plain.example"], server, types="TXT,A")
    finally:
        namespace.nft("delete table inet no_tcp")
    outcomes = {(item["name"][0], item["type"]): item["outcome"] for item in items(tmp_path / "out.jsonl")}
    assert outcomes == {("l", "TXT"): "timeout", ("l", "A"): "no_data", ("h", "TXT"): "no_data", ("h", "A"): "ok"}
    assert "'smtpsurvey/dns/tcp': 6," in log  # as many as there are tries


def test_what_the_resolver_says_of_validation(namespace: Namespace, server: str, tmp_path: Path) -> None:
    names = ["www.signed.example", "none.signed.example", "www.bogus.example", "h0.plain.example"]
    found, _ = look_up(namespace, tmp_path, names, server)
    assert {name: (item["outcome"], item["ad"]) for name, item in found.items()} == {
        "www.signed.example": ("ok", True),
        "none.signed.example": ("nxdomain", True),
        "www.bogus.example": ("servfail", False),
        "h0.plain.example": ("ok", False),
    }


def test_a_dead_first_server_costs_one_probe(namespace: Namespace, server: str, tmp_path: Path) -> None:
    namespace.nft(COUNTED)
    try:
        names = [f"h{n}.plain.example" for n in range(FEW)]
        found, _ = look_up(namespace, tmp_path, names, f"{DEAD},{server}")
        listed = json.loads(namespace.run("nft", "-j", "list", "counter", "inet", "counted", "dead").stdout)
    finally:
        namespace.nft("delete table inet counted")
    assert {item["outcome"] for item in found.values()} == {"ok"}
    assert len(found) == FEW
    assert max(item["duration"] for item in found.values()) < 2  # the first time-out: nobody waited for the dead one
    (packets,) = [entry["counter"]["packets"] for entry in listed["nftables"] if "counter" in entry]
    assert 1 <= packets <= PROBES


def test_no_name_is_lost_where_one_packet_in_twenty_is(namespace: Namespace, server: str, tmp_path: Path) -> None:
    names = [f"h{n}.plain.example" for n in range(HOSTS)]
    namespace.nft(LOSS)
    try:
        found, _ = look_up(namespace, tmp_path, names, server, "SMTPSURVEY_DNS_TIMEOUTS=0.3,0.5,0.5,0.5,1,1,1,1")
    finally:
        namespace.nft("delete table inet loss")
    assert [found[name]["records"][0]["value"] for name in names] == [f"9.9.{n >> 8}.{n & 255}" for n in range(HOSTS)]
    late = sum(item["duration"] > 0.3 for item in found.values())
    assert late > HOSTS * 0.05  # 9.75 % lose the query or the answer
