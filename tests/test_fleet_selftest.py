"""A real node tests itself with the deployed project, before it gets work."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import requests
from doubles.zoneserver import ZoneServer
from servers.local import smtp_server
from servers.scrapyd import USER, Fleet

if TYPE_CHECKING:
    from pathlib import Path


def test_a_node_that_reaches_no_mail_server_is_unfit_and_one_that_does_is_fit(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        closed = free.getsockname()[1]
    fleet = Fleet(tmp_path, 1)
    try:
        fleet.start()
        assert fleet.run("deploy").status == 0
        with ZoneServer("", ".") as zone, smtp_server() as (port, _):
            told = [self_test(fleet, zone.address, reach) for reach in (closed, port)]
    finally:
        fleet.stop()
    assert told == [
        {"passed": False, "said": "capabilities: port 25: 127.0.0.1 (Connection refused)"},
        {"passed": True, "said": ""},
    ]


def self_test(fleet: Fleet, dns_server: str, port: int) -> dict[str, Any]:
    (node,) = fleet.nodes
    settings = (f"SMTPSURVEY_DNS_SERVERS={dns_server}", f"SMTPSURVEY_REACH=127.0.0.1:{port}")
    data = [("project", "smtpsurvey"), *(("setting", setting) for setting in settings)]
    answer = requests.post(
        f"http://{node.ip}:{node.port}/fleet/selftest.json", auth=(USER, node.password), data=data, timeout=60
    )
    found: dict[str, Any] = answer.json()
    return found
