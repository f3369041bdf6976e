"""What an AS map is made of: each format, by its content; archives; bad lines; broken files."""

from __future__ import annotations

import bz2
import gzip
from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrt_tables import SEQUENCE, attributes, peer_table, rib, segment

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.asmap_read import MAX_LINE, _parse, read_table
from smtpsurvey.admission.delegated import Allocation, Holding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smtpsurvey.admission.asmap import Origins
    from smtpsurvey.admission.ranges import Network

PYASN = b"""\
; IP-ASN32-DAT file
; Original file : <Path to a rib file>
1.0.0.0/24\t13335
1.0.0.0/8\t64500
2400:cb00::/32\t13335
"""
CAIDA = b"""\
1.0.0.0\t24\t13335
9.2.0.0\t16\t64501_64500
9.3.0.0\t16\t64502,64503_64502
2400:cb00::\t32\t13335
"""
RIR = b"""\
2.3|apnic|20261124|3|19830613|20261124|+1000
apnic|*|ipv4|*|1|summary
apnic|AU|ipv4|1.0.0.0|256|20110811|assigned|A91872ED
"""
MRT = peer_table() + rib(ip_network("9.2.0.0/16"), [(0, attributes(segment(SEQUENCE, 7)))])
BY_MRT = {ip_network("9.2.0.0/16"): (7,)}


def read(path: Path) -> tuple[dict[Network, Origins], list[Allocation], list[str]]:
    """Read a file: announcements, allocations, what was told."""
    bad: list[str] = []
    found = list(read_table(str(path), bad.append))
    allocations = [each for each in found if isinstance(each, Allocation)]
    return dict(each for each in found if not isinstance(each, Allocation)), allocations, bad


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_pyasn_lines_are_read(tmp_path: Path) -> None:
    assert read(written(tmp_path / "any.name", PYASN)) == (
        {
            ip_network("1.0.0.0/24"): (13335,),
            ip_network("1.0.0.0/8"): (64500,),
            ip_network("2400:cb00::/32"): (13335,),
        },
        [],
        [],
    )


def test_caida_lines_are_read_with_all_origins_and_as_sets_kept_together(tmp_path: Path) -> None:
    assert read(written(tmp_path / "any.name", CAIDA)) == (
        {
            ip_network("1.0.0.0/24"): (13335,),
            ip_network("9.2.0.0/16"): (64501, 64500),
            ip_network("9.3.0.0/16"): ((64502, 64503), 64502),
            ip_network("2400:cb00::/32"): (13335,),
        },
        [],
        [],
    )


def test_delegated_rows_are_read(tmp_path: Path) -> None:
    first, last = IPv4Address("1.0.0.0"), IPv4Address("1.0.0.255")
    expected = [Allocation(first, last, Holding("AU", "apnic:A91872ED"))]
    assert read(written(tmp_path / "any.name", RIR)) == ({}, expected, [])


def test_routing_tables_are_read(tmp_path: Path) -> None:
    assert read(written(tmp_path / "any.name", MRT)) == (BY_MRT, [], [])


