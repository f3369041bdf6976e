from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import islice
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.targets.address import BadTargetError, Span, read_number, read_span, shown


def expand(text: str) -> list[str]:
    span = read_span(text)
    assert span is not None
    return list(span)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("192.0.2.1", ["192.0.2.1"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("2001:DB8:0:0::0001", ["2001:db8::1"]),
        ("[2001:db8::1]", ["2001:db8::1"]),
        ("::", ["::"]),
        ("192.0.2.0/30", ["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        ("192.0.2.3/31", ["192.0.2.2", "192.0.2.3"]),
        ("192.0.2.3/32", ["192.0.2.3"]),
        ("2001:db8::ffff/127", ["2001:db8::fffe", "2001:db8::ffff"]),
        ("[2001:db8::2]/128", ["2001:db8::2"]),
        ("192.0.2.254-192.0.3.1", ["192.0.2.254", "192.0.2.255", "192.0.3.0", "192.0.3.1"]),
        ("192.0.2.1 - 192.0.2.1", ["192.0.2.1"]),
        ("2001:db8::ffff-[2001:db8::1:0]", ["2001:db8::ffff", "2001:db8::1:0"]),
        ("255.255.255.255-255.255.255.255", ["255.255.255.255"]),
    ],
)
def test_an_address_a_cidr_or_a_range_gives_its_canonical_addresses(text: str, addresses: list[str]) -> None:
    assert expand(text) == addresses


@given(st.ip_addresses(v=4))
def test_ipv4_round_trips(address: IPv4Address) -> None:
    assert expand(str(address)) == [str(address)]


@given(st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None and int(address) >> 32))
def test_ipv6_comes_compressed_and_in_lower_case(address: IPv6Address) -> None:
    assert expand(address.exploded.upper()) == [address.compressed]


@given(st.ip_addresses(), st.integers(0, 6))
def test_a_cidr_is_what_the_ipaddress_module_says(address: IPv4Address | IPv6Address, host_bits: int) -> None:
    text = f"{address}/{address.max_prefixlen - host_bits}"
    network = ip_network(text, strict=False)
    if getattr(network.network_address, "ipv4_mapped", None):
        with pytest.raises(BadTargetError, match="give it as IPv4"):
            read_span(text)
    else:
        assert [ip_address(ip) for ip in expand(text)] == list(network)


@pytest.mark.parametrize(
    ("text", "first", "count"),
    [
        ("0.0.0.0/0", "0.0.0.0", 1 << 32),
        ("0.0.0.0-255.255.255.255", "0.0.0.0", 1 << 32),
        ("2001:db8::/96", "2001:db8::", 1 << 32),
        ("2001:db8::1-2001:db8::1:0:0", "2001:db8::1", 1 << 32),
        ("10.0.0.0/8", "10.0.0.0", 1 << 24),
    ],
)
def test_large_spans_are_not_expanded_before_they_are_asked_for(text: str, first: str, count: int) -> None:
    span = read_span(text)
    assert span is not None
    assert span.last - span.first + 1 == count
    assert list(islice(span, 1)) == [first]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.2.3", "'1.2.3' is no IPv4 address"),
        ("1", "'1' is no IPv4 address"),
        ("1.2.3.256", "'1.2.3.256' is no IPv4 address"),
        ("01.2.3.4", "'01.2.3.4' is no IPv4 address: a leading zero may mean octal"),
        ("1.2.3.04", "'1.2.3.04' is no IPv4 address: a leading zero may mean octal"),
        ("[1.2.3.4]", "'[1.2.3.4]' is no IPv6 address (a port goes into column 4)"),
        ("1.2.3.4:25", "'1.2.3.4:25' is no IPv6 address (a port goes into column 4)"),
        ("[2001:db8::1]:25", "'[2001:db8::1]:25' is no IPv6 address (a port goes into column 4)"),
        ("2001:db8::g", "'2001:db8::g' is no IPv6 address (a port goes into column 4)"),
        ("2001:db8::\0", r"'2001:db8::\x00' is no IPv6 address (a port goes into column 4)"),
        ("fe80::1%eth0", "'fe80::1%eth0' has a zone: link-local addresses are no targets"),
        ("[fe80::1%25eth0]", "'[fe80::1%25eth0]' has a zone: link-local addresses are no targets"),
        ("::ffff:1.2.3.4", "'::ffff:1.2.3.4' is IPv4-mapped: give it as IPv4"),
        ("::ffff:0:0/120", "'::ffff:0:0/120' is IPv4-mapped: give it as IPv4"),
        ("::fffe:ffff:ffff-::ffff:0:0", "'::fffe:ffff:ffff-::ffff:0:0' is IPv4-mapped: give it as IPv4"),
        ("::ffff:ffff:ffff-::1:0:0:0", "'::ffff:ffff:ffff-::1:0:0:0' is IPv4-mapped: give it as IPv4"),
        ("2001:db8::/95", "'2001:db8::/95' is more than 2^32 addresses"),
        ("2001:db8::-2001:db8::1:0:0", "'2001:db8::-2001:db8::1:0:0' is more than 2^32 addresses"),
        ("::/0", "'::/0' is more than 2^32 addresses"),
        ("192.0.2.0/33", "prefix length '33' is no number from 0 to 32"),
        ("2001:db8::/129", "prefix length '129' is no number from 0 to 128"),
        ("192.0.2.0/", "prefix length '' is no number from 0 to 32"),
        ("192.0.2.0/024", "prefix length '024' is no number from 0 to 32"),
        ("192.0.2.0/255.255.255.0", "prefix length '255.255.255.0' is no number from 0 to 32"),
        ("192.0.2.0/24/24", "prefix length '24/24' is no number from 0 to 32"),
        ("example.org/24", "'example.org' is no IPv4 address"),
        ("192.0.2.1-9", "'9' is no IPv4 address"),
        ("192.0.2.9-192.0.2.1", "the range '192.0.2.9-192.0.2.1' ends before it starts"),
        ("192.0.2.1-2001:db8::1", "the range '192.0.2.1-2001:db8::1' mixes IPv4 and IPv6"),
        ("1.2.3." + "4" * 100, f"'1.2.3.{'4' * 54}…' is no IPv4 address"),
    ],
)
def test_what_is_meant_as_an_address_and_is_none_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(BadTargetError) as caught:
        read_span(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "text", ["mx.example.org", "192.0.2.1-static.example.net", "mail-1.example.org", "1a", "-", ""]
)
def test_what_is_not_meant_as_an_address_is_left_to_be_a_name(text: str) -> None:
    assert read_span(text) is None


