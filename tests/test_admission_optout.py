"""The opt-out file: nothing in it is ever lost in silence."""

from __future__ import annotations

import logging
import os
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.optout import CHECK_INTERVAL, MAX_LINE, OptOutError, OptOutFile, parse_entry, read_optout
from smtpsurvey.outcomes import Reason

if TYPE_CHECKING:
    from pathlib import Path

LIST = """\
# who asked us not to call

AS64500            # mail of 2026-11-02
as4294967295
192.0.2.0/24       # CIDR
198.51.100.7       # address
2001:db8::/32
2001:DB8::1
Example.ORG.       # domain # twice
mil.
straße.example
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "optout.txt"
    path.write_text(LIST, "utf-8")
    return path


def write_later(path: Path, text: str) -> None:
    """Write as an editor does a while later: the time of change moves, the size may not."""
    changed = path.stat().st_mtime_ns + 10**9 if path.exists() else 10**18
    path.write_text(text, "utf-8")
    os.utime(path, ns=(changed, changed))


def test_every_kind_of_line_is_read_with_its_reason_text_and_place(path: Path) -> None:
    entries = read_optout(str(path), with_as_map=True)
    assert [entry.subject for entry in entries] == [
        64500,
        4294967295,
        ip_network("192.0.2.0/24"),
        ip_network("198.51.100.7/32"),
        ip_network("2001:db8::/32"),
        ip_network("2001:db8::1/128"),
        "example.org",
        "mil",
        "xn--strae-oqa.example",
    ]
    assert [entry.reason for entry in entries] == [Reason.AS] * 2 + [Reason.OPT_OUT] * 7
    assert [entries[0].why, entries[1].why, entries[6].why] == ["mail of 2026-11-02", "", "domain # twice"]
    assert [entries[0].source, entries[8].source] == [f"{path}:3", f"{path}:11"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("AS0", "'AS0' is no AS number (1 to 4294967295)"),
        ("AS4294967296", "'AS4294967296' is no AS number (1 to 4294967295)"),
        ("AS 64500", "'AS 64500': more than one entry; free text goes behind '#'"),
        ("AS64500 asked", "'AS64500 asked': more than one entry; free text goes behind '#'"),
        ("AS6450O", "'AS6450O' is one label alone; if a top-level domain is meant, end it with a dot"),
        ("AS64500,", "'AS64500,' is no AS, CIDR, address or domain"),
        ("64500", "'64500' does not appear to be an IPv4 or IPv6 address"),
        ("192.0.2.0/33", "'192.0.2.0/33' does not appear to be an IPv4 or IPv6 network"),
        ("192.0.2.1/24", "192.0.2.1/24 has host bits set"),
        ("192.0.2.", "'192.0.2.' does not appear to be an IPv4 or IPv6 address"),
        ("192.0.2.256", "'192.0.2.256' does not appear to be an IPv4 or IPv6 address"),
        ("192.0.2.1-192.0.2.9", "'192.0.2.1-192.0.2.9' is no AS, CIDR, address or domain"),
        ("192.0.2.O", "'192.0.2.O' is no AS, CIDR, address or domain"),
        ("2001:db8::g", "'2001:db8::g' does not appear to be an IPv4 or IPv6 address"),
        ("[2001:db8::1]", "'[2001:db8::1]' does not appear to be an IPv4 or IPv6 address"),
        ("*.example.org", "'*.example.org' is no AS, CIDR, address or domain (a domain covers every name below it)"),
        (".example.org", "'.example.org' is no AS, CIDR, address or domain"),
        ("-a.example.org", "'-a.example.org' is no AS, CIDR, address or domain"),
        ("example..org", "'example..org' is no AS, CIDR, address or domain"),
        (f"{'a' * 64}.org", f"'{'a' * 64}.org' is no AS, CIDR, address or domain"),
        ("a." * 127 + "org", "is no AS, CIDR, address or domain"),
        ("user@example.org", "'user@example.org' is no AS, CIDR, address or domain"),
        ("пример..org", "'пример..org' is no domain: "),
        ("x" * (MAX_LINE + 1), f"longer than {MAX_LINE} characters"),
        ("example.org\0", "'example.org\\x00' is no AS, CIDR, address or domain"),
    ],
)
def test_a_line_that_is_not_understood_stops_the_reading_and_is_told(path: Path, line: str, reason: str) -> None:
    path.write_text(f"192.0.2.1\n\n{line}\nexample.org\n", "utf-8")
    with pytest.raises(OptOutError) as caught:
        read_optout(str(path), with_as_map=True)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, AdmissionError)


def test_an_as_line_is_refused_where_no_map_could_honour_it(path: Path) -> None:
    with pytest.raises(OptOutError, match=r":3: 'AS64500' cannot be honoured without an AS map \(SMTPSURVEY_AS_MAP\)$"):
        read_optout(str(path), with_as_map=False)


def test_free_text_may_be_in_any_charset_but_cannot_hide_an_entry(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfexample.org # M\xfcller\x1b[2J\r\n")
    (entry,) = read_optout(str(path), with_as_map=False)
    assert (entry.subject, entry.why) == ("example.org", "M\ufffdller [2J")
    path.write_bytes(b"ex\xe4mple.org\n")
    with pytest.raises(OptOutError, match=":1: "):
        read_optout(str(path), with_as_map=False)


def test_a_utf_16_file_is_refused(path: Path) -> None:
    path.write_bytes("example.org\n".encode("utf-16"))
    with pytest.raises(OptOutError, match=":1: "):
        read_optout(str(path), with_as_map=False)


@pytest.mark.parametrize(("name", "reason"), [("missing.txt", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(OptOutError) as caught:
        OptOutFile(str(tmp_path / name), with_as_map=False)
    assert str(caught.value) == f"{tmp_path / name}: {reason}"


@given(st.text(max_size=60))
def test_any_line_is_an_entry_or_blank_or_a_clear_error(line: str) -> None:
    try:
        entry = parse_entry(line, "list:1", with_as_map=True)
    except ValueError as error:
        assert str(error)  # noqa: PT017 -- either end is right; what matters is that there is no third
    else:
        assert (entry is None) == (not line.partition("#")[0].strip())


def test_a_changed_file_is_read_again(path: Path) -> None:
    file = OptOutFile(str(path), with_as_map=True)
    assert len(file.entries) == 9
    assert not file.changed(100.0)
    write_later(path, "example.net # asked today\n")
    assert file.changed(100.0 + CHECK_INTERVAL)
    assert [entry.subject for entry in file.entries] == ["example.net"]
    assert not file.changed(100.0 + 2 * CHECK_INTERVAL)


def test_the_file_is_looked_at_once_a_second_at_most(path: Path) -> None:
    file = OptOutFile(str(path), with_as_map=True)
    assert not file.changed(100.0)
    write_later(path, "example.net\n")
    assert not file.changed(100.0 + CHECK_INTERVAL - 0.001)
    assert file.changed(100.0 + CHECK_INTERVAL)


def test_a_change_with_an_error_keeps_the_earlier_list_and_is_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = OptOutFile(str(path), with_as_map=True)
    write_later(path, "example.net\nAS\n")
    with caplog.at_level(logging.INFO):
        assert [file.changed(now) for now in (100.0, 102.0, 104.0)] == [False] * 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f"the earlier list stays: {path}:2: 'AS' is one label alone" in caplog.text
    assert len(file.entries) == 9
    write_later(path, "example.net\nAS64500\n")
    assert file.changed(106.0)
    assert len(file.entries) == 2


def test_a_file_that_vanished_keeps_the_earlier_list_until_it_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = OptOutFile(str(path), with_as_map=True)
    path.unlink()
    assert [file.changed(now) for now in (100.0, 102.0, 104.0)] == [False] * 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No such file or directory" in caplog.text
    assert len(file.entries) == 9
    write_later(path, "example.net\n")
    assert file.changed(106.0)
    assert len(file.entries) == 1


def test_a_file_replaced_within_one_tick_of_its_clock_is_noticed(path: Path) -> None:
    file = OptOutFile(str(path), with_as_map=True)
    before = path.stat()
    other = path.with_suffix(".new")
    other.write_text(LIST.replace("mil.", "gov."), "utf-8")
    os.utime(other, ns=(before.st_mtime_ns, before.st_mtime_ns))
    other.replace(path)
    assert file.changed(100.0)
    assert "gov" in [entry.subject for entry in file.entries]
