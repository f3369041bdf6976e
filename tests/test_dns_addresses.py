"""The addresses of host names, and the resolver that is started for the first of them."""

from __future__ import annotations

from typing import Any

import pytest
from doubles.resolving import TableResolver
from twisted.internet.defer import Deferred, fail

from smtpsurvey.dns.addresses import MAX_ADDRESSES, Hosts, ResolveError
from smtpsurvey.errors import SurveyError

ZONE = {
    "mx.example.org A": ["192.0.2.2", "192.0.2.1", "192.0.2.2"],
    "mx.example.org AAAA": ["2001:0db8::1", "2001:db8:0::1"],
    "alias.example.org A": ["alias.example.org 60 CNAME MX.example.org.", "mx.EXAMPLE.org 60 A 192.0.2.2"],
    "v4.example.org A": ["192.0.2.3"],
    "v6.example.org AAAA": ["2001:db8::6"],
    "mapped.example.org AAAA": ["::ffff:192.0.2.9"],
    "half.example.org A": ["192.0.2.4"],
    "half.example.org AAAA": ["servfail"],
    "late.example.org A": ["timeout"],
    "late.example.org AAAA": ["2001:db8::7"],
    "mute.example.org A": ["timeout"],
    "broken.example.org A": ["servfail"],
    "broken.example.org AAAA": ["servfail"],
    "refused.example.org A": ["refused"],
    "odd.example.org A": ["bad_answer"],
    "ours.example.org A": ["local_error"],
    "empty.example.org TXT": ["text"],
    "lying.example.org AAAA": ["nxdomain"],
    "lying.example.org A": ["no_data"],
    "a..b A": ["bad_name"],
}


def addresses(name: str) -> tuple[list[str], TableResolver]:
    resolver = TableResolver(ZONE)
    return result(Hosts(resolver).addresses(name)), resolver  # type: ignore[arg-type]  # the part that is used


def result(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mx.example.org", ["192.0.2.2", "192.0.2.1", "2001:db8::1"]),
        ("alias.example.org", ["192.0.2.2"]),
        ("v4.example.org", ["192.0.2.3"]),
        ("v6.example.org", ["2001:db8::6"]),
        ("half.example.org", ["192.0.2.4"]),  # SERVFAIL for AAAA, as some load balancers say
        ("late.example.org", ["2001:db8::7"]),
        ("localhost", ["127.0.0.1", "::1"]),
    ],
)
def test_a_name_has_its_ipv4_and_then_ipv6_addresses_each_once(name: str, expected: list[str]) -> None:
    assert addresses(name)[0] == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.example.org", "no such name"),
        ("empty.example.org", "no address"),
        ("mapped.example.org", "no address"),
        ("lying.example.org", "no address"),
        ("mute.example.org", "no answer in time"),
        ("broken.example.org", "the DNS servers failed"),
        ("refused.example.org", "the DNS servers refused"),
        ("odd.example.org", "no answer that makes sense"),
        ("ours.example.org", "the look-up failed here"),
        ("a..b", "no name of the DNS"),
    ],
)
def test_a_name_without_address_has_a_reason(name: str, reason: str) -> None:
    with pytest.raises(ResolveError) as caught:
        addresses(name)
    assert str(caught.value) == f"{reason}: {name}"


def test_a_name_that_does_not_exist_is_asked_for_once() -> None:
    resolver = TableResolver(ZONE)
    with pytest.raises(ResolveError):
        result(Hosts(resolver).addresses("missing.example.org"))  # type: ignore[arg-type]
    assert resolver.asked == ["missing.example.org A"]


def test_localhost_is_never_asked_for_and_needs_no_server() -> None:
    resolver = TableResolver(ZONE)
    hosts = Hosts(resolver)  # type: ignore[arg-type]
    assert result(hosts.addresses("localhost")) == ["127.0.0.1", "::1"]
    result(Deferred.fromCoroutine(hosts.stop()))
    assert (resolver.asked, resolver.started, resolver.stopped) == ([], 0, 0)


def test_one_resolver_serves_all_and_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpsurvey.dns.addresses.maybe_deferred_to_future", lambda waiting: waiting)
    resolver = TableResolver(ZONE)
    starting: Deferred[None] = Deferred()
    monkeypatch.setattr(resolver, "start", lambda: starting)
    hosts = Hosts(resolver)  # type: ignore[arg-type]
    found = [hosts.addresses("v4.example.org") for _ in range(3)]
    assert resolver.asked == []
    starting.callback(None)
    assert [result(each) for each in found] == [["192.0.2.3"]] * 3
    assert result(hosts.addresses("v6.example.org")) == ["2001:db8::6"]
    result(Deferred.fromCoroutine(hosts.stop()))
    assert resolver.stopped == 1


def test_servers_that_do_not_work_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = TableResolver(ZONE)
    monkeypatch.setattr(resolver, "start", lambda: fail(SurveyError("no DNS server works")))
    with pytest.raises(SurveyError, match="no DNS server works"):
        result(Hosts(resolver).addresses("v4.example.org"))  # type: ignore[arg-type]


def test_a_name_with_thousands_of_addresses_has_some() -> None:
    resolver = TableResolver({"many.example A": [f"192.0.{n // 256}.{n % 256}" for n in range(4000)]})
    assert len(result(Hosts(resolver).addresses("many.example"))) == MAX_ADDRESSES  # type: ignore[arg-type]
