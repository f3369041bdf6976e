"""Address ranges: what lies on top counts, and every address is found in its own range."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.admission.ranges import AddressMap, RangeMap, covering

if TYPE_CHECKING:
    from smtpsurvey.admission.ranges import Network


def networks(version: int) -> st.SearchStrategy[Network]:
    """Networks that often nest and touch, down to single addresses: few bits of theirs vary."""
    bits, kind = (32, IPv4Network) if version == 4 else (128, IPv6Network)

    def network(leading: int, *, last: bool, length: int) -> Network:
        address = leading << (bits - 5) | (last and (1 << (bits - 5)) - 1)
        return kind((address >> (bits - length) << (bits - length), length))

    lengths = st.sampled_from([0, 1, 2, 3, 4, 5, bits - 1, bits])
    return st.builds(network, st.integers(0, 31), last=st.booleans(), length=lengths)


@pytest.mark.parametrize("version", [4, 6])
@given(data=st.data())
def test_an_address_has_the_value_of_the_last_layer_that_covers_it(version: int, data: st.DataObject) -> None:
    layers = data.draw(st.lists(st.tuples(networks(version), st.sampled_from([None, "a", "b", "c"])), max_size=12))
    width = 4 if version == 4 else 16
    found = RangeMap(layers, width)
    edges = {0, 2 ** (8 * width) - 1}
    for network, _ in layers:
        edges |= {int(network[0]), int(network[-1])}
        edges |= {int(network[0]) - 1, int(network[-1]) + 1}
    for edge in edges:
        if not 0 <= edge < 2 ** (8 * width):
            continue
        address = ip_address(edge.to_bytes(width, "big"))
        expected = [value for network, value in layers if address in network]
        assert found.at(address.packed) == (expected[-1] if expected else None)


@given(st.lists(st.tuples(networks(4), st.sampled_from([None, "a", "b"])), max_size=12))
def test_neighbouring_ranges_differ(layers: list[tuple[Network, str | None]]) -> None:
    found = RangeMap(layers, 4)
    assert found.starts[0] == bytes(4)
    assert found.starts == sorted(set(found.starts))
    assert all(one != next_ for one, next_ in zip(found.values, found.values[1:], strict=False))


def test_the_ends_of_a_network_are_in_it_and_their_neighbours_are_not() -> None:
    found = AddressMap([(ip_network("192.0.2.0/24"), "here")])
    assert [found.at(ip) for ip in ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0")] == [
        None,
        "here",
        "here",
        None,
    ]


def test_one_map_holds_both_families_apart() -> None:
    found = AddressMap([(ip_network("0.0.0.0/0"), "four"), (ip_network("2001:db8::/32"), "six")])
    assert found.at("255.255.255.255") == "four"
    assert found.at("2001:db8::1") == "six"
    assert found.at("::ffff:192.0.2.1") is None


def test_a_later_none_carves_a_hole() -> None:
    found = AddressMap([(ip_network("10.0.0.0/8"), "private"), (ip_network("10.1.0.0/16"), None)])
    assert found.at("10.0.255.255") == "private"
    assert found.at("10.1.0.0") is None
    assert found.at("10.2.0.0") == "private"


@pytest.mark.parametrize("text", ["mx.example.org", "192.0.2", "192.0.2.256", "fe80::1%1", ""])
def test_what_is_no_address_is_an_error_and_never_outside_all_ranges(text: str) -> None:
    with pytest.raises(OSError, match="illegal IP address"):
        AddressMap([]).at(text)


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_covering_gives_the_network_of_an_ipv4_address(number: int, length: int) -> None:
    ip = str(IPv4Address(number))
    assert covering(ip, length) == str(ip_network((ip, length), strict=False))


@given(st.ip_addresses(v=6), st.integers(0, 128))
def test_covering_gives_the_network_of_an_ipv6_address(address: object, length: int) -> None:
    network = ip_network((str(address), length), strict=False)
    assert ip_network(covering(str(address), length)) == network