@pytest.mark.parametrize("content", [PYASN, CAIDA, RIR, MRT, b""])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_an_archive_is_known_by_its_content(tmp_path: Path, content: bytes, pack: Callable[[bytes], bytes]) -> None:
    plain, packed = written(tmp_path / "plain.gz", content), written(tmp_path / "packed.dat", pack(content))
    assert read(packed) == read(plain)
    assert read(packed)[2] == []


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
@pytest.mark.parametrize("content", [PYASN * 5000, peer_table() + MRT[len(peer_table()) :] * 5000])
def test_a_truncated_archive_says_so_and_keeps_what_came_before(
    tmp_path: Path, content: bytes, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(content)
    announced, _, bad = read(written(tmp_path / "routes", packed[:20]))
    assert (announced, bad) == ({}, [f"{tmp_path}/routes:1: broken archive, the rest is lost: {ENDED}"])
    announced, _, bad = read(written(tmp_path / "routes", packed[:-4]))
    assert len(bad) == 1
    assert bad[0].endswith(ENDED)
    assert announced in (BY_MRT, read(written(tmp_path / "whole", content))[0])


ENDED = "Compressed file ended before the end-of-stream marker was reached"


@pytest.mark.parametrize(
    "damage",
    [
        b"\x1f\x8bno gzip at all",
        gzip.compress(PYASN)[:30] + b"\xff" * 40,
        b"BZh9 no bzip2 at all",
        bz2.compress(PYASN)[:30] + b"\xff" * 40,
    ],
)
def test_a_damaged_archive_is_one_bad_line(tmp_path: Path, damage: bytes) -> None:
    _, _, bad = read(written(tmp_path / "routes", damage))
    assert len(bad) == 1
    assert "broken archive" in bad[0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1.0.0.0/24", "'1.0.0.0/24' is neither PREFIX AS (pyasn) nor ADDRESS LENGTH AS (CAIDA pfx2as)"),
        (b"1.0.0.0 13335", "is neither PREFIX AS"),
        (b"1.0.0.0 24 13335 more", "is neither PREFIX AS"),
        (b"1.0.0.0 255.255.255.0 13335", "is neither PREFIX AS"),
        (b"1.0.0.0/33\t13335", "'1.0.0.0/33' does not appear to be an IPv4 or IPv6 network"),
        (b"1.0.0.1\t24\t13335", "1.0.0.1/24 has host bits set"),
        (b"1.0.0.0/24\tAS13335", "'AS13335' is no AS number (1 to 4294967295)"),
        (b"1.0.0.0/24\t0", "'0' is no AS number"),
        (b"1.0.0.0/24\t4294967296", "'4294967296' is no AS number"),
        (b"1.0.0.0/24\t1_", "'' is no AS number"),
        (b"1.0.0.0/24\t{1,2}", "'{1' is no AS number"),
        (b"0.0.0.0/0\t1", "0.0.0.0/0 is a default route"),
        (b"::/0\t1", "::/0 is a default route"),
        (b"::/8\t1", "::/8 overlaps ::/96, where the map keeps IPv4"),
        (b"::1.0.0.0/120\t1", "overlaps ::/96"),
        (b"apnic|AU|ipv4|1.0.0.0|x|20110811|assigned", "'x' is no number"),
        (b"apnic|AU|ipv6|::|8|20110811|assigned", "::/8 overlaps ::/96"),
        (b"apnic|AU|ipv4|0.0.0.0|4294967296|20110811|assigned", "0.0.0.0/0 is a default route"),
        (b"\xff\x00\x1b[2J", r"'\\xff\x00\x1b[2J' is neither PREFIX AS"),
        (b"1.0.0.0/24\t" + b"1," * MAX_LINE, f"longer than {MAX_LINE} bytes"),
    ],
)
def test_a_bad_line_is_told_with_file_line_and_reason_and_the_rest_is_read(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = written(tmp_path / "routes.dat", b"; first\n" + line + b"\n2.0.0.0/8\t64500\n")
    announced, allocations, bad = read(path)
    assert (announced, allocations) == ({ip_network("2.0.0.0/8"): (64500,)}, [])
    assert len(bad) == 1
    assert bad[0].startswith(f"{path}:2: ")
    assert reason in bad[0]
    assert "\n" not in bad[0]


def test_a_broken_record_is_told_with_file_and_number(tmp_path: Path) -> None:
    announced, _, bad = read(written(tmp_path / "rib", MRT + b"\0\0\0\0\0\x0d\0\x02\0\0\0\0" + MRT))
    assert announced == BY_MRT
    assert len(bad) == 1
    assert bad[0].startswith(f"{tmp_path}/rib:3: broken record: ")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_crash_it(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random-bytes"
    for head in (b"", b"\x1f\x8b\x08", b"BZh9", MRT[:8], gzip.compress(content)[:-1]):
        read(written(path, head + content))


@given(st.binary(max_size=80))
def test_any_bytes_are_an_announcement_or_blank_or_a_clear_error(line: bytes) -> None:
    try:
        found = _parse(line)
    except ValueError as error:
        assert str(error)  # noqa: PT017 -- either end is right; what matters is that there is no third
    else:
        assert found is None or isinstance(found, Allocation) or found[1]


ASN = st.integers(1, 2**32 - 1)
ORIGIN = ASN | st.lists(ASN, min_size=2, max_size=4, unique=True).map(tuple)


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 2**24 - 1), st.lists(ORIGIN, min_size=1, max_size=3, unique=True)))
def test_what_is_written_as_caida_does_is_read(
    tmp_path_factory: pytest.TempPathFactory, table: dict[int, list[int | tuple[int, ...]]]
) -> None:
    truth = {ip_network((number << 8, 24)): tuple(origins) for number, origins in table.items()}
    lines = [
        f"{network[0]}\t24\t{'_'.join(','.join(map(str, (o,) if isinstance(o, int) else o)) for o in origins)}\n"
        for network, origins in truth.items()
    ]
    path = written(tmp_path_factory.getbasetemp() / "caida", "".join(lines).encode())
    assert read(path) == (truth, [], [])


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(AdmissionError, match=r"^\S+: [A-Z][a-z ]+$"):
        list(read_table(str(tmp_path / name), pytest.fail))
