"""The self-test of a node: what makes it unfit, and what is only told."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from doubles.zoneserver import ZoneServer
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from scrapy.settings import Settings
from servers.local import smtp_server

from smtpsurvey.defaults import apply_defaults
from smtpsurvey.errors import SurveyError
from smtpsurvey.worker import capabilities as module
from smtpsurvey.worker.capabilities import Capabilities, Check, capabilities
from smtpsurvey.worker.reach import MAX_GREETING, Place, reach, read_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZONE = """
$TTL 60
survey.test.example. A 9.9.9.9
9.9.9.9.in-addr.arpa. PTR survey.test.example.
strange.test.example. A 9.9.9.8
8.9.9.9.in-addr.arpa. PTR other.test.example.
nameless.test.example. A 9.9.9.7
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ZoneServer(ZONE, ".") as zone:
        yield zone.address


def settings(server: str, **given: Any) -> Settings:
    made = Settings({"SMTPSURVEY_DNS_SERVERS": [server], **given})
    apply_defaults(made)
    return made


def checks(found: Capabilities) -> dict[str, tuple[bool | None, str]]:
    return {check.what: (check.good, check.says) for check in found.checks}


@contextmanager
def greeter(greeting: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Greet one client, and keep what it says until it closes."""
    said: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(greeting)
                connection.shutdown(socket.SHUT_WR)
                said.append(connection.recv(100))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], said
        finally:
            thread.join()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


def test_a_node_that_has_what_it_needs_is_fit(server: str) -> None:
    found = capabilities(settings(server))
    assert (found.fit, found.reason) == (True, "")
    seen = checks(found)
    assert seen["DNS servers"] == (True, "1 of 1 work")
    assert seen["descriptors"][0] is True
    assert seen["AS map"] == (None, "none (SMTPSURVEY_AS_MAP)")
    assert seen["name"][0] is None


def test_without_hosts_port_25_is_not_checked_and_never_closed(server: str) -> None:
    good, says = checks(capabilities(settings(server)))["port 25"]
    assert good is None
    assert says.startswith("not checked")


def test_one_host_that_greets_is_enough(server: str) -> None:
    closed = free_port()
    with smtp_server() as (port, _):
        found = capabilities(settings(server, SMTPSURVEY_REACH=[f"127.0.0.1:{closed}"]), [f"127.0.0.1:{port}"])
    assert found.fit
    assert checks(found)["port 25"] == (True, "127.0.0.1 (Connection refused); 127.0.0.1 greets with 220")


def test_a_node_that_reaches_nobody_is_unfit_and_says_why(server: str) -> None:
    found = capabilities(settings(server), [f"127.0.0.1:{free_port()}"])
    assert not found.fit
    assert found.reason == "port 25: 127.0.0.1 (Connection refused)"


@pytest.mark.parametrize(
    ("greeting", "good", "says"),
    [
        (b"220 mx\r\n", True, "greets with 220"),
        (b"554 no\n", True, "greets with 554"),
        (b"", False, "closes without a greeting"),
        (b"\x1b[31mHTTP/1.1 400\r\n", False, r"greets with b'\x1b[31mHTTP/1.1 400\r'"),
        (b"x" * MAX_GREETING, False, f"greets with b'{'x' * 40}'"),
    ],
)
def test_only_a_reply_of_smtp_is_a_greeting(server: str, greeting: bytes, good: object, says: str) -> None:
    with greeter(greeting) as (port, said):
        assert reach(settings(server), [f"127.0.0.1:{port}"]) == (good, f"127.0.0.1 {says}")
    assert said == [b"QUIT\r\n"]


def test_nobody_is_asked_before_we_say_who_we_are(server: str) -> None:
    good, says = reach(settings(server), ["192.0.2.1"])
    assert good is False
    assert "SMTPSURVEY_HELO" in says


def test_who_opted_out_is_not_asked_either(server: str, tmp_path: Path) -> None:
    (tmp_path / "optout").write_text("127.0.0.9\n")
    identity = {"SMTPSURVEY_HELO": "survey.test.example", "SMTPSURVEY_CONTACT": "a@test.example"}
    given = settings(server, SMTPSURVEY_OPTOUT=str(tmp_path / "optout"), **identity)
    assert reach(given, ["127.0.0.9", "192.0.2.1"]) == (
        False,
        "127.0.0.9 is excluded (opt-out); 192.0.2.1 is excluded (reserved)",
    )


def test_hosts_are_read() -> None:
    assert read_place("mx.example.org") == Place("mx.example.org", 25)
    assert read_place(" [2001:db8::1]:26") == Place("2001:db8::1", 26)


@pytest.mark.parametrize("text", ["", "mx:0", "mx:x", "a@mx", "mx/x", "[", "mx:99999"])
def test_what_is_no_host_is_one_line(text: str) -> None:
    with pytest.raises(SurveyError, match="SMTPSURVEY_REACH"):
        read_place(text)


def test_too_many_hosts_are_refused(server: str) -> None:
    assert "are plenty" in capabilities(settings(server), ["127.0.0.1"] * 17).reason


def test_a_dns_server_that_does_not_answer_is_told_and_none_that_works_is_unfit(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    dead = f"127.0.0.1:{free_port()}"
    some = capabilities(settings(server, SMTPSURVEY_DNS_SERVERS=[server, dead]))
    assert some.fit
    assert checks(some)["DNS servers"][1].startswith(f"1 of 2 work; {dead}: ")
    none = capabilities(settings(dead))
    assert none.reason.startswith(f"DNS servers: 0 of 1 work; {dead}: ")
    assert "SMTPSURVEY_DNS_PROBE" in capabilities(settings(server, SMTPSURVEY_DNS_PROBE="x")).reason


def test_an_as_map_is_opened_and_its_age_told(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MMDBWriter(6, "test", ipv4_compatible=True)
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"autonomous_system_number": 64500})
    path = str(tmp_path / "as.mmdb")
    writer.to_db_file(path)
    given = settings(server, SMTPSURVEY_AS_MAP=path)
    assert checks(capabilities(given))["AS map"] == (True, f"{path}, 0 days old")
    monkeypatch.setattr(module, "MAX_AGE", -1.0)
    assert checks(capabilities(given))["AS map"][0] is False
    (tmp_path / "as.mmdb").write_bytes(b"nothing")
    assert f"AS map: {path}: " in capabilities(given).reason


def test_files_that_the_settings_name_must_be_there(server: str, tmp_path: Path) -> None:
    found = capabilities(settings(server, SMTPSURVEY_AS_MAP=f"{tmp_path}/a", SMTPSURVEY_OPTOUT=f"{tmp_path}/b"))
    assert found.reason.count("No such file") == 2


def test_opt_outs_are_counted(server: str, tmp_path: Path) -> None:
    (tmp_path / "optout").write_text("192.0.2.1\n192.0.2.2\n")
    found = capabilities(settings(server, SMTPSURVEY_OPTOUT=f"{tmp_path}/optout"))
    assert checks(found)["opt-outs"] == (True, f"{tmp_path}/optout, 2 entries")


@pytest.mark.parametrize("limit", ["LEAST_DISK", "LEAST_MEMORY"])
def test_too_little_room_is_unfit(server: str, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(module, limit, 1 << 60)
    assert limit.partition("_")[2].lower() in capabilities(settings(server)).reason


def test_too_few_descriptors_are_unfit(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (100, 100))
    assert capabilities(settings(server)).reason == "descriptors: 68 of 10,000 connections"


def test_a_clock_before_our_own_files_is_wrong(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 0.0)
    assert capabilities(settings(server)).reason == (
        "clock: 1970-01-01T00:00:00+00:00 is before the time of our own files"
    )


@pytest.mark.parametrize("wanted", [False, True])
def test_what_routes_need_matters_only_to_those_who_check_routes(
    server: str, monkeypatch: pytest.MonkeyPatch, wanted: object
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, os.strerror(1))

    real = socket.socket
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    monkeypatch.setattr(
        module.socket, "socket", lambda *a, **k: refuse() if a[1:2] == (socket.SOCK_RAW,) else real(*a, **k)
    )
    found = capabilities(settings(server, SMTPSURVEY_ROUTE_CHECK=wanted))
    assert found.fit != wanted
    assert checks(found)["scamper"][1] == "not installed (routes need it)"
    assert checks(found)["raw sockets"][1] == "Operation not permitted (routes need them)"


@pytest.mark.parametrize(
    ("helo", "own", "good", "says"),
    [
        ("survey.test.example", ["9.9.9.9"], True, "survey.test.example is 9.9.9.9, and the other way round"),
        ("survey.test.example", ["9.9.9.1"], False, "survey.test.example is 9.9.9.9, and we are 9.9.9.1"),
        ("strange.test.example", ["10.0.0.1"], False, "9.9.9.8 is other.test.example, not strange.test.example"),
        ("nameless.test.example", [], False, "9.9.9.7 is without PTR record, not nameless.test.example"),
        ("none.test.example", [], False, "none.test.example has no address"),
    ],
)
def test_name_and_address_must_agree(  # noqa: PLR0917 - a table's columns
    server: str, monkeypatch: pytest.MonkeyPatch, helo: str, own: list[str], good: object, says: str
) -> None:
    monkeypatch.setattr(module, "own_addresses", lambda: iter(own))
    given = settings(server, SMTPSURVEY_HELO=helo, SMTPSURVEY_CONTACT="a@test.example")
    assert checks(capabilities(given))["name"] == (good, says)


def test_a_self_test_is_frozen() -> None:
    found = Capabilities((Check("a", good=None, says="b"),))
    with pytest.raises(AttributeError):
        found.checks = ()  # type: ignore[misc]  # that it is refused is the point
    assert found.fit
