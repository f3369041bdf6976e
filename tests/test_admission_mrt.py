"""MRT routing tables: what is read of them, also against another reader, and broken ones."""

from __future__ import annotations

import io
import signal
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrt_tables import (
    CONFEDERATION,
    IPV4,
    IPV6,
    IPV6_PATHS,
    SEQUENCE,
    SET,
    attribute,
    attributes,
    peer_table,
    record,
    rib,
    segment,
)

from smtpsurvey.admission.mrt import MAX_RECORD, is_mrt, read_rib

if TYPE_CHECKING:
    from smtpsurvey.admission.asmap import Origins
    from smtpsurvey.admission.ranges import Network


def read(content: bytes) -> tuple[dict[Network, Origins], list[tuple[int, str]]]:
    bad: list[tuple[int, str]] = []
    found = read_rib(io.BytesIO(content), lambda number, reason: bad.append((number, reason)))
    return dict(each for _, each in found), bad


def origins(*paths: bytes) -> Origins:
    """Return the origins of a prefix that each peer has a route to."""
    routes = [(peer, attributes(path)) for peer, path in enumerate(paths)]
    found, bad = read(peer_table() + rib(ip_network("9.2.0.0/16"), routes))
    assert not bad
    return found.get(ip_network("9.2.0.0/16"), ())


def test_the_last_as_of_a_path_is_the_origin() -> None:
    assert origins(segment(SEQUENCE, 65001, 7, 13335)) == (13335,)
    assert origins(segment(SEQUENCE, 1) + segment(SEQUENCE, 2, 400_001)) == (400_001,)


def test_origins_are_ordered_by_how_many_peers_have_them() -> None:
    assert origins(segment(SEQUENCE, 9), segment(SEQUENCE, 7), segment(SEQUENCE, 5, 7)) == (7, 9)
    assert origins(segment(SEQUENCE, 9), segment(SEQUENCE, 10)) == (9, 10)


def test_as_sets_are_kept_together() -> None:
    assert origins(segment(SEQUENCE, 1) + segment(SET, 8, 7, 8)) == ((7, 8),)
    assert origins(segment(SET, 8, 7), segment(SET, 7, 8), segment(SEQUENCE, 7)) == ((7, 8), 7)
    assert origins(segment(SET, 8)) == origins(segment(SEQUENCE, 8)) == (8,)


def test_what_happens_inside_a_confederation_is_passed_over() -> None:
    assert origins(segment(SEQUENCE, 7) + segment(CONFEDERATION, 65500) + segment(4, 65501)) == (7,)


def test_a_route_with_an_empty_path_is_the_peers_own() -> None:
    assert origins(b"", segment(CONFEDERATION, 65500), b"") == (65001, 65002, 400_003)


def test_routes_without_path_or_from_as_0_have_no_origin() -> None:
    bare = [(0, attribute(1, b"\0")), (1, b"")]
    assert read(peer_table() + rib(ip_network("9.2.0.0/16"), bare)) == ({}, [])
    assert origins(segment(SEQUENCE, 0), segment(SET, 0), segment(SET, 0, 0)) == ()
    assert origins(segment(SEQUENCE, 0), segment(SET, 0, 7)) == (7,)


def test_a_peer_with_several_paths_counts_once_for_each_origin() -> None:
    prefix = ip_network("2a00::/16")
    one, other = attributes(segment(SEQUENCE, 1)), attributes(segment(SEQUENCE, 2))
    routes = [(0, one), (0, one), (0, one), (1, other), (2, other)]
    assert read(peer_table() + rib(prefix, routes, paths=True)) == ({prefix: (2, 1)}, [])


def test_long_attributes_are_read() -> None:
    path = segment(SEQUENCE, *range(1, 101))
    assert len(path) > 255
    routes = [(0, attribute(8, bytes(700)) + attributes(path))]
    assert read(peer_table() + rib(ip_network("9.0.0.0/9"), routes))[0] == {ip_network("9.0.0.0/9"): (100,)}


def test_host_bits_do_not_matter() -> None:
    content = rib(ip_network("9.2.0.0/15"), [(0, attributes(segment(SEQUENCE, 1)))])
    content = content.replace(b"\x0f\x09\x02", b"\x0f\x09\x03")
    assert read(content)[0] == {ip_network("9.2.0.0/15"): (1,)}


