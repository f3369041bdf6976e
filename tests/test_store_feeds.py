"""Files of observations: what is read of them, and what is said of the rest."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
from backports import zstd
from feeds import encoded, full, items
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpsurvey.errors import SurveyError
from smtpsurvey.store import feeds
from smtpsurvey.store.feeds import NO_SMTP, Feed

if TYPE_CHECKING:
    from smtpsurvey.items import SmtpItem

Bad = list[tuple[int, str]]
SCAN = {"status": "success", "protocol": "smtp", "timestamp": "2026-11-25T01:02:03Z", "result": {"banner": "220 x\r\n"}}
GRAB = msgspec.json.encode({"ip": "192.0.2.9", "data": {"mail": SCAN}}) + b"\n"
ZMAP = (
    b"saddr,sport,classification,success,timestamp_str,timestamp_ts,timestamp_us\n"
    b"192.0.2.1,25,synack,1,2026-11-25T01:02:03.456+0000,1,2\n"
    b"192.0.2.2,2525,rst,0,2026-11-25T01:02:03.456-0100,1,2\n"
    b"192.0.2.3,25,rst,0,,1795572123,250000\n"
)


def read(folder: Path, data: bytes, survey: str | None = None) -> tuple[list[tuple[int, SmtpItem]], Bad, Feed]:
    path = folder / "feed"
    path.write_bytes(data)
    bad: Bad = []
    feed = Feed(str(path), survey, lambda line, reason: bad.append((line, reason)))
    found = list(feed.items())
    assert feed.bad == len(bad)
    return found, bad, feed


def plain(item: SmtpItem) -> dict[str, Any]:
    return attrs.asdict(item)


@given(st.lists(items(), max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_items_are_read_field_for_field(made: list[SmtpItem]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, bad, _ = read(Path(folder), msgspec.json.Encoder().encode_lines(made))
    assert bad == []
    assert [number for number, _ in found] == list(range(1, len(made) + 1))
    assert [plain(item) for _, item in found] == [plain(item) for item in made]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_what_is_in_a_file_tells_how_it_is_packed(tmp_path: Path, pack: Any) -> None:
    found, bad, _ = read(tmp_path, pack(encoded(full()) * 3))
    assert (len(found), bad) == (3, [])


def test_a_line_may_come_in_many_blocks(tmp_path: Path) -> None:
    item = full()
    item.tag = "x" * 3_000_000
    found, bad, _ = read(tmp_path, encoded(item) + encoded(full()))
    assert ([len(item.tag or "") for _, item in found], bad) == ([3_000_000, 1], [])


def test_a_label_given_replaces_those_of_the_items(tmp_path: Path) -> None:
    ((_, item),), _, _ = read(tmp_path, encoded(full()), "mine")
    assert item.survey == "mine"


def test_byte_order_mark_empty_lines_and_crlf_are_no_matter(tmp_path: Path) -> None:
    line = encoded(full()).rstrip()
    found, bad, _ = read(tmp_path, b"\xef\xbb\xbf" + line + b"\r\n\n  \n" + line + b"\r\n")
    assert ([number for number, _ in found], bad) == ([1, 4], [])


@pytest.mark.parametrize("cut", [1, 20, 300, -2])
def test_a_half_written_last_line_is_told_and_the_rest_kept(tmp_path: Path, cut: int) -> None:
    line = encoded(full())
    found, bad, _ = read(tmp_path, line + line[:cut])
    assert [number for number, _ in found] == [1]
    ((number, reason),) = bad
    assert number == 2
    assert reason.startswith("half-written last line, left out: ")


def test_a_last_line_without_its_end_counts_when_it_is_whole(tmp_path: Path) -> None:
    found, bad, _ = read(tmp_path, encoded(full()).rstrip())
    assert (len(found), bad) == (1, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\xfe\n", "neither JSON nor a list of ZMap's"),
        (b"hello, world\n", "neither JSON nor a list of ZMap's"),
        (b"hello\n", "ip 'hello' is no IPv4 or IPv6 address"),
        (b"[]\n", "ip '[]' is no IPv4 or IPv6 address"),
        (b"{}\n", "missing required field `survey`"),
        (b'{"a":' + b"[" * 50_000 + b"\n", "recursion"),
        (b'{"survey":"a"\n', "truncated"),
        (encoded(full(), survey="\u0000"[:0]), "survey '': a survey's label has 1 to 255 characters"),
        (encoded(full(), survey=" a"), "no blank at its ends"),
        (encoded(full(), ip="1.2.3"), "ip '1.2.3' is no IPv4 or IPv6 address"),
        (encoded(full(), port="25"), "Expected `int`"),
        (encoded(full(), outcome="fine"), "outcome cannot be 'fine'"),
        (encoded(full()).replace(b"0.125", b"1e999"), "out of range"),
        (b"x" * 5000 + b"\n", "longer than 4,000 bytes"),
    ],
)
def test_a_bad_line_is_told_and_the_rest_kept(
    tmp_path: Path, line: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if len(line) == 5001:
        monkeypatch.setattr(feeds, "MAX_LINE", 4000)
        monkeypatch.setattr("smtpsurvey.targets.source.BLOCK", 100)
    found, bad, feed = read(tmp_path, encoded(full()) + line + encoded(full()))
    assert [number for number, _ in found] == [1, 3]
    ((number, told),) = bad
    assert (number, feed.bad) == (2, 1)
    assert reason in told
    assert "\n" not in told


@given(st.lists(st.binary(max_size=60) | st.sampled_from([GRAB, encoded(full()), ZMAP, b'{"data":{}}']), max_size=6))
@settings(max_examples=150, deadline=None)
def test_whatever_a_file_holds_good_lines_are_kept_and_nothing_breaks(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            found, _, _ = read(Path(folder), b"\n".join([*lines, encoded(full())]), "mine")
        except SurveyError:  # binary from its beginning, or an archive that is none
            assert b"\0" in b"".join(lines) or lines[0][:1] in (b"\x1f", b"\x28")
        else:
            assert found[-1][1].time == full().time


def test_an_archive_that_is_cut_off_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "feed.gz"
    path.write_bytes(gzip.compress(encoded(full()) * 20_000)[:-2000])
    found: list[int] = []
    feed = Feed(str(path), None, lambda _line, _reason: None)
    with pytest.raises(SurveyError, match="truncated"):
        found.extend(number for number, _ in feed.items())
    assert len(found) > 5000


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    feed = Feed(str(tmp_path / "none"), None, lambda _line, _reason: None)
    with pytest.raises(SurveyError, match="none: No such file or directory"):
        list(feed.items())


def test_items_of_other_kinds_are_counted_and_left_out(tmp_path: Path) -> None:
    others = b'{"kind":"mx","survey":"s","time":"t","domain":"d"}\n{"survey":"s","kind":"heartbeat"}\n{"kind":"mx"}\n'
    found, bad, feed = read(tmp_path, others + encoded(full()))
    assert (len(found), bad) == (1, [])
    assert feed.left_out == {"mx": 2, "heartbeat": 1}


def test_zgrab2_under_any_key_is_read_and_other_modules_are_counted(tmp_path: Path) -> None:
    other = b'{"ip":"192.0.2.8","data":{"http":{"status":"success","protocol":"http","result":{"banner":{}}}}}\n'
    found, bad, feed = read(tmp_path, GRAB + other + encoded(full()), "mine")
    assert [(number, item.ip, item.survey) for number, item in found] == [
        (1, "192.0.2.9", "mine"),
        (3, "192.0.2.1", "mine"),
    ]
    assert bad == []
    assert feed.left_out == {"no smtp": 1}
    assert found[0][1].observation is not None


def test_of_a_zmap_list_only_refusals_are_observations(tmp_path: Path) -> None:
    found, bad, feed = read(tmp_path, ZMAP, "mine")
    assert [(item.ip, item.port, item.outcome, item.time) for _, item in found] == [
        ("192.0.2.2", 2525, "refused", "2026-11-25T02:02:03.456Z"),
        ("192.0.2.3", 25, "refused", "2026-11-25T02:02:03.250Z"),
    ]
    assert bad == []
    assert feed.left_out == {NO_SMTP: 1}


def test_a_zmap_list_without_header_is_of_addresses_that_answered(tmp_path: Path) -> None:
    found, bad, feed = read(tmp_path, b"192.0.2.1\n192.0.2.2\r\nx.example\n")
    assert found == []
    assert [number for number, _ in bad] == [3]
    assert feed.left_out == {NO_SMTP: 2}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"192.0.2.2,25,rst,0,,,\n", "no time"),
        (b"192.0.2.2,25,rst,0,yesterday,,\n", "time 'yesterday' is no ISO 8601 time"),
        (b"192.0.2.2,99999,rst,0,,1,2\n", "sport '99999' is no number from 0 to 65535"),
        (b",25,rst,0,,1,2\n", "ip '' is no IPv4"),
        (b"192.0.2.2,25,rst,0,,1,2x\n", "no time"),
        (b"192.0.2.2,25,rst,0,,99999999999999,\n", "no time"),
    ],
)
def test_bad_lines_of_zmap_are_told(tmp_path: Path, line: bytes, reason: str) -> None:
    found, ((number, told),), _ = read(tmp_path, ZMAP + line, "mine")
    assert (len(found), number) == (2, 5)
    assert reason in told


@pytest.mark.parametrize("data", [GRAB, ZMAP])
def test_files_without_a_label_need_one(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SurveyError, match="has no survey's label: say --survey LABEL"):
        read(tmp_path, data)
