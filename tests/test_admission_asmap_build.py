"""An AS map made of announced prefixes answers as the most specific of them says."""

from __future__ import annotations

import gzip
import random
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.asmap import UNKNOWN, Announcement, AsMap
from smtpsurvey.admission.asmap_build import MAX_LINE, _parse, read_all, read_announcements, write_map

if TYPE_CHECKING:
    from pathlib import Path

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


def test_pyasn_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(PYASN)
    bad: list[str] = []
    assert dict(read_announcements(str(path), bad.append)) == {
        ip_network("1.0.0.0/24"): (13335,),
        ip_network("1.0.0.0/8"): (64500,),
        ip_network("2400:cb00::/32"): (13335,),
    }
    assert bad == []


def test_caida_lines_are_read_with_all_origins_the_most_frequent_first(tmp_path: Path) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(CAIDA)
    bad: list[str] = []
    assert dict(read_announcements(str(path), bad.append)) == {
        ip_network("1.0.0.0/24"): (13335,),
        ip_network("9.2.0.0/16"): (64501, 64500),
        ip_network("9.3.0.0/16"): (64502, 64503),
        ip_network("2400:cb00::/32"): (13335,),
    }
    assert bad == []


@pytest.mark.parametrize("content", [PYASN, CAIDA])
def test_gzip_is_known_by_its_content(tmp_path: Path, content: bytes) -> None:
    plain, packed = tmp_path / "plain.gz", tmp_path / "packed.dat"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    bad: list[str] = []
    assert read_all([str(plain)], bad.append) == read_all([str(packed)], bad.append)
    assert bad == []


@pytest.mark.parametrize("cut", [10, -9])
def test_a_truncated_gzip_says_so_and_keeps_what_came_before(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "routes.gz"
    path.write_bytes(gzip.compress(PYASN)[:cut])
    bad: list[str] = []
    found = read_all([str(path)], bad.append)
    assert len(bad) == 1
    assert bad[0].startswith(f"{path}:{1 if cut == 10 else 6}: broken gzip, the rest is lost: ")
    assert len(found) == (0 if cut == 10 else 3)


@pytest.mark.parametrize("damage", [b"\x1f\x8bno gzip at all", gzip.compress(PYASN)[:30] + b"\xff" * 40])
def test_a_damaged_gzip_is_one_bad_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "routes.gz"
    path.write_bytes(damage)
    bad: list[str] = []
    read_all([str(path)], bad.append)
    assert len(bad) == 1
    assert "broken gzip" in bad[0]


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
        (b"\xff\x00\x1b[2J", r"'\\xff\x00\x1b[2J' is neither PREFIX AS"),
        (b"1.0.0.0/24\t" + b"1," * MAX_LINE, f"longer than {MAX_LINE} bytes"),
    ],
)
def test_a_bad_line_is_told_with_file_line_and_reason_and_the_rest_is_read(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = tmp_path / "routes.dat"
    path.write_bytes(b"; first\n" + line + b"\n2.0.0.0/8\t64500\n")
    bad: list[str] = []
    assert read_all([str(path)], bad.append) == {ip_network("2.0.0.0/8"): (64500,)}
    assert len(bad) == 1
    assert bad[0].startswith(f"{path}:2: ")
    assert reason in bad[0]
    assert "\n" not in bad[0]


@given(st.binary(max_size=80))
def test_any_bytes_are_an_announcement_or_blank_or_a_clear_error(line: bytes) -> None:
    try:
        found = _parse(line)
    except ValueError as error:
        assert str(error)  # noqa: PT017 -- either end is right; what matters is that there is no third
    else:
        assert found is None or all(0 < asn < 2**32 for asn in found[1])


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(AdmissionError, match=r"^\S+: [A-Z][a-z ]+$"):
        read_all([str(tmp_path / name)], pytest.fail)


def test_where_a_prefix_comes_again_the_later_line_counts(tmp_path: Path) -> None:
    for name, asn in (("a", 1), ("b", 2)):
        (tmp_path / name).write_text(f"1.0.0.0/8\t7\n1.0.0.0/8\t{asn}\n", "ascii")
    found = read_all([str(tmp_path / "a"), str(tmp_path / "b")], pytest.fail)
    assert found == {ip_network("1.0.0.0/8"): (2,)}


def nested(version: int) -> st.SearchStrategy[Network]:
    """Networks within a /8 or a /16, up to five bits longer: they nest and touch."""
    base = ip_network("9.0.0.0/8" if version == 4 else "2a00::/16")

    def within(part: int, extra: int) -> Network:
        return list(base.subnets(extra))[part >> (5 - extra)]

    return st.builds(within, st.integers(0, 31), st.integers(0, 5))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(nested(4) | nested(6), st.tuples(st.integers(1, 2**32 - 1)), max_size=20))
