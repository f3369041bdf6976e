"""The special-purpose list against addresses whose standing is known."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from smtpsurvey.admission.exclusions import Exclusions
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE
from smtpsurvey.outcomes import Reason

RESERVED = Exclusions(SPECIAL_PURPOSE)


@pytest.mark.parametrize("ip", ["224.0.0.1", "192.88.99.1", "2002::1", "3fff::1", "ff02::1"])
def test_what_python_3_11_calls_global_but_is_not_is_reserved(ip: str) -> None:
    found = RESERVED.of_target(ip, None)
    assert found is not None
    assert found.reason == Reason.RESERVED


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.31.196.0", "192.31.196.255"),
        ("192.52.193.0", "192.52.193.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("192.175.48.0", "192.175.48.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "255.255.255.255"),
        ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
        ("3ffe::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ],
)
def test_a_range_is_reserved_from_its_first_address_to_its_last_and_no_further(first: str, last: str) -> None:
    inside = [ip_address(first), ip_address(last)]
    assert [RESERVED.of_target(str(ip), None) is not None for ip in inside] == [True, True]
    for before_or_after in (int(inside[0]) - 1, int(inside[1]) + 1):
        if 0 <= before_or_after < 2 ** inside[0].max_prefixlen:
            outside = type(inside[0])(before_or_after)
            assert RESERVED.of_target(str(outside), None) is None


def test_no_more_than_these_ranges_is_reserved() -> None:
    reserved = RESERVED._addresses.ipv4
    size = sum(
        int.from_bytes(end, "big") - int.from_bytes(start, "big")
        for start, end, value in zip(
            reserved.starts, [*reserved.starts[1:], b"\1\0\0\0\0"], reserved.values, strict=True
        )
        if value is not None
    )
    # three /8, /10, two /16, /12, eight /24, /15 and /3, as listed above
    assert size == 3 * 2**24 + 2**22 + 2 * 2**16 + 2**20 + 8 * 2**8 + 2**17 + 2**29


@pytest.mark.parametrize("ip", ["8.8.8.8", "1.1.1.1", "223.255.255.254", "2001:4860:4860::8888", "2a00::1", "2600::"])
def test_public_addresses_are_not_reserved(ip: str) -> None:
    assert RESERVED.of_target(ip, None) is None


@pytest.mark.parametrize(
    ("ip", "said"),
    [
        ("10.1.2.3", "10.0.0.0/8 (private use; RFC 1918)"),
        ("255.255.255.255", "255.255.255.255/32 (limited broadcast; RFC 919)"),
        ("::1", "::1/128 (loopback; RFC 4291)"),
        ("2001::1", "2001::/32 (Teredo; RFC 4380)"),
        ("2001:1ff::1", "2001::/23 (IETF protocol assignments; RFC 2928)"),
        ("4000::1", "4000::/2 (outside global unicast 2000::/3; RFC 4291)"),
    ],
)
def test_the_most_specific_line_names_an_address(ip: str, said: str) -> None:
    assert str(RESERVED.of_target(ip, None)) == said


def test_every_line_cites_an_rfc_and_says_what_the_range_is_for() -> None:
    for line in SPECIAL_PURPOSE:
        assert re.fullmatch(r"RFC \d{3,4}", line.source)
        assert line.why
