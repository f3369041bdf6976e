"""The sample of command files against real servers: nsd and unbound, HTTP, and three hosts in a row."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from doubles.crawl import REPOSITORY, SCRAPY, items
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from servers.dns import dns

from smtpsurvey.worker.commands import Command, CommandLines, Word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.network import Network

SAMPLE = REPOSITORY / "examples" / "commands" / "sample.txt"
SERVED = "192.0.2.0/24"
HEAD = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n NS ns.example.org.\n"
ZONES = {
    "example.org": HEAD + "ns A 127.0.0.53\n@ MX 10 mx\nmx A 192.0.2.25\n AAAA 2001:db8::25\n",
    "2.0.192.in-addr.arpa": HEAD + "25 PTR mx.example.org.\n",
}
MORE = b"LOG more\n"
COUNTED = """
table inet counted {
  chain in {
    type filter hook prerouting priority -200; policy accept;
    ip daddr 192.0.2.25 counter
  }
}
"""


@pytest.fixture(scope="module")
def resolver(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the server host the addresses of the sample, with an HTTP server; resolve its names at the client."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = MORE if self.path == "/more.txt" else b"<p>parked</p>"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain" if self.path == "/more.txt" else "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    network.router.ip("route", "add", SERVED, "via", "10.49.2.2")
    network.server.ip("route", "add", "local", SERVED, "dev", "lo")
    with ExitStack() as stack:
        with network.server.inside():
            server = stack.enter_context(ThreadingHTTPServer(("192.0.2.80", 80), Page))
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield stack.enter_context(dns(network.client, tmp_path_factory.mktemp("dns"), ZONES))
    network.router.ip("route", "del", SERVED)
    network.server.ip("route", "del", "local", SERVED, "dev", "lo")


def execute(network: Network, folder: Path, resolver: str, *settings: str) -> tuple[list[dict[str, Any]], str]:
    """Execute the sample at the client; give the items and the log."""
    as_map = MMDBWriter(6, "test", ipv4_compatible=True)
    as_map.insert_network(IPSet([SERVED]), {"autonomous_system_number": 64500})
    as_map.insert_network(IPSet(["10.49.0.0/16"]), {"autonomous_system_number": 64501})
    as_map.to_db_file(str(folder / "as.mmdb"))
    given = (
        "SMTPSURVEY_SHARDS=",
        f"SMTPSURVEY_ALLOW={SERVED}",
        f"SMTPSURVEY_AS_MAP={folder}/as.mmdb",
        f"SMTPSURVEY_DNS_SERVERS={resolver}",
        "SMTPSURVEY_HELO=mx.example.org",
        "SMTPSURVEY_CONTACT=survey@example.org",
        *settings,
    )
    arguments = ("-a", f"commands={SAMPLE}", "-a", f"folder={folder}/commands", "-O", folder / "out.jsonl")
    done = subprocess.run(
        network.client.command(
            SCRAPY, "crawl", "worker", *arguments, *(part for each in given for part in ("-s", each))
        ),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Traceback" not in done.stderr, done.stderr[-4000:]
    return items(folder / "out.jsonl"), done.stderr


def sample() -> list[Command]:
    lines = CommandLines(str(SAMPLE), lambda error: pytest.fail(str(error)))
    return [*lines.feed(SAMPLE.read_bytes()), *lines.finish()]


def test_the_sample_has_every_command() -> None:
    assert {command.word for command in sample()} == set(Word)


def test_every_command_of_the_sample_gives_its_item(network: Network, tmp_path: Path, resolver: str) -> None:
    network.forget_contacted()
    found, log = execute(network, tmp_path, resolver)
    line = {command.word: command.line for command in sample()}
    at = {(item.get("kind", "probe"), _line(item)): item for item in found}

    assert at["log", line[Word.LOG]]["text"] == "a survey by command file"
    assert at["heartbeat", line[Word.HEARTBEAT_THREAD]]["memory"] > 10_000_000
    assert at["mx", line[Word.MX_LOOKUP]]["exchanges"][0]["addresses"] == ["192.0.2.25", "2001:db8::25"]
    values = {
        word: at["dns", line[word]]["records"][0]["value"]
        for word in (Word.DNS_LOOKUP, Word.IPV6_DNS_LOOKUP, Word.DNS_REVERSE)
    }
    assert list(values.values()) == ["192.0.2.25", "2001:db8::25", "mx.example.org."]
    owner = at["as", line[Word.DEST_AS_CHECK]]
    assert (owner["prefix"], owner["asn"], owner["opted_out"]) == (SERVED, 64500, None)
    probe = at["probe", line[Word.SMTP_PROBE]]
    assert (probe["ip"], probe["outcome"], probe["asn"]) == ("192.0.2.25", "ok", 64500)
    route = at["route", line[Word.TRACEROUTE]]
    assert [(hop["address"], hop["asn"]) for hop in route["hops"]] == [("10.49.1.1", 64501), ("192.0.2.25", 64500)]
    page = at["http", line[Word.HTTP_FETCH]]
    assert (page["outcome"], page["body"], page["truncated"]) == ("ok", "<p>parked</p>", False)
    checks = {check["what"]: check["good"] for check in at["capabilities", line[Word.CAPABILITIES]]["checks"]}
    assert (checks["DNS servers"], checks["AS map"], checks["port 25"]) == (True, True, None)
    assert [item["text"] for item in found if item.get("kind") == "log"][1:] == ["more"]
    assert (tmp_path / "commands" / "more.txt").read_bytes() == MORE
    assert "status on 127.0.0.1:" in log
    assert network.contacted() == {"192.0.2.25", "192.0.2.80"}


def test_an_as_that_opted_out_gets_no_packet(network: Network, tmp_path: Path, resolver: str) -> None:
    (tmp_path / "optout").write_text("AS64500\n")
    network.router.nft(COUNTED)
    try:
        found, _ = execute(network, tmp_path, resolver, f"SMTPSURVEY_OPTOUT={tmp_path}/optout")
        listed = network.router.run("nft", "-j", "list", "chain", "inet", "counted", "in").stdout
    finally:
        network.router.nft("delete table inet counted")
    (probe,) = [item for item in found if "kind" not in item]
    assert (probe["outcome"], probe["reason"]) == ("excluded", "AS")
    (owner,) = [item for item in found if item.get("kind") == "as"]
    assert owner["opted_out"] is True
    (rule,) = [entry["rule"] for entry in json.loads(listed)["nftables"] if "rule" in entry]
    (packets,) = [part["counter"]["packets"] for part in rule["expr"] if "counter" in part]
    assert packets == 0
    assert [item["outcome"] for item in found if item.get("kind") == "http"] == ["excluded"]


def test_an_as_on_the_route_that_opted_out_keeps_the_target_from_being_contacted(
    network: Network, tmp_path: Path, resolver: str
) -> None:
    (tmp_path / "optout").write_text("AS64501\n")
    network.forget_contacted()
    given = (f"SMTPSURVEY_OPTOUT={tmp_path}/optout", "SMTPSURVEY_ROUTE_CHECK=True")
    found, _ = execute(network, tmp_path, resolver, *given)
    (probe,) = [item for item in found if "kind" not in item]
    assert (probe["outcome"], probe["reason"]) == ("excluded", "route")
    assert network.contacted() == {"192.0.2.80"}  # for the commands


def _line(item: dict[str, Any]) -> int:
    """Say which line an item is from."""
    if "command" in item:
        return int(item["command"]["line"])
    return int(str(item.get("source") or "0").rpartition(":")[2])
