"""``dnsbl:FILE``: rbldnsd's zone data, exclusions above all, against a plain reading of the same lines."""

from __future__ import annotations

import gzip
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.targets.address import BadTargetError
from smtpsurvey.targets.dnsbl import AT_ONCE, Dataset, DnsblSource, read_entry
from smtpsurvey.targets.source import TargetsError
from smtpsurvey.targets.sources import Options, Report


class Reading(NamedTuple):
    """What a file gave: ranges (first, last), in order; what was told; the report."""

    ranges: list[tuple[int, int]]
    told: list[str]
    report: Report

    @property
    def addresses(self) -> list[str]:
        """Every address, as text, in order."""
        return [str(IPv4Address(number)) for first, last in self.ranges for number in range(first, last + 1)]


def read(content: bytes) -> Reading:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "zone"
        path.write_bytes(content)
        told: list[str] = []
        report = Report(Options(Path(folder)), lambda line: told.append(line.removeprefix(f"{folder}/")))
        found: list[tuple[int, int]] = []
        for block in DnsblSource(str(path), report).blocks():
            assert len(block.spans) <= AT_ONCE
            found += [] if block.v4 is None else [(number, number) for number in block.v4.tolist()]
            found += [(span.first, span.last) for span in block.spans]
        assert [each.name for each in Path(folder).iterdir()] == ["zone"]
    return Reading(sorted(found), told, report)


def span(first: str, last: str) -> tuple[int, int]:
    return int(IPv4Address(first)), int(IPv4Address(last))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        # the forms of rbldnsd(8)
        ("127.0.0.0/24", "127.0.0.0", "127.0.0.255"),
        ("127.0.0", "127.0.0.0", "127.0.0.255"),
        ("127/24", "127.0.0.0", "127.0.0.255"),
        ("127-127.0.0", "127.0.0.0", "127.0.0.255"),
        ("127.0.0.0-127.0.0.255", "127.0.0.0", "127.0.0.255"),
        ("127.0.0.1-255", "127.0.0.1", "127.0.0.255"),
        ("127.16.0.0-127.31.255.255", "127.16.0.0", "127.31.255.255"),
        ("127.16.0-127.31.255", "127.16.0.0", "127.31.255.255"),
        ("127.16-127.31", "127.16.0.0", "127.31.255.255"),
        ("127.16-31", "127.16.0.0", "127.31.255.255"),
        ("127.16.0.0/12", "127.16.0.0", "127.31.255.255"),
        ("127.16.0/12", "127.16.0.0", "127.31.255.255"),
        ("127.16/12", "127.16.0.0", "127.31.255.255"),
        ("127.16.0-31", "127.16.0.0", "127.16.31.255"),
        # what else there is
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("9.2", "9.2.0.0", "9.2.255.255"),
        ("9/8", "9.0.0.0", "9.255.255.255"),
        ("9-10", "9.0.0.0", "10.255.255.255"),
        ("9.9.9.9/8", "9.0.0.0", "9.255.255.255"),
        ("0/0", "0.0.0.0", "255.255.255.255"),
        ("0-255", "0.0.0.0", "255.255.255.255"),
        ("192.0.2.1-1", "192.0.2.1", "192.0.2.1"),
    ],
)
def test_entries_are_addresses_prefixes_cidrs_and_ranges(text: str, first: str, last: str) -> None:
    for rest in ("", " ", " text", "\t:127.0.0.3:text", ":3:text", "# comment", ";comment", " ; - 9.9.9.9"):
        assert read_entry(text + rest) == (*span(first, last), False)
        assert read_entry("!" + text + rest) == (*span(first, last), True)
        assert read_entry("! " + text + rest) == (*span(first, last), True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("127", "'127' is one octet alone: 127/8?"),
        ("127.0.0.256", "an octet over 255"),
        ("1.2.3.4.5", "is no IPv4 address, prefix or range"),
        ("1.2.3.4x", "is no IPv4 address, prefix or range"),
        ("1.2.3.", "is no IPv4 address, prefix or range"),
        ("1..3", "is no IPv4 address, prefix or range"),
        ("1.2.3.4/", "is no IPv4 address, prefix or range"),
        ("1.2.3.4-", "is no IPv4 address, prefix or range"),
        ("1.2.3.4/33", "prefix length over 32"),
        ("1.2.3.4/8-9", "is no IPv4 address, prefix or range"),
        ("9.9-8", "ends before it starts"),
        ("1.2.3.9-1.2.3.8", "ends before it starts"),
        ("!!1.2.3.4", "is no IPv4 address, prefix or range"),
        ("2001:db8::1", "is no IPv4 address, prefix or range"),
        ("example.org", "is no IPv4 address, prefix or range"),
        ("\u0661.2.3.4", "is no IPv4 address, prefix or range"),
    ],
)
def test_a_bad_entry_is_told_with_file_line_and_reason_and_the_rest_is_read(text: str, reason: str) -> None:
    with pytest.raises(BadTargetError) as caught:
        read_entry(text)
    assert reason in str(caught.value)
    reading = read(f"# one\n{text}\n9.9.9.9\n".encode())
    assert reading.addresses == ["9.9.9.9"]
    (told,) = reading.told
    assert told.startswith("zone:2: ")
    assert reason in told
    assert reading.report.bad_lines == 1