def test_the_most_specific_prefix_answers_in_whatever_order_they_came(
    tmp_path_factory: pytest.TempPathFactory, announced: dict[Network, tuple[int, ...]]
) -> None:
    out = tmp_path_factory.mktemp("map") / "as.mmdb"
    built = write_map(announced, str(out))
    assert built.prefixes == len(announced)
    as_map = AsMap(out)
    edges = {edge for network in announced for edge in (network[0], network[-1], network[0] - 1, network[-1] + 1)}
    for edge in edges:
        covering = [network for network in announced if edge in network]
        best = max(covering, key=lambda network: network.prefixlen, default=None)
        expected = UNKNOWN if best is None else Announcement(announced[best][0], str(best), None, announced[best])
        assert as_map.lookup(str(edge)) == expected


def test_a_table_of_real_size_in_any_order_is_answered_right(tmp_path: Path) -> None:
    rnd = random.Random(1)
    truth = {f"127.{i}.0.0/16": 64512 + i for i in range(128)}
    truth |= {f"{rnd.randrange(1, 100)}.{i >> 8 & 255}.{i & 255}.0/24": rnd.randrange(1, 60000) for i in range(4000)}
    lines = [f"{cidr}\t{asn}\n" for cidr, asn in truth.items()]
    lines += rnd.sample(lines, 500)
    rnd.shuffle(lines)
    (tmp_path / "routes.dat").write_text("".join(lines), "ascii")
    out = tmp_path / "as.mmdb"
    built = write_map(read_all([str(tmp_path / "routes.dat")], pytest.fail), str(out))
    assert built == (len(truth), len(set(truth.values())), out.stat().st_size)
    as_map = AsMap(out)
    for cidr, asn in truth.items():
        found = as_map.lookup(str(ip_network(cidr)[7]))
        assert (found.asn, found.prefix) == (asn, cidr)


def test_several_origins_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "as.mmdb"
    built = write_map({ip_network("9.2.0.0/16"): (64501, 64500)}, str(out))
    assert built.ases == 2
    assert AsMap(out).lookup("9.2.0.1") == Announcement(64501, "9.2.0.0/16", None, (64501, 64500))


def test_a_map_in_use_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "as.mmdb"
    write_map({ip_network("9.2.0.0/16"): (1,)}, str(out))
    in_use = AsMap(out)
    write_map({ip_network("9.2.0.0/16"): (2,)}, str(out))
    assert in_use.lookup("9.2.0.1").asn == 1
    assert AsMap(out).lookup("9.2.0.1").asn == 2
    assert [path.name for path in tmp_path.iterdir()] == ["as.mmdb"]


def test_a_map_that_cannot_be_written_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for out, reason in ((tmp_path / "missing" / "as.mmdb", "No such file"), (tmp_path / "taken", "Is a directory")):
        with pytest.raises(AdmissionError, match=rf"^{out}: {reason}"):
            write_map({ip_network("9.2.0.0/16"): (1,)}, str(out))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
