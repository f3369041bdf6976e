"""Reverse names and the domains behind the names of addresses."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest
from doubles.resolving import answer_of

from smtpsurvey.dns.reverse import MAX_DOMAINS, AddressLines, Suffixes, domains_behind, reverse_name
from smtpsurvey.items import Target


@pytest.fixture
def suffixes(monkeypatch: pytest.MonkeyPatch) -> Suffixes:
    """The list, made without a network to fetch it from."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    made = Suffixes()
    list(made.domains("a.example.org"))
    return made


@pytest.mark.parametrize("ip", ["192.0.2.1", "10.0.0.255", "2001:db8::1", "::1"])
def test_reverse_names_are_those_of_the_standard(ip: str) -> None:
    assert reverse_name(ip) == ip_address(ip).reverse_pointer


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        ("mail.example.org", ["example.org"]),
        ("example.org", ["example.org"]),
        ("a.b.c.example.co.uk", ["b.c.example.co.uk", "c.example.co.uk", "example.co.uk"]),
        ("www.example.github.io", ["example.github.io", "github.io"]),  # the private section does not count
        ("co.uk", []),
        ("org", []),
        ("host.internal-name", []),
        ("localhost", []),
    ],
)
def test_domains_go_up_to_the_public_suffix(suffixes: Suffixes, name: str, domains: list[str]) -> None:
    assert list(suffixes.domains(name)) == domains


def test_all_names_of_an_address_count_and_each_domain_once(suffixes: Suffixes) -> None:
    answer = answer_of(
        "1.2.0.192.in-addr.arpa", "PTR", ["a.X.example.", "b.x.example.org.", "c.x.example.org.", "\\000."]
    )
    assert domains_behind(answer, suffixes) == ["x.example.org", "example.org"]


def test_classless_delegations_are_followed(suffixes: Suffixes) -> None:
    """RFC 2317: the reverse name is an alias."""
    answer = answer_of(
        "1.2.0.192.in-addr.arpa",
        "PTR",
        [
            "1.2.0.192.in-addr.arpa 60 CNAME 1.0/26.2.0.192.in-addr.arpa.",
            "1.0/26.2.0.192.in-addr.arpa 60 PTR mx.example.org.",
        ],
    )
    assert domains_behind(answer, suffixes) == ["example.org"]


def test_thousands_of_names_lead_to_a_bounded_number_of_domains(suffixes: Suffixes) -> None:
    answer = answer_of("1.2.0.192.in-addr.arpa", "PTR", [f"mx.d{n}.org." for n in range(3000)])
    assert len(domains_behind(answer, suffixes)) == MAX_DOMAINS


def test_host_names_are_bad_lines_of_a_list_of_addresses() -> None:
    bad: list[tuple[int, str]] = []
    lines = AddressLines("list.txt", "list", 0, lambda number, reason: bad.append((number, reason)))
    found = list(lines.feed(b"192.0.2.1\nmx.example\n192.0.2.8/31\n,mx.example\n192.0.2.3,mx.example\n"))
    assert all(isinstance(entry, Target) for entry in found)
    assert [(entry.ip, entry.position) for entry in found] == [  # type: ignore[union-attr]  # as just said
        ("192.0.2.1", 0),
        ("192.0.2.8", 1),
        ("192.0.2.9", 2),
        ("192.0.2.3", 3),
    ]
    assert bad == [
        (2, "a host name: reverse look-ups take addresses"),
        (4, "a host name: reverse look-ups take addresses"),
    ]
