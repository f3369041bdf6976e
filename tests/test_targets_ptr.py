"""``ptr:FILE``: what ``list:`` reads, but no host names."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.targets.lines import HostName
from smtpsurvey.targets.list_source import ListSource
from smtpsurvey.targets.ptr import PtrSource
from smtpsurvey.targets.source import TargetsError
from smtpsurvey.targets.sources import Options, Report


def read(content: bytes, source: type[ListSource] = PtrSource) -> tuple[list[str], list[str]]:
    """Return addresses and host names, and what was told."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_bytes(content)
        told: list[str] = []
        report = Report(Options(Path(folder)), lambda line: told.append(line.removeprefix(f"{folder}/")))
        found: list[str] = []
        for block in source(str(path), report).blocks():
            found += [] if block.v4 is None else [str(IPv4Address(number)) for number in block.v4.tolist()]
            found += [ip for span in block.spans for ip in span]
            found += [each.name if isinstance(each, HostName) else each.ip for each in block.targets]
    return found, told


def test_addresses_networks_and_ranges_are_read_as_by_list() -> None:
    content = b"9.9.9.9\n9.2.0.0/30\n2001:db8::1-2001:db8::2\n9.3.0.1,name.example,tag\n9.4.0.1\n"
    assert read(content) == read(content, ListSource)
    assert len(read(content)[0]) == 9


@pytest.mark.parametrize("line", ["mx.example.org", ",mx.example.org"])
def test_a_host_name_is_a_bad_line(line: str) -> None:
    found, told = read(f"9.9.9.9\n{line}\n9.9.9.8\n".encode())
    assert found == ["9.9.9.9", "9.9.9.8"]
    assert told == ["list:2: a host name: reverse look-ups take addresses"]


def test_big_networks_stay_spans(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("9.0.0.0/8\n", "ascii")
    source = PtrSource(str(tmp_path / "list"), Report(Options(tmp_path), pytest.fail))
    assert source.label == f"ptr:{tmp_path}/list"
    assert [span.last - span.first + 1 for block in source.blocks() for span in block.spans] == [1 << 24]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_crash_it(content: bytes) -> None:
    for whole in (content, b"9.9.9.9\n" + content):
        try:
            found, told = read(whole)
        except TargetsError:  # binary, or too long a line
            continue
        assert all(ip_address(ip).max_prefixlen for ip in found)  # no names
        assert all(line.startswith("list:") for line in told)
