"""``scrapy capabilities``: table, JSON, exit status, and the one line that says why."""

from __future__ import annotations

import json
import socket
from contextlib import closing

from doubles.crawl import run
from doubles.zoneserver import ZoneServer
from servers.local import smtp_server

CHECKS = {
    *("clock", "descriptors", "raw sockets", "scamper", "DNS servers", "AS map", "opt-outs", "disk", "memory"),
    *("port 25", "own address", "name"),
}


def test_a_fit_node_says_so_as_json() -> None:
    with ZoneServer("", ".") as zone, smtp_server() as (port, _):
        given = ("-s", f"SMTPSURVEY_DNS_SERVERS={zone.address}", "-s", f"SMTPSURVEY_REACH=127.0.0.1:{port}")
        done = run("capabilities", "--json", *given)
    assert (done.status, done.err) == (0, "")
    found = json.loads(done.out)
    assert found["fit"] is True
    assert {check["what"]: check["good"] for check in found["checks"]}.keys() == CHECKS
    assert {"what": "port 25", "good": True, "says": "127.0.0.1 greets with 220"} in found["checks"]


def test_an_unfit_node_ends_with_1_and_one_line_that_says_why() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with ZoneServer("", ".") as zone:
        done = run("capabilities", "--hosts", f"127.0.0.1:{port}", "-s", f"SMTPSURVEY_DNS_SERVERS={zone.address}")
    assert done.status == 1
    assert done.err == "capabilities: port 25: 127.0.0.1 (Connection refused)\n"
    assert "BAD  port 25" in done.out


def test_there_are_options_only() -> None:
    assert run("capabilities", "now").status == 2
