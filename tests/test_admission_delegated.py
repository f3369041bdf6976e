"""Rows of delegated-extended files: what is delegated, to whom, and how many addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.admission.delegated import Allocation, Holding, read_row


def test_an_ipv4_row_counts_addresses_and_an_ipv6_row_gives_a_length() -> None:
    assert read_row("apnic|AU|ipv4|1.0.0.0|256|20110811|assigned|A91872ED") == Allocation(
        IPv4Address("1.0.0.0"), IPv4Address("1.0.0.255"), Holding("AU", "apnic:A91872ED")
    )
    assert read_row("ripencc|DE|ipv6|2001:608::|32|19990812|allocated|0-1") == Allocation(
        IPv6Address("2001:608::"),
        IPv6Address("2001:608:ffff:ffff:ffff:ffff:ffff:ffff"),
        Holding("DE", "ripencc:0-1"),
    )


def test_a_count_that_is_no_power_of_two_is_several_networks() -> None:
    found = read_row("lacnic|BR|ipv4|9.0.0.0|768|20110811|allocated|1")
    assert found is not None
    assert list(found.networks()) == [ip_network("9.0.0.0/23"), ip_network("9.0.2.0/24")]


@pytest.mark.parametrize(("code", "country"), [("au", "AU"), ("ZZ", None), ("", None), ("*", None), ("A1", None)])
def test_a_country_is_two_letters_and_not_zz(code: str, country: str | None) -> None:
    found = read_row(f"apnic|{code}|ipv4|1.0.0.0|256|20110811|assigned")
    assert found is not None
    assert found.holding == Holding(country, None)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# comment",
        "2|apnic|20261124|55832|19830613|20261124|+1000",
        "2.3|afrinic|20261124|55832|19830613|20261124|00000",
        "apnic|*|ipv4|*|12345|summary",
        "apnic|JP|asn|173|1|20020801|allocated|A91A7381",
        "arin||ipv4|23.128.0.0|256||available|",
        "ripencc|ZZ|ipv4|9.0.0.0|256||reserved|",
    ],
)
def test_what_delegates_no_addresses_is_passed_over(line: str) -> None:
    assert read_row(line) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("apnic|AU|ipv4|1.0.0.0", "'apnic|AU|ipv4|1.0.0.0' is no row of a delegated-extended file"),
        ("apnic|AU|ipx|1.0.0.0|256|20110811|assigned", "is no row"),
        ("|", "'|' is no row"),
        ("apnic|AU|ipv4|1.0.0|256|20110811|assigned", "'1.0.0' does not appear to be an IPv4 or IPv6 address"),
        ("apnic|AU|ipv4|::|256|20110811|assigned", "'::' is no ipv4 address"),
        ("apnic|AU|ipv6|1.0.0.0|24|20110811|assigned", "'1.0.0.0' is no ipv6 address"),
        ("apnic|AU|ipv4|1.0.0.0|x|20110811|assigned", "'x' is no number"),
        ("apnic|AU|ipv4|1.0.0.0|٣|20110811|assigned", "is no number"),
        ("apnic|AU|ipv4|1.0.0.0|" + "9" * 5000 + "|20110811|assigned", "is no number"),
        ("apnic|AU|ipv4|1.0.0.0|0|20110811|assigned", "0 addresses from 1.0.0.0 on are more than there are, or none"),
        ("apnic|AU|ipv4|255.255.255.0|257|20110811|assigned", "are more than there are"),
        ("apnic|AU|ipv6|2001::|0|20110811|assigned", "'0' is no prefix length from 1 to 128"),
        ("apnic|AU|ipv6|2001::|129|20110811|assigned", "'129' is no prefix length"),
        ("apnic|AU|ipv6|2001::1|64|20110811|assigned", "2001::1/64 has host bits set"),
        ("apnic|AU|ipv4|1.0.0.0|256|20110811|assigned|" + "A" * 129, "is no opaque-id"),
        ("apnic|AU|ipv4|1.0.0.0|256|20110811|assigned|\x1b[2J", "is no opaque-id"),
    ],
)
def test_a_bad_row_says_what_is_wrong(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_row(line)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**32))
def test_the_networks_of_a_row_are_just_its_addresses(first: int, count: int) -> None:
    count = min(count, 2**32 - first)
    found = read_row(f"arin|US|ipv4|{ip_address(first)}|{count}|20110811|assigned|x")
    assert found is not None
    assert (int(found.first), int(found.last)) == (first, first + count - 1)
    at = first
    for network in found.networks():
        assert int(network[0]) == at
        at = int(network[-1]) + 1
    assert at == first + count


@given(st.text(max_size=60) | st.lists(st.text(max_size=8), min_size=6, max_size=9).map("|".join))
def test_any_text_is_a_row_or_nothing_or_a_clear_error(text: str) -> None:
    try:
        found = read_row(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 -- either end is right; what matters is that there is no third
    else:
        assert found is None or found.first <= found.last
