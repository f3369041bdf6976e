"""Opt-outs by mail and form become lines that a survey understands, whatever a stranger wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.admission.optout import OptOutError, read_optout
from smtpsurvey.citizen.listing import add
from smtpsurvey.citizen.requests import Request, RequestsError, read_requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TODAY = "2026-11-25"
MAIL = (
    "From: Network Operations <noc@example.net>\r\n"
    "Date: Tue, 03 Nov 2026 23:30:00 -0500\r\n"
    "Subject: please stop\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "\r\n"
    "Hello,\r\n\r\nopt-out: 192.0.2.0/24\r\nOPTOUT: example.org\r\n  opt-out: AS64500\r\n> opt-out: 198.51.100.1\r\n"
)
SAID = "Network Operations <noc@example.net>, please stop, since 2026-11-04"


def requests_of(path: Path) -> tuple[list[str], list[str]]:
    bad: list[str] = []
    return [request.line() for request in read_requests(str(path), TODAY, bad.append)], bad


def test_a_mail_says_what_who_why_and_since_when(tmp_path: Path) -> None:
    (tmp_path / "stop.eml").write_bytes(MAIL.encode())
    lines, bad = requests_of(tmp_path / "stop.eml")
    assert lines == [
        f"192.0.2.0/24  # {SAID}",
        f"example.org  # {SAID}",
        f"AS64500  # {SAID}",
    ]  # what is quoted is not asked
    assert bad == []


def test_mbox_and_maildir_hold_many(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(f"From noc@example.net Tue Nov  3 23:30:00 2026\n{MAIL}\n".encode() * 2)
    assert len(requests_of(tmp_path / "box")[0]) == 6
    for folder in ("cur", "new", "tmp"):
        (tmp_path / "mail" / folder).mkdir(parents=True)
        (tmp_path / "mail" / folder / f"1.{folder}").write_bytes(MAIL.encode())
    assert len(requests_of(tmp_path / "mail")[0]) == 6


def test_a_mail_without_a_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "angry.eml"
    path.write_text("Subject: hey\n\nStop it!\n")
    assert requests_of(path) == ([], [f"{path}: no line 'opt-out: …' in this mail; somebody has to read it"])


def test_forms_come_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "forms"
    path.write_text(
        "what=192.0.2.7&who=a%40example.net&why=no%0Athanks%23%1b&since=2026-11-01\n\n"
        "what=nonsense!&who=b\nwho=c&why=forgot\nwhat=2001:db8::/32\n" + "&".join(["a=b"] * 11) + "\n"
    )
    lines, bad = requests_of(path)
    assert lines == [
        "192.0.2.7  # a@example.net, no thanks#, since 2026-11-01",
        f"2001:db8::/32  # since {TODAY}",
    ]
    assert [line.partition(": ")[0] for line in bad] == [f"{path}:{number}" for number in (3, 4, 6)]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestsError, match=r"none\.eml: No such file"):
        requests_of(tmp_path / "none.eml")


def test_lines_are_added_once_and_the_list_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "optout.txt"
    asked = [Request("192.0.2.0/24", "a", "", TODAY), Request("192.0.2.0/24", "b", "", TODAY)]
    assert add(asked, str(path)) == [f"192.0.2.0/24  # a, since {TODAY}"]
    path.write_text(path.read_text() + "example.org")  # without an end of line
    assert add([*asked, Request("Example.ORG.", "c", "", TODAY), Request("AS1", "d", "", TODAY)], str(path)) == [
        f"AS1  # d, since {TODAY}"
    ]
    assert [str(entry.subject) for entry in read_optout(str(path), with_as_map=True)] == [
        "192.0.2.0/24",
        "example.org",
        "1",
    ]
    path.write_text("what is this?\n")
    with pytest.raises(OptOutError, match=r"optout.txt:1: "):
        add(asked, str(path))
    assert path.read_text() == "what is this?\n"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Path]:
    path = tmp_path_factory.mktemp("requests") / "any"

    def write(raw: bytes) -> Path:
        path.write_bytes(raw)
        return path

    return write


@given(
    st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=200).map(lambda raw: b"what=192.0.2.1&who=" + raw),
        st.binary(max_size=200).map(lambda raw: b"From: " + raw + b"\nDate: " + raw + b"\n\nopt-out: 192.0.2.1\n"),
        st.binary(max_size=200).map(lambda raw: b"From x\n" + raw + b"\n\nopt-out: " + raw),
    )
)
@settings(max_examples=300, deadline=None)
def test_whatever_comes_makes_lines_that_are_read_or_is_told(scratch: Callable[[bytes], Path], raw: bytes) -> None:
    lines, bad = requests_of(scratch(raw))
    assert all(line.isprintable() for line in lines)
    if lines:
        listing = scratch("".join(f"{line}\n" for line in lines).encode())
        assert len(read_optout(str(listing), with_as_map=True)) == len(lines)
    assert lines or bad or not raw.strip() or raw.startswith((b"From ", b"what="))
