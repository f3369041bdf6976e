import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from smtpsurvey.targets.resolve import HostResolver, ResolveError

ZONE = {
    ("mx.example.org.", "A"): ["192.0.2.2", "192.0.2.1", "192.0.2.2"],
    ("mx.example.org.", "AAAA"): ["2001:0DB8::1"],
    ("v4.example.org.", "A"): ["192.0.2.3"],
    ("v6.example.org.", "AAAA"): ["2001:db8::6"],
    ("mapped.example.org.", "AAAA"): ["::ffff:192.0.2.9"],
    ("half.example.org.", "A"): ["192.0.2.4"],
    ("_odd.xn--mnchen-3ya.de.", "A"): ["192.0.2.5"],
    ("empty.example.org.", "TXT"): ["text"],
}
FAILING = {("broken.example.org.", "A"), ("broken.example.org.", "AAAA"), ("half.example.org.", "AAAA")}
MUTE = "mute.example.org."


def answer(query: dns.message.Message) -> dns.message.Message | None:
    """What a small authoritative server says; ``None``: nothing."""
    response = dns.message.make_response(query)
    (question,) = query.question
    name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
    if name == MUTE:
        return None
    if name == "alias.example.org.":
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", "mx.example.org."))
        name = "mx.example.org."
    if (name, kind) in FAILING:
        response.set_rcode(dns.rcode.SERVFAIL)
    elif (name, kind) in ZONE:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *ZONE[name, kind]))
    elif not any(known == name for known, _ in ZONE):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response


@contextmanager
def dns_server(
    address: str = "127.0.0.1", reply: Callable[[dns.message.Message], dns.message.Message | None] = answer
) -> Iterator[tuple[str, list[str]]]:
    """Serve ``reply`` by UDP; gives ``address:port`` and the questions as they come. An empty datagram ends it."""
    asked: list[str] = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind((address, 0))

        def serve() -> None:
            while True:
                wire, client = server.recvfrom(4096)
                if not wire:
                    return
                query = dns.message.from_wire(wire)
                asked.append(f"{query.question[0].name} {dns.rdatatype.to_text(query.question[0].rdtype)}")
                response = reply(query)
                if response is not None:
                    server.sendto(response.to_wire(), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            port = server.getsockname()[1]
            yield (f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"), asked
        finally:
            with socket.socket(family, socket.SOCK_DGRAM) as ender:
                ender.sendto(b"", server.getsockname())
            thread.join()


@pytest.fixture(scope="module")
def resolver() -> Iterator[HostResolver]:
    with dns_server() as (server, _):
        yield HostResolver([server], 5)


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("mx.example.org", ["192.0.2.2", "192.0.2.1", "2001:db8::1"]),
        ("alias.example.org", ["192.0.2.2", "192.0.2.1", "2001:db8::1"]),
        ("v4.example.org", ["192.0.2.3"]),
        ("v6.example.org", ["2001:db8::6"]),
        ("_odd.xn--mnchen-3ya.de", ["192.0.2.5"]),
        ("half.example.org", ["192.0.2.4"]),  # SERVFAIL for AAAA, as some load balancers say
        ("localhost", ["127.0.0.1", "::1"]),
    ],
)
def test_a_name_has_its_ipv4_and_ipv6_addresses_each_once(
    resolver: HostResolver, name: str, addresses: list[str]
) -> None:
    assert sorted(resolver.addresses(name)) == sorted(addresses)
    assert [":" in ip for ip in resolver.addresses(name)] == [":" in ip for ip in addresses]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.example.org", "no such name: missing.example.org"),
        ("empty.example.org", "no address: empty.example.org"),
        ("mapped.example.org", "no address: mapped.example.org"),
        ("broken.example.org", "the DNS servers failed: broken.example.org (All nameservers failed to answer"),
        ("a..b", "the look-up failed: a..b (A DNS label is empty.)"),
        ("x" * 64 + ".org", f"the look-up failed: {'x' * 64}.org (A DNS label is > 63 octets long.)"),
    ],
)
def test_a_name_without_address_has_a_reason(resolver: HostResolver, name: str, reason: str) -> None:
    with pytest.raises(ResolveError) as caught:
        resolver.addresses(name)
    assert str(caught.value).startswith(reason)
    assert str(caught.value).isprintable()


def test_no_answer_is_told_with_the_time_waited() -> None:
    with dns_server() as (server, asked):
        with pytest.raises(ResolveError) as caught:
            HostResolver([server], 0.1).addresses("mute.example.org")
        assert str(caught.value) == "no answer within 0.1 s: mute.example.org"
    assert set(asked) == {"mute.example.org. A", "mute.example.org. AAAA"}


def test_a_name_that_does_not_exist_is_asked_for_once() -> None:
    with dns_server() as (server, asked), pytest.raises(ResolveError):
        HostResolver([server], 5).addresses("missing.example.org")
    assert asked == ["missing.example.org. A"]


def test_names_are_absolute_and_localhost_is_never_asked_for() -> None:
    with dns_server() as (server, asked):
        resolver = HostResolver([server], 5)
        resolver.addresses("localhost")
        with pytest.raises(ResolveError):
            resolver.addresses("mx")
    assert asked == ["mx. A"]


def test_the_next_server_is_asked_when_one_fails() -> None:
    def broken(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.REFUSED)
        return response

    with dns_server(reply=broken) as (first, refused), dns_server("::1") as (second, _):
        assert HostResolver([first, second], 5).addresses("v4.example.org") == ["192.0.2.3"]
    assert refused == ["v4.example.org. A", "v4.example.org. AAAA"]


def test_threads_share_a_resolver(resolver: HostResolver) -> None:
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(resolver.addresses("v4.example.org"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["192.0.2.3"]] * 8


@pytest.mark.parametrize(
    ("entry", "address", "port"),
    [
        ("127.0.0.53", "127.0.0.53", 53),
        ("127.0.0.53:5353", "127.0.0.53", 5353),
        ("::1", "::1", 53),
        ("[::1]", "::1", 53),
        ("[2001:db8::53]:5353", "2001:db8::53", 5353),
    ],
)
def test_a_server_is_an_address_with_or_without_port(entry: str, address: str, port: int) -> None:
    (nameserver,) = HostResolver([entry], 5)._resolver.nameservers
    assert isinstance(nameserver, dns.nameserver.Do53Nameserver)
    assert (nameserver.address, nameserver.port) == (address, port)


@pytest.mark.parametrize(
    "entry",
    ["", "localhost", "1.2.3", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:dns", "[::1", "::1]:5"],
)
def test_any_other_server_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is no address, address:port or"):
        HostResolver([entry], 5)


def test_without_servers_those_of_resolv_conf_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.77\n")
    read = dns.resolver.Resolver.read_resolv_conf
    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", lambda self, _: read(self, str(conf)))
    assert HostResolver([], 5)._resolver.nameservers == ["127.0.0.77"]
    conf.unlink()
    with pytest.raises(ResolveError, match="no DNS servers"):
        HostResolver([], 5)
