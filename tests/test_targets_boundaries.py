"""``boundaries:FILE``: the first and last address of allocations, and of the prefixes of an AS map."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from smtpsurvey.admission.asmap_build import write_map
from smtpsurvey.admission.delegated import Holding
from smtpsurvey.targets import boundaries
from smtpsurvey.targets.boundaries import BoundariesSource
from smtpsurvey.targets.source import TargetsError
from smtpsurvey.targets.sources import Options, Report

ROWS = b"""\
2.3|apnic|20261124|3|19830613|20261124|+1000
apnic|*|ipv4|*|1|summary
apnic|AU|ipv4|9.0.0.0|768|20110811|assigned|A91872ED
apnic|AU|ipv4|9.9.9.9|1|20110811|assigned|A91872ED
apnic||ipv4|9.1.0.0|256||available|
apnic|JP|asn|173|1|20020801|allocated|A91A7381
apnic|JP|ipv6|2400:cb00::|32|20020801|allocated|A91A7381
"""


class Reading(NamedTuple):
    """What a file gave: addresses, in order; what was told; the report."""

    addresses: list[str]
    told: list[str]
    report: Report


def read(path: Path) -> Reading:
    told: list[str] = []
    report = Report(Options(path.parent), lambda line: told.append(line.removeprefix(f"{path.parent}/")))
    found: list[str] = []
    for block in BoundariesSource(str(path), report).blocks():
        found += [] if block.v4 is None else [str(IPv4Address(number)) for number in block.v4.tolist()]
        found += [target.ip for target in block.targets]  # type: ignore[union-attr]  # Targets all
    return Reading(found, told, report)


def read_bytes(content: bytes) -> Reading:
    with TemporaryDirectory() as folder:
        (Path(folder) / "rir").write_bytes(content)
        return read(Path(folder) / "rir")


def test_allocations_are_read_with_counts_of_any_size() -> None:
    last = "2400:cb00:ffff:ffff:ffff:ffff:ffff:ffff"
    for content in (ROWS, gzip.compress(ROWS), ROWS.replace(b"\n", b"\r\n").rstrip()):
        reading = read_bytes(content)
        assert reading.addresses == ["9.0.0.0", "9.0.2.255", "9.9.9.9", "2400:cb00::", last]
        assert reading.told == []


def test_a_bad_row_is_told_with_file_line_and_reason_and_the_rest_is_read() -> None:
    long = b"apnic|" + b"x" * 9000
    reading = read_bytes(b"# comment\napnic|AU|ipv4|9.0.0.0|x|1|assigned\n" + long + b"\nnonsense\n" + ROWS)
    assert len(reading.addresses) == 5
    assert reading.told == [
        "rir:2: 'x' is no number",
        "rir:3: longer than 4,096 bytes",
        "rir:4: 'nonsense' is no row of a delegated-extended file",
    ]
    assert reading.report.bad_lines == 3


def test_line_numbers_go_on_over_blocks() -> None:
    row = b"apnic|AU|ipv4|9.0.0.0|256|20110811|assigned|A91872ED\n"
    assert read_bytes(row * 9999 + b"nonsense\n" + row).told[0].startswith("rir:10000: ")


def test_a_truncated_archive_says_so_and_keeps_what_came_before() -> None:
    rows = [f"arin|US|ipv4|{ip_address(n * 7919 << 8)}|256|20110811|assigned|{n}" for n in range(1, 80_000) if n % 3]
    packed = gzip.compress("\n".join(rows).encode())
    reading = read_bytes(packed[: len(packed) * 2 // 3])
    assert reading.told[-1] == "rir: the archive is truncated"
    assert len(reading.report.broken) == 1
    assert 1000 < len(reading.addresses) < 2 * len(rows)


def test_the_prefixes_of_an_as_map_are_read_once_each_however_they_are_cut(tmp_path: Path) -> None:
    announced = {ip_network(text): (1,) for text in ("9.0.0.0/16", "9.0.8.0/24", "9.0.12.7/32", "2a00::/32")}
    held = {ip_network("9.0.0.0/14"): Holding("AU", None), ip_network("9.0.8.0/22"): Holding("BR", None)}
    write_map(announced, str(tmp_path / "as"), held)
    expected = {"9.0.0.0", "9.0.255.255", "9.0.8.0", "9.0.8.255", "9.0.12.7"}
    reading = read(tmp_path / "as")
    assert sorted(reading.addresses) == sorted({*expected, "2a00::", "2a00:0:ffff:ffff:ffff:ffff:ffff:ffff"})


def test_maps_of_others_give_the_networks_they_have(tmp_path: Path) -> None:
    records: dict[str, Any] = {
        "9.0.0.0/16": {"autonomous_system_number": 1},
        "9.2.0.0/24": "x",
        "9.3.0.0/24": {"prefix": 7},
    }
    writer = MMDBWriter(4, "test")
    for cidr, record in records.items():
        writer.insert_network(IPSet([cidr]), record)
    writer.to_db_file(str(tmp_path / "as.mmdb"))
    expected = ["9.0.0.0", "9.0.255.255", "9.2.0.0", "9.2.0.255", "9.3.0.0", "9.3.0.255"]
    assert read(tmp_path / "as.mmdb").addresses == expected


def test_networks_come_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundaries, "AT_ONCE", 2)
    (tmp_path / "rir").write_bytes(ROWS)
    blocks = list(BoundariesSource(str(tmp_path / "rir"), Report(Options(tmp_path), pytest.fail)).blocks())
    assert len(blocks) == 2


def test_a_broken_map_is_refused_in_one_line(tmp_path: Path) -> None:
    write_map({ip_network("9.0.0.0/16"): (1,)}, str(tmp_path / "as"))
    content = (tmp_path / "as").read_bytes()
    (tmp_path / "as").write_bytes(content[content.index(b"\xab\xcd\xefMaxMind.com") :])
    with pytest.raises(TargetsError, match=rf"^{tmp_path}/as: ") as caught:
        read(tmp_path / "as")
    assert "\n" not in str(caught.value)
    (tmp_path / "as").write_bytes(content.replace(b"9.0.0.0/16", b"9.0.0.0/99"))
    with pytest.raises(TargetsError, match=r"as: '9\.0\.0\.0/99' does not appear to be"):
        read(tmp_path / "as")


def test_a_pipe_is_read_as_rows(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as threads:
        threads.submit((tmp_path / "pipe").write_bytes, ROWS)
        assert len(read(tmp_path / "pipe").addresses) == 5


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(TargetsError, match=str(path)):
            BoundariesSource(str(path), Report(Options(tmp_path), pytest.fail))
    with pytest.raises(TargetsError, match="binary data"):
        read_bytes(b"\0\1\2")
    assert read_bytes(b"").addresses == []


ROW = st.builds(
    lambda start, count, status: (start, min(count, 2**32 - start), status),
    st.integers(0, 2**32 - 1),
    st.integers(1, 2**24),
    st.sampled_from(["allocated", "assigned", "available", "reserved"]),
)


@settings(deadline=None)
@given(st.lists(ROW, max_size=20))
def test_generated_rows_give_both_ends_of_what_is_delegated(rows: list[tuple[int, int, str]]) -> None:
    text = "".join(f"arin|US|ipv4|{ip_address(start)}|{count}|20110811|{status}|x\n" for start, count, status in rows)
    ends = [
        number
        for start, count, status in rows
        if status in {"allocated", "assigned"}
        for number in dict.fromkeys((start, start + count - 1))
    ]
    assert read_bytes(text.encode()).addresses == [str(ip_address(number)) for number in ends]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_never_crash_it(content: bytes) -> None:
    mark = b"\xab\xcd\xefMaxMind.com"
    for whole in (content, ROWS + content, content + mark + content, gzip.compress(content)[: len(content)]):
        try:
            reading = read_bytes(whole)
        except TargetsError:  # binary, an archive or a map broken from the start
            continue
        assert len(reading.told) == reading.report.bad_lines + len(reading.report.broken)
