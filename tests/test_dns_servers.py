"""Which servers are asked, and when one is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.resolver
import pytest
from scrapy.settings import Settings

from smtpsurvey.defaults import apply_defaults
from smtpsurvey.dns.servers import FAILURES, LONGEST_PAUSE, Address, Server, read_server, read_servers
from smtpsurvey.dns.setup import resolver_of
from smtpsurvey.errors import SurveyError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.53", Address("192.0.2.53", 53)),
        (" 192.0.2.53:5353", Address("192.0.2.53", 5353)),
        ("2001:DB8:0::53", Address("2001:db8::53", 53)),
        ("[2001:db8::53]", Address("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", Address("2001:db8::53", 5353)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert read_server(text) == address
    assert read_server(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ns.example.org",
        "192.0.2.53:0",
        "192.0.2.53:65536",
        "192.0.2.53:x",
        "192.0.2",
        "[192.0.2.53]:1:2",
        "fe80::1%lo",
        "a\0b",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="DNS server"):
        read_server(text)


def test_each_server_once_and_a_mistake_is_one_line() -> None:
    assert read_servers(["192.0.2.1", "", "192.0.2.1:53"]) == [Address("192.0.2.1", 53)]
    with pytest.raises(SurveyError, match=r"SMTPSURVEY_DNS_SERVERS: DNS server 'x' is no address"):
        read_servers(["x"])


def test_resolv_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("search example.org\nnameserver 192.0.2.1\nnameserver fe80::1%lo\nnameserver 2001:db8::53\n")
    plain = dns.resolver.Resolver
    monkeypatch.setattr(dns.resolver, "Resolver", lambda: plain(str(conf)))
    assert read_servers([]) == [Address("192.0.2.1", 53), Address("2001:db8::53", 53)]
    conf.write_text("nameserver fe80::1%lo\n")
    with pytest.raises(SurveyError, match=r"no DNS servers: resolv\.conf names none"):
        read_servers([])
    conf.unlink()
    with pytest.raises(SurveyError, match="no DNS servers: "):
        read_servers([])


def test_the_rate() -> None:
    server = Server(Address("192.0.2.1", 53), 100, 0)
    sent = []
    for step in range(2000):  # two seconds, a millisecond at a time
        while server.may_send(step / 1000):
            server.sent()
            sent.append(step)
    assert 200 <= len(sent) <= 202
    assert max(sent.count(step) for step in set(sent)) == 1
    assert server.may_send(100)  # after a long silence a tenth of a second's worth at once, no more
    for _ in range(11):
        assert server.may_send(100)
        server.sent()
    assert not server.may_send(100)
    assert all(Server(Address("192.0.2.1", 53), 0, 0).may_send(0) for _ in range(1000))


def test_failures_in_a_row_and_the_pauses_after_them() -> None:
    server = Server(Address("192.0.2.1", 53), 0, 0)
    server.proved()
    assert not any(server.failed() for _ in range(FAILURES - 1))
    server.answered()
    assert not any(server.failed() for _ in range(FAILURES - 1))
    assert server.failed()
    server.lost("no answers")
    assert not server.failed()
    pauses = [server.next_pause() for _ in range(8)]
    assert pauses[:3] == [1, 2, 4]
    assert pauses[-1] == LONGEST_PAUSE
    server.proved()
    assert server.next_pause() == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTPSURVEY_DNS_RATE", "-1"),
        ("SMTPSURVEY_DNS_RATE", "fast"),
        ("SMTPSURVEY_DNS_CONCURRENCY", 0),
        ("SMTPSURVEY_DNS_TIMEOUTS", [1, "x"]),
        ("SMTPSURVEY_DNS_TIMEOUTS", "0"),
        ("SMTPSURVEY_DNS_TIMEOUTS", []),
        ("SMTPSURVEY_DNS_PROBE", "a..b NS"),
        ("SMTPSURVEY_DNS_PROBE", ". NOTYPE"),
    ],
)
def test_settings_that_make_no_sense(name: str, value: object) -> None:
    settings = Settings({"SMTPSURVEY_DNS_SERVERS": ["192.0.2.1"], name: value})
    apply_defaults(settings)
    with pytest.raises(SurveyError, match=name):
        resolver_of(settings, None)  # type: ignore[arg-type]  # it is not used before the settings are read