GOOD = rib(ip_network("9.2.0.0/16"), [(0, attributes(segment(SEQUENCE, 1)))])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (record(3, b""), "type 13, subtype 3 is no unicast routing table"),
        (record(1, b"", kind=12), "type 12, subtype 1 is no unicast routing table (TABLE_DUMP_V2)"),
        (record(IPV4, b""), "broken record: "),
        (record(IPV4, b"\0\0\0\1\x21" + bytes(7)), "broken record: a prefix of 33 bits"),
        (record(IPV6, b"\0\0\0\1\x81" + bytes(30)), "broken record: a prefix of 129 bits"),
        (record(IPV4, b"\0\0\0\1\x08\x09\0\1"), "broken record: "),
        (record(IPV4, b"\0\0\0\1\x08\x09\0\0more"), "broken record: 12 bytes where its entries take 8"),
        (record(IPV4, b"\0\0\0\1\x08\x09\0\1" + bytes(6) + b"\0\x09"), "broken record: 16 bytes where its entries"),
        (record(1, b"\0\0\0\1\0\0\0\1\x02" + bytes(8)), "broken record: 17 bytes where its peers take 21"),
        (record(1, b"\0\0\0\1\0\0\0\2\0"), "broken record: "),
        (record(1, b"\0\0\0\1"), "broken record: "),
        (rib(ip_network("9.0.0.0/8"), [(0, attributes(segment(9, 1)))]), "broken record: an AS path segment of type 9"),
        (rib(ip_network("9.0.0.0/8"), [(0, attributes(b"\2\2\0\0\0\1"))]), "an AS path segment that ends beyond"),
        (rib(ip_network("9.0.0.0/8"), [(0, attributes(b"\2"))]), "broken record: "),
        (rib(ip_network("9.0.0.0/8"), [(0, b"\x40\2\7\2\1")]), "an AS path that ends beyond its route"),
        (rib(ip_network("9.0.0.0/8"), [(0, b"\x40\1")]), "broken record: "),
        (rib(ip_network("9.0.0.0/8"), [(9, attributes(b""))]), "broken record: "),
        (rib(ip_network("0.0.0.0/0"), [(0, attributes(segment(SEQUENCE, 1)))]), "0.0.0.0/0 is a default route"),
        (rib(ip_network("::/8"), [(0, attributes(segment(SEQUENCE, 1)))]), "::/8 overlaps ::/96"),
    ],
)
def test_a_broken_record_is_told_with_its_number_and_the_next_is_read(broken: bytes, reason: str) -> None:
    found, bad = read(peer_table() + broken + GOOD)
    assert found == {ip_network("9.2.0.0/16"): (1,)}
    ((number, told),) = bad
    assert number == 2
    assert reason in told


@pytest.mark.parametrize("rest", [GOOD[:-1], GOOD[:12], GOOD[:5], record(IPV4, b"")[:8] + b"\xff\xff\xff\xff" + GOOD])
def test_what_is_cut_off_is_told_and_what_came_before_is_kept(rest: bytes) -> None:
    found, bad = read(peer_table() + GOOD + rest)
    assert found == {ip_network("9.2.0.0/16"): (1,)}
    assert bad == [(3, f"longer than {MAX_RECORD:,} bytes or cut off, the rest is lost")]


def test_a_file_is_known_by_its_first_bytes() -> None:
    assert is_mrt(peer_table()[:12])
    assert not is_mrt(peer_table()[:11])
    assert not is_mrt(b"1.0.0.0\t24\t13335\n"[:12])
    assert not is_mrt(b"")


ASN = st.integers(1, 2**32 - 1)
V4 = st.builds(
    lambda number, length: IPv4Network((number >> 32 - length << 32 - length, length)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)
V6 = st.builds(
    lambda number, length: IPv6Network((number >> 128 - length << 128 - length, length)),
    st.integers(1 << 125, 2**127),
    st.integers(4, 128),
)
PATH = st.lists(
    st.tuples(st.sampled_from([SEQUENCE, SEQUENCE, SET]), st.lists(ASN, min_size=1, max_size=5)), min_size=1, max_size=3
)
TABLE = st.dictionaries(V4 | V6, st.lists(PATH, min_size=1, max_size=3), max_size=6)


def content_of(table: dict[Network, list[Any]]) -> bytes:
    content = peer_table()
    for prefix, paths in table.items():
        built = [b"".join(segment(kind, *ases) for kind, ases in path) for path in paths]
        content += rib(prefix, [(peer, attributes(path)) for peer, path in enumerate(built)])
    return content


@settings(deadline=None)
@given(TABLE)
def test_a_generated_table_is_read_as_mrtparse_reads_it(table: dict[Network, list[Any]]) -> None:
    content = content_of(table)
    found, bad = read(content)
    assert not bad
    assert {prefix: set(each) for prefix, each in found.items()} == by_mrtparse(content)


def by_mrtparse(content: bytes) -> dict[Network, set[Any]]:
    handler = signal.getsignal(signal.SIGPIPE)
    import mrtparse  # noqa: PLC0415 -- it changes what SIGPIPE does to us

    signal.signal(signal.SIGPIPE, handler)
    found: dict[Network, set[Any]] = {}
    for each in mrtparse.Reader(io.BytesIO(content)):
        if "rib_entries" not in each.data:
            continue
        prefix = ip_network(f"{each.data['prefix']}/{each.data['length']}")
        found[prefix] = set()
        for entry in each.data["rib_entries"]:
            (path,) = [attr["value"] for attr in entry["path_attributes"] if SEQUENCE in attr["type"]]
            ases = [int(asn) for asn in path[-1]["value"]]
            is_set = SET in path[-1]["type"] and len(set(ases)) > 1
            found[prefix].add(tuple(sorted(set(ases))) if is_set else ases[-1])
    return found


@settings(deadline=None)
@given(TABLE, st.data())
def test_any_bytes_are_routes_or_bad_records(table: dict[Network, list[Any]], data: st.DataObject) -> None:
    content = bytearray(content_of(table))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found, _ = read(bytes(content))
    assert all(network.prefixlen for network in found)


@given(st.binary(max_size=200))
def test_random_bytes_never_crash_it(content: bytes) -> None:
    read(content)
    read(record(IPV4, content) + record(1, content) + record(IPV6_PATHS, content))