@given(st.text(st.characters(exclude_categories=[])) | st.text("0123456789abcdef.:/-[]% "))
def test_any_text_is_a_span_within_the_bound_or_a_name_or_a_bad_target(text: str) -> None:
    span, reason = None, ""
    try:
        span = read_span(text)
    except BadTargetError as bad:
        reason = str(bad)
    assert span is None or 0 <= span.last - span.first < 1 << 32
    assert reason.isprintable()


def test_numbers_are_plain_decimal_within_their_bounds() -> None:
    assert read_number("1", 1, 65535, "port") == 1
    assert read_number("65535", 1, 65535, "port") == 65535
    for text in ("0", "65536", "99999", "100000", "025", "+25", "25 ", "2_5", "٢٥", "", "25\n"):
        with pytest.raises(BadTargetError, match="is no number from 1 to 65535"):
            read_number(text, 1, 65535, "port")


def test_messages_escape_hostile_text_and_cut_it() -> None:
    assert shown("a\x1b[31m\n\u202e") == r"'a\x1b[31m\n\u202e'"
    assert len(shown("x" * 1000)) == 63


def test_spans_of_both_families_iterate_over_both_ends() -> None:
    assert list(Span(AF_INET, 1, 2)) == ["0.0.0.1", "0.0.0.2"]
    assert list(Span(AF_INET6, (1 << 128) - 1, (1 << 128) - 1)) == ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