def test_a_zone_with_all_that_rbldnsd_knows_is_read() -> None:
    zone = b"""\
# a comment
; another
$SOA 3600 bl.example.org hostmaster.example.org 0 2h 2h 1w 1h
$NS 1w ns1.example.org -ns2.example.org
#$TTL 2100
;$TIMESTAMP 2026:11:25:01:02:03
:$1 a substitution
$= base template
:127.0.0.2:Listed, see https://example.org/?$

192.0.2.1
  192.0.2.2 :127.0.0.3:an open relay
192.0.2.4\t:3:text; with # signs
192.0.2.8/30 text alone
!192.0.2.9
!192.0.2.4
192.0.3.254-192.0.4.1\r
"""
    reading = read(zone)
    assert reading.told == []
    assert reading.addresses == [
        *("192.0.2.1", "192.0.2.2", "192.0.2.8", "192.0.2.10", "192.0.2.11"),
        *("192.0.3.254", "192.0.3.255", "192.0.4.0", "192.0.4.1"),
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_an_exclusion_counts_wherever_it_stands_and_however_wide_it_is(order: int) -> None:
    lines = [b"9.2.0.0/24", b"9.2.1.7", b"9.2.2.1-9", b"!9.2.0.1-254", b"!9.2.1", b"!9.2.2.4"]
    assert read(b"\n".join(lines[::order])).addresses == [
        *("9.2.0.0", "9.2.0.255"),
        *(f"9.2.2.{host}" for host in (1, 2, 3, 5, 6, 7, 8, 9)),
    ]


def test_the_edges_of_the_address_space_can_be_listed_and_excluded() -> None:
    assert read(b"0/0\n!0.0.0.0\n!255.255.255.255\n").ranges == [(1, 2**32 - 2)]
    assert read(b"0/0\n!0/1\n!128/1\n").ranges == []
    assert read(b"255.255.255.255\n0.0.0.0\n!255.255.255.254\n").ranges == [(0, 0), (2**32 - 1, 2**32 - 1)]


def test_datasets_of_a_combined_file_have_exclusions_of_their_own() -> None:
    reading = read(
        b"$NS 1w ns1.example.org\n$DATASET ip4set:dialups dialups @\n9.2.0.0/30\n!9.2.0.1\n"
        b"$dataset dnset rhs\nexample.org\n.example.net\n$DATASET generic @\nwww A 9.9.9.9\n"
        b"$DATASET ip4tset\trelays\n:3:text\n9.2.0.1\n9.9.9.9\n$DATASET ip4trie x\n9.3.0.0/31\n"
    )
    assert reading.addresses == ["9.2.0.0", "9.2.0.1", "9.2.0.2", "9.2.0.3", "9.3.0.0", "9.3.0.1", "9.9.9.9"]
    assert reading.told == []
    assert reading.report.counts == {"entries of other datasets passed over": 3}


def test_ranges_over_maxrange4_are_left_out_as_rbldnsd_does() -> None:
    reading = read(
        b"9.0.0.0/23\n$MAXRANGE4 /24\n9.2.0.0/23\n9.3.0.0/24\n$MAXRANGE4 512\n9.4.0.0/23\n$MAXRANGE4 2\n9.5/24"
    )
    assert reading.ranges == [span("9.0.0.0", "9.0.1.255"), span("9.3.0.0", "9.3.0.255")]
    assert reading.told == [
        "zone:3: '9.2.0.0/23' is more than the 256 addresses of $MAXRANGE4",
        "zone:6: '9.4.0.0/23' is more than the 256 addresses of $MAXRANGE4",
        "zone:8: '9.5/24' is more than the 2 addresses of $MAXRANGE4",
    ]
    assert read(b"$MAXRANGE4 /33\n$MAXRANGE4 x\n").report.bad_lines == 2


def test_a_plain_list_is_read_line_numbers_going_on_over_blocks() -> None:
    lines = [str(IPv4Address(number)) for number in range(9 << 24, (9 << 24) + 60_000)]
    lines[40_000] = "nonsense"
    lines[50_000] = "!9.0.0.0/29"
    reading = read("\n".join(lines).encode())
    assert reading.told == ["zone:40001: 'nonsense' is no IPv4 address, prefix or range"]
    assert len(reading.ranges) == 60_000 - 2 - 8
    assert reading.addresses[0] == "9.0.0.8"


def test_big_networks_stay_spans_and_are_cut_lazily(tmp_path: Path) -> None:
    with Dataset(tmp_path) as dataset:
        dataset.add(0, 2**32 - 1, excluded=False)
        for number in range(3 * AT_ONCE):
            dataset.add(number << 8, number << 8, excluded=True)
        sizes = [len(block.spans) for block in dataset.blocks()]
    assert sizes == [AT_ONCE] * 3


def test_more_entries_than_are_read_back_at_once_are_all_there(tmp_path: Path) -> None:
    with Dataset(tmp_path) as dataset:
        for number in range(70_000):
            dataset.add(2 * number, 2 * number, excluded=False)
        dataset.list_addresses(np.arange(10**6, 10**6 + 70_000, dtype=np.uint32))
        found = [number for block in dataset.blocks() for number in block.v4.tolist()]  # type: ignore[union-attr]
    assert sorted(found) == [*range(0, 140_000, 2), *range(10**6, 10**6 + 70_000)]


def test_a_truncated_archive_says_so_and_keeps_what_came_before() -> None:
    content = "".join(f"9.{n >> 16}.{n >> 8 & 255}.{n * 37 & 255}\n" for n in range(200_000)).encode()
    packed = gzip.compress(content)
    assert len(read(packed).ranges) == 200_000
    reading = read(packed[: len(packed) * 2 // 3])
    assert reading.told == ["zone: the archive is truncated"]
    assert len(reading.report.broken) == 1
    assert 10_000 < len(reading.ranges) < 200_000


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(TargetsError, match=str(path)):
            DnsblSource(str(path), Report(Options(tmp_path), pytest.fail))
    with pytest.raises(TargetsError, match="binary data"):
        read(b"9.9.9.9\n\0\1")
    assert read(b"").ranges == []


def test_a_line_too_long_is_told_and_the_next_is_read() -> None:
    reading = read(b"9.9.9.9 " + b"x" * 1_000_000 + b"\n9.9.9.8\n")
    assert reading.addresses == ["9.9.9.8"]
    assert reading.told == ["zone:1: longer than 4,096 bytes"]


def test_how_far_it_is_can_be_asked(tmp_path: Path) -> None:
    (tmp_path / "zone").write_text("9.9.9.9\n", "ascii")
    source = DnsblSource(str(tmp_path / "zone"), Report(Options(tmp_path), pytest.fail))
    assert (source.label, source.fraction) == (f"dnsbl:{tmp_path}/zone", None)
    assert len(list(source.blocks())) == 1
    assert source.fraction == 1


OCTET = st.integers(0, 255)
HOST = st.tuples(OCTET, OCTET).map(lambda low: f"9.2.{low[0] & 3}.{low[1]}")
ENTRY = st.tuples(
    st.sampled_from(["", "", "", "!", "! "]),
    HOST
    | HOST
    | st.tuples(HOST, st.integers(21, 32)).map(lambda each: f"{each[0]}/{each[1]}")
    | st.tuples(HOST, OCTET).map(lambda each: f"{each[0]}-{each[1]}")
    | st.tuples(OCTET, OCTET).map(lambda each: f"9.2.{each[0] & 3}-{each[1] & 3}")
    | OCTET.map(lambda octet: f"9.2.{octet & 3}"),
    st.sampled_from(["", " :127.0.0.2:text", "\ttext", " # comment"]),
).map("".join)


def plainly(lines: list[str]) -> set[int]:
    """Return the addresses listed and not excluded."""
    listed: set[int] = set()
    excluded: set[int] = set()
    for line in lines:
        try:
            first, last, out = read_entry(line)
        except BadTargetError:
            continue
        (excluded if out else listed).update(range(first, last + 1))
    return listed - excluded


@settings(deadline=None)
@given(st.lists(ENTRY, max_size=25), st.booleans())
def test_a_generated_zone_gives_what_it_lists_less_what_it_excludes(
    lines: list[str],
    dollar: bool,  # noqa: FBT001 -- a parameter
) -> None:
    zone = [*(["$TTL 1"] if dollar else []), *lines]
    reading = read("\n".join(zone).encode())
    assert {number for first, last in reading.ranges for number in range(first, last + 1)} == plainly(lines)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_never_crash_it(content: bytes) -> None:
    for whole in (content, b"$DATASET ip4set @\n" + content, gzip.compress(content)[: len(content)]):
        try:
            reading = read(whole)
        except TargetsError:  # binary, or an archive broken from the start
            continue
        assert len(reading.told) == reading.report.bad_lines + len(reading.report.broken)
