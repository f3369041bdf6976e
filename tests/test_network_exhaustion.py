"""Running out of descriptors or of local ports slows a crawl down; no host is blamed for it, nor is one missed."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from servers.crawl import start_crawl
from servers.responder import sessions, start_responder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.crawl import Item
    from servers.namespace import Namespace

ALLOW = {"SMTPSURVEY_ALLOW": "127.0.0.0/8"}
PORTS = range(20000, 20051)  # below what Linux takes by itself: none is in use
DELAY = 0.1  # seconds before each greeting, so that connections pile up


@pytest.fixture
def slow_host(alone: Namespace, tmp_path: Path) -> Iterator[Namespace]:
    """Give a host that answers on all of 127.0.0.0/8, a little late, and has 51 local ports."""
    responder = start_responder(alone, tmp_path, delay=DELAY)
    try:
        alone.sysctl(f"net.ipv4.ip_local_port_range={PORTS[0]} {PORTS[-1]}")
        yield alone
    finally:
        responder.stop()


def test_64_descriptors_find_500_servers(slow_host: Namespace, tmp_path: Path) -> None:
    targets = [f"127.1.{host >> 8}.{host & 255}" for host in range(500)]
    crawl = start_crawl(slow_host, tmp_path, targets, ALLOW, wrapper=("prlimit", "--nofile=64:64", "--"))
    _assert_all_ok(crawl.finish(), targets, tmp_path)


def test_descriptors_that_run_out_halfway_are_waited_for(slow_host: Namespace, tmp_path: Path) -> None:
    targets = [f"127.1.0.{host}" for host in range(1, 251)] * 2
    paced = {**ALLOW, "SMTPSURVEY_RATE": 400}  # 40 in flight
    crawl = start_crawl(slow_host, tmp_path, targets, paced)
    while not sessions(tmp_path):
        with pytest.raises(subprocess.TimeoutExpired):
            crawl.process.wait(0.02)
    subprocess.run(["prlimit", "--pid", str(crawl.process.pid), "--nofile=35:35"], check=True)
    _assert_all_ok(crawl.finish(), targets, tmp_path)
    assert "Too many open files" in crawl.log.read_text("utf-8")


def test_51_local_ports_find_150_names_of_one_server(slow_host: Namespace, tmp_path: Path) -> None:
    lines = [f"127.0.1.1,mx{n}.test.example" for n in range(150)]
    crawl = start_crawl(slow_host, tmp_path, lines, ALLOW)
    items = crawl.finish()
    _assert_all_ok(items, ["127.0.1.1"] * 150, tmp_path)
    assert "EADDRNOTAVAIL" in crawl.log.read_text("utf-8")
    assert {item["name"] for item in items} == {f"mx{n}.test.example" for n in range(150)}


def test_a_crawl_waits_while_another_program_has_every_local_port(slow_host: Namespace, tmp_path: Path) -> None:
    targets = [f"127.2.0.{host}" for host in range(1, 21)]
    with ExitStack() as others:
        with slow_host.inside():
            for port in PORTS:
                others.enter_context(socket.socket()).bind(("0.0.0.0", port))
        crawl = start_crawl(slow_host, tmp_path, targets, ALLOW)
        with pytest.raises(subprocess.TimeoutExpired):
            crawl.process.wait(3)
        assert sessions(tmp_path) == []
    _assert_all_ok(crawl.finish(), targets, tmp_path)


def _assert_all_ok(items: list[Item], addresses: list[str], folder: Path) -> None:
    """Check the items, and that the server had exactly one session for each."""
    assert [item for item in items if item["outcome"] != "ok"] == []
    assert sorted(item["ip"] for item in items) == sorted(addresses)
    assert sorted(session["address"] for session in sessions(folder)) == sorted(addresses)
