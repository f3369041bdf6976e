"""``list:FILE``: every format it reads, against the exact reader of the crawl, and broken files."""

from __future__ import annotations

import gzip
import json
import sys
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.items import Target
from smtpsurvey.targets.lines import HostName, TargetLines
from smtpsurvey.targets.list_source import ListSource
from smtpsurvey.targets.source import TargetsError
from smtpsurvey.targets.sources import TOLD, Options, Report

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Reading(NamedTuple):
    """What a list gave: address (or name to look up), port, name and tag of each target; what was told."""

    targets: list[tuple[str, int, str | None, str | None]]
    told: list[str]
    report: Report


def read(content: bytes, name: str = "list.txt") -> Reading:
    """Read a file with this content."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        told: list[str] = []
        report = Report(Options(Path(folder)), lambda line: told.append(line.removeprefix(f"{folder}/")))
        found: list[tuple[str, int, str | None, str | None]] = []
        for block in ListSource(str(path), report).blocks():
            numbers = [] if block.v4 is None else block.v4.tolist()
            found += [(str(IPv4Address(number)), 25, None, None) for number in numbers]
            found += [(ip, 25, None, None) for span in block.spans for ip in span]
            found += map(short, block.targets)
    return Reading(found, told, report)


def short(target: Target | HostName) -> tuple[str, int, str | None, str | None]:
    if isinstance(target, Target):
        return target.ip, target.port, target.name, target.tag
    return target.name, target.port, target.label, target.tag


def exact(content: bytes) -> tuple[list[tuple[str, int, str | None, str | None]], list[tuple[int, str]]]:
    """Read it as a crawl does."""
    bad: list[tuple[int, str]] = []
    lines = TargetLines("list.txt", None, 25, lambda number, reason: bad.append((number, reason)))
    return [short(target) for part in (lines.feed(content), lines.finish()) for target in part], bad


V4 = st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)))
V6 = st.integers(2**125, 2**126).map(lambda number: str(ip_address(number)))
NAME = st.from_regex(r"(?:[a-z][a-z0-9]{0,8}\.){1,3}[a-z]{2,6}", fullmatch=True)
TAG = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="#"), max_size=12).filter(
    lambda tag: tag == tag.strip()
)
LINE = (
    V4
    | V4
    | V6
    | NAME
    | st.tuples(V4 | V6, NAME).map(",".join)
    | st.tuples(V4, NAME | st.just(""), st.sampled_from(["", "a b", '"x,y"']), st.integers(0, 70_000).map(str)).map(
        ",".join
    )
    | V4.map(lambda ip: f"{ip}/30")
    | st.sampled_from(
        ["", "# comment", " 192.0.2.1 ", "192.0.2.1-192.0.2.9", "saddr", "saddr,sport", "nonsense line", "1.2.3"]
    )
    | st.text(max_size=20)
)


@given(st.lists(LINE), st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_list_holds_what_a_crawl_would_probe_and_the_same_lines_are_bad(
    lines: list[str],
    end: str,
    last: bool,  # noqa: FBT001 -- a parameter
) -> None:
    content = (end.join(lines) + end * last).encode()
    if b"\0" in content or content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return
    reading = read(content)
    targets, bad = exact(content)
    assert sorted(map(repr, reading.targets)) == sorted(map(repr, targets))
    assert reading.told == [f"list.txt:{number}: {reason}" for number, reason in bad]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_never_crash_it(content: bytes) -> None:
    for whole in (content, gzip.compress(content)[: len(content)], b"{" + content):
        try:
            reading = read(whole)
        except TargetsError:  # binary, too long a line, or an archive broken from the start
            continue
        assert len(reading.told) == reading.report.bad_lines + len(reading.report.broken)


def test_lines_are_counted_over_many_blocks() -> None:
    lines = [f"9.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(200_000)]
    for bad in (7, 99_999, 150_000):
        lines[bad] = "1.2.3.400"
    reading = read("\n".join(lines).encode())
    assert len(reading.targets) == 199_997
    assert [line.split(":")[1] for line in reading.told] == ["8", "100000", "150001"]


def test_only_the_first_thousand_bad_lines_are_told() -> None:
    reading = read(b"9.9.9.9\n" + b"-\n" * (TOLD + 5))
    assert len(reading.told) == TOLD
    assert reading.report.bad_lines == TOLD + 5


def test_zmap_lists_are_read_with_and_without_ports() -> None:
    reading = read(b"saddr,sport\n9.0.0.1,25\n9.0.0.2,587\nsaddr,sport\n9.0.0.3,25\n9.0.0.4,x\n")
    assert sorted(reading.targets) == [
        ("9.0.0.1", 25, None, None),
        ("9.0.0.2", 587, None, None),
        ("9.0.0.3", 25, None, None),
    ]
    assert reading.told == ["list.txt:6: port 'x' is no number from 1 to 65535"]
    assert read(b"sport,saddr\n25,9.0.0.1\n9.0.0.2\n").targets == [("9.0.0.1", 25, None, None)]


@given(st.lists(st.tuples(V4 | V6, NAME | st.none())), st.booleans())
def test_zgrab2_lines_give_address_and_domain(grabs: list[tuple[str, str | None]], sparse: bool) -> None:  # noqa: FBT001
    def grab(ip: str, name: str | None) -> str:
        made: dict[str, object] = {"ip": ip, "data": {"smtp": {"status": "success", "protocol": "smtp"}}}
        return json.dumps(made | ({"domain": name or ""} if name or not sparse else {}))

    reading = read("\n".join(grab(*each) for each in grabs).encode())
    assert reading.targets == [(ip, 25, name, None) for ip, name in grabs]
    assert not reading.told


@given(st.lists(st.tuples(NAME, st.lists(V4, max_size=2), st.lists(V6, max_size=2))), st.booleans())
def test_zdns_lines_give_every_address_of_every_exchanger(
    exchanges: list[tuple[str, list[str], list[str]]],
    old: bool,  # noqa: FBT001
) -> None:
    data = {
        "exchanges": [
            {
                "name": name,
                "preference": 10,
                "class": "IN",
                "ipv4_addresses": v4,
                **({"ipv6_addresses": v6} if v6 else {}),
            }
            for name, v4, v6 in exchanges
        ]
    }
    line = (
        {"name": "example.org", "status": "NOERROR", "data": data}
        if old
        else {
            "name": "example.org",
            "results": {"MXLOOKUP": {"status": "NOERROR", "data": data}},
        }
    )
    expected: list[tuple[str, int, str | None, str | None]] = []
    for name, v4, v6 in exchanges:
        # Without an address the name itself is to be looked up.
        expected += [(ip, 25, name, None) for ip in v4 + v6] or [(name, 25, None, None)]
    assert read(json.dumps(line).encode() + b"\n").targets == expected


def test_other_lookups_of_zdns_are_read() -> None:
    lines = [
        {"name": "a.example", "results": {"ALOOKUP": {"status": "NOERROR", "data": {"ipv4_addresses": ["9.0.0.1"]}}}},
        {
            "name": "b.example",
            "results": {
                "A": {
                    "status": "NOERROR",
                    "data": {
                        "answers": [
                            {"type": "CNAME", "answer": "c.example", "name": "b.example"},
                            {"type": "A", "answer": "9.0.0.2", "name": "c.example"},
                        ]
                    },
                }
            },
        },
        {"name": "d.example", "results": {"MXLOOKUP": {"status": "NXDOMAIN", "data": None}}},
        {"name": "e.example", "results": {"MXLOOKUP": {"status": "NOERROR", "data": {"exchanges": [{"name": "."}]}}}},
        {"name": "f.example", "status": "SERVFAIL"},
    ]
    reading = read("\n".join(map(json.dumps, lines)).encode())
    assert reading.targets == [("9.0.0.1", 25, "a.example", None), ("9.0.0.2", 25, "b.example", None)]
    assert not reading.told


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "no line of zgrab2 or zdns"),
        ('{"ip": 5}', "no line of zgrab2 or zdns"),
        ("[]", "no line of zgrab2 or zdns"),
        ("{}", "neither address nor name"),
        ('{"ip": "nonsense"}', "'nonsense' is no address"),
        ('{"ip": "9.0.0.0/8"}', "'9.0.0.0/8' is no address"),
        ('{"ip": "9.0.0.1", "domain": "x y"}', "'x y' is no host name"),
        (
            '{"name":"a.b","results":{"A":{"data":{"answers":['
            + ",".join(['{"type":"A","answer":"9.0.0.1"}'] * 10_001)
            + "]}}}}",
            "more than 10,000 addresses",
        ),
        ('{"ip":"9.0.0.1","x":"' + "x" * (1 << 20) + '"}', "longer than 1,048,576 bytes"),
        ("[" * 100_000, "no line of zgrab2 or zdns"),
    ],
)
def test_bad_json_lines_are_told_and_the_next_is_read(line: str, reason: str) -> None:
    reading = read(f'{{"ip":"9.9.9.9"}}\n{line}\n\n{{"ip":"9.9.9.8"}}\n'.encode())
    assert [target[0] for target in reading.targets] == ["9.9.9.9", "9.9.9.8"]
    (told,) = reading.told
    assert told.startswith("list.txt:2: ")
    assert reason in told


def test_long_lines_are_dropped_without_being_kept() -> None:
    reading = read(b"9.9.9.9\n" + b"x" * 3_000_000 + b"\n9.9.9.8\n")
    assert [target[0] for target in reading.targets] == ["9.9.9.9", "9.9.9.8"]
    assert reading.told == ["list.txt:2: longer than 4,096 bytes"]
    with pytest.raises(TargetsError, match="not a list of targets"):
        read(b"x" * 3_000_000)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_compressed_lists_are_read_by_their_content(pack: object) -> None:
    assert callable(pack)
    assert read(pack(b"9.9.9.9\n9.9.9.8")).targets == [("9.9.9.9", 25, None, None), ("9.9.9.8", 25, None, None)]


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_truncated_archive_says_so_and_keeps_what_came_before(pack: object) -> None:
    assert callable(pack)
    content = "".join(f"9.{n >> 16}.{n >> 8 & 255}.{n * 37 & 255}\n" for n in range(300_000)).encode()
    packed: bytes = pack(content)
    reading = read(packed[: len(packed) * 2 // 3])
    assert reading.told == ["list.txt: the archive is truncated"]
    assert len(reading.report.broken) == 1
    assert len(reading.targets) > 10_000
    assert [target[0] for target in reading.targets] == content.decode().split("\n")[: len(reading.targets)]


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    report = Report(Options(tmp_path), pytest.fail)
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(TargetsError, match=str(path)):
            ListSource(str(path), report)
    with pytest.raises(TargetsError, match="binary data"):
        read(b"9.9.9.9\n\0\1")
    assert read(b"").targets == []


def test_big_networks_stay_spans(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("9.0.0.0/8\n2001:4860::/96\n0.0.0.0-255.255.255.255\n", "ascii")
    blocks = ListSource(str(tmp_path / "list"), Report(Options(tmp_path), pytest.fail)).blocks()
    sizes = [span.last - span.first + 1 for block in blocks for span in block.spans]
    assert sizes == [1 << 24, 1 << 32, 1 << 32]
