import tracemalloc
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.items import Target
from smtpsurvey.targets.lines import MAX_LINE, HostName, TargetLines
from smtpsurvey.targets.source import TargetsError


class Reading(NamedTuple):
    """What a list gave: targets, bad lines, the error that ended it; and the reader."""

    targets: list[Target | HostName]
    bad: list[tuple[int, str]]
    error: str | None
    lines: TargetLines


def read(blocks: Iterable[bytes], limit: int = 10_000) -> Reading:
    bad: list[tuple[int, str]] = []
    lines = TargetLines("list.txt", "lists", 25, lambda number, reason: bad.append((number, reason)))
    targets: list[Target | HostName] = []
    try:
        for block in blocks:
            targets += islice(lines.feed(block), limit)
            if len(targets) >= limit:  # a range without end in sight
                return Reading(targets, bad, None, lines)
        targets += islice(lines.finish(), limit)
    except TargetsError as error:
        return Reading(targets, bad, str(error), lines)
    return Reading(targets, bad, None, lines)


def short(reading: Reading) -> list[tuple[str, int, str | None, str | None]]:
    """The ip (or looked-up name), port, name and tag of each target."""
    return [
        (target.ip, target.port, target.name, target.tag)
        if isinstance(target, Target)
        else (target.name, target.port, target.label, target.tag)
        for target in reading.targets
    ]


def values(reading: Reading) -> list[tuple[object, ...]]:
    return [attrs.astuple(target) for target in reading.targets]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 25, None, None)),
        ("192.0.2.1,mx.example.org", ("192.0.2.1", 25, "mx.example.org", None)),
        ("192.0.2.1,MX.example.org.,batch 7", ("192.0.2.1", 25, "mx.example.org", "batch 7")),
        ("192.0.2.1,mx.example.org,t,587", ("192.0.2.1", 587, "mx.example.org", "t")),
        ("192.0.2.1,,t", ("192.0.2.1", 25, None, "t")),
        ("192.0.2.1,,,2525", ("192.0.2.1", 2525, None, None)),
        ("192.0.2.1,,,", ("192.0.2.1", 25, None, None)),
        (" 192.0.2.1 ,\tmx.example.org , t , 25 ", ("192.0.2.1", 25, "mx.example.org", "t")),
        ("192.0.2.1#comment", ("192.0.2.1", 25, None, None)),
        ("192.0.2.1,mx.example.org # comment, more", ("192.0.2.1", 25, "mx.example.org", None)),
        ("192.0.2.1 # caf\xe9 in no UTF-8".encode("latin-1"), ("192.0.2.1", 25, None, None)),
        ("192.0.2.1,münchen.de,étiquette", ("192.0.2.1", 25, "xn--mnchen-3ya.de", "étiquette")),
        ('192.0.2.1,,"a, b ""c"""', ("192.0.2.1", 25, None, 'a, b "c"')),
        ("192.0.2.1,," + "ü" * 127, ("192.0.2.1", 25, None, "ü" * 127)),
        ("2001:DB8::1", ("2001:db8::1", 25, None, None)),
        ("[2001:db8:0::1],mx.example.org", ("2001:db8::1", 25, "mx.example.org", None)),
        ("192.0.2.7/32,,t", ("192.0.2.7", 25, None, "t")),
        ("MX.example.org", ("mx.example.org", 25, None, None)),
        ("mx.example.org,example.org,t,26", ("mx.example.org", 26, "example.org", "t")),
        (",mx.example.org,t", ("mx.example.org", 25, "mx.example.org", "t")),
        ("\ufeff192.0.2.1", ("192.0.2.1", 25, None, None)),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_is_address_name_tag_and_port(line: str | bytes, expected: tuple[object, ...], end: bytes) -> None:
    reading = read([(line if isinstance(line, bytes) else line.encode()) + end])
    assert (short(reading), reading.bad, reading.error) == ([expected], [], None)
    assert (reading.lines.lines, reading.lines.bad, reading.lines.targets) == (1, 0, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("192.0.2", "'192.0.2' is no IPv4 address"),
        ("192.0.02.1", "'192.0.02.1' is no IPv4 address: a leading zero may mean octal"),
        ("192.0.2.1\0", r"'192.0.2.1\x00' is no host name"),
        ("fe80::1%eth0", "'fe80::1%eth0' has a zone: link-local addresses are no targets"),
        ("::ffff:192.0.2.1", "'::ffff:192.0.2.1' is IPv4-mapped: give it as IPv4"),
        ("2001:db8::/64", "'2001:db8::/64' is more than 2^32 addresses"),
        ("192.0.2.1,,,0", "port '0' is no number from 1 to 65535"),
        ("192.0.2.1,,,65536", "port '65536' is no number from 1 to 65535"),
        ("192.0.2.1,,,smtp", "port 'smtp' is no number from 1 to 65535"),
        ("192.0.2.1,a b", "'a b' is no host name"),
        ("192.0.2.1,192.0.2.1", "'192.0.2.1' is no host name"),
        ("not a host", "'not a host' is no host name"),
        (",,t", "neither address nor name"),
        (",", "neither address nor name"),
        ("192.0.2.1,,t,25,more", "5 columns where there are at most 4: address,name,tag,port"),
        ("192.0.2.1,,a\x07b", r"tag 'a\x07b' is over 255 bytes or has control characters"),
        ("192.0.2.1,,a\x85b", r"tag 'a\x85b' is over 255 bytes or has control characters"),
        ("192.0.2.1,," + "ü" * 128, f"tag '{'ü' * 60}…' is over 255 bytes or has control characters"),
        ('192.0.2.1,,"open', "'192.0.2.1,,\"open' is no CSV (unexpected end of data)"),
        (b"192.0.2.1,m\xfcnchen.de", "not UTF-8"),
        ("mx.\ufeff.org", r"'mx.\ufeff.org' is no host name"),
    ],
)
def test_a_bad_line_is_reported_once_with_its_number_and_reason_and_skipped(line: str | bytes, reason: str) -> None:
    line = line if isinstance(line, bytes) else line.encode()
    reading = read([b"# list\n\n192.0.2.8\n" + line + b"\n192.0.2.9\n"])
    assert reading.bad == [(4, reason)]
    assert [target.ip for target in reading.targets if isinstance(target, Target)] == ["192.0.2.8", "192.0.2.9"]
    assert (reading.lines.lines, reading.lines.bad, reading.lines.targets) == (5, 1, 2)


def test_a_callback_that_raises_ends_the_list_there() -> None:
    def stop(number: int, reason: str) -> None:
        raise TargetsError(f"list.txt:{number}: {reason}")

    lines = TargetLines("list.txt", None, 25, stop)
    feed = lines.feed(b"192.0.2.1\nnonsense!\n192.0.2.2\n")
    assert next(feed).position == 0
    with pytest.raises(TargetsError, match=r"list\.txt:2: 'nonsense!' is no host name"):
        next(feed)
    assert lines.bad == 1


def test_comments_and_blank_lines_are_lines_but_no_targets() -> None:
    reading = read([b"\xef\xbb\xbf# head\r\n\r\n   \r\n\t# more\n192.0.2.1\n\n"])
    assert short(reading) == [("192.0.2.1", 25, None, None)]
    assert (reading.lines.lines, reading.bad) == (6, [])


def test_positions_count_every_address_and_every_name_from_zero() -> None:
    reading = read([b"192.0.2.0/30\nmx.example.org\nbad one\n2001:db8::1-2001:db8::2,,t\n192.0.2.9\n"])
    assert [target.position for target in reading.targets] == list(range(8))
    assert [target.source for target in reading.targets] == ["lists"] * 8
    assert reading.lines.targets == 8


def test_a_host_name_makes_the_targets_of_its_addresses() -> None:
    reading = read([b"192.0.2.1\nmx.example.org,,t,26\nmx.example.org,example.org\n"])
    plain, labelled = (target for target in reading.targets if isinstance(target, HostName))
    assert (plain.name, plain.line, plain.position) == ("mx.example.org", 2, 1)
    assert attrs.astuple(plain.target("192.0.2.5"))[:6] == ("192.0.2.5", 26, "mx.example.org", "t", "lists", 1)
    assert attrs.astuple(labelled.target("::1"))[:6] == ("::1", 25, "example.org", None, "lists", 2)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"saddr\n192.0.2.1\n2001:db8::1\n", [("192.0.2.1", 25), ("2001:db8::1", 25)]),
        (b"saddr,sport\n192.0.2.1,587\n192.0.2.2,\n", [("192.0.2.1", 587), ("192.0.2.2", 25)]),
        (b"saddr,sport\n192.0.2.1\n192.0.2.2,26\n", [("192.0.2.1", 25), ("192.0.2.2", 26)]),
        (b"\xef\xbb\xbf# zmap\r\nsaddr,daddr,sport,dport\r\n192.0.2.1,10.0.0.1,26,4000\r\n", [("192.0.2.1", 26)]),
        (b"sport,ttl,saddr\n25,52,192.0.2.1\n26,52,192.0.2.2\n", [("192.0.2.1", 25), ("192.0.2.2", 26)]),
        (b"saddr,sport\n192.0.2.1,25\nsaddr,sport\n192.0.2.2,26\n", [("192.0.2.1", 25), ("192.0.2.2", 26)]),
        (b'saddr,data\n192.0.2.1,"a,b"\n', [("192.0.2.1", 25)]),
    ],
)
def test_zmap_csv_is_read_by_its_header(content: bytes, expected: list[tuple[str, int]]) -> None:
    reading = read([content])
    assert [(ip, port) for ip, port, *_ in short(reading)] == expected
    assert reading.bad == []


def test_a_bare_address_is_no_target_where_the_header_puts_another_column_first() -> None:
    reading = read([b"sport,saddr\n192.0.2.1\n25,192.0.2.2\n"])
    assert [ip for ip, *_ in short(reading)] == ["192.0.2.2"]
    assert reading.bad == [(2, "port '192.0.2.1' is no number from 1 to 65535")]


def test_a_header_is_one_only_on_the_first_line_with_content() -> None:
    reading = read([b"192.0.2.1\n192.0.2.2,,saddr\nsaddr\n"])
    assert short(reading) == [
        ("192.0.2.1", 25, None, None),
        ("192.0.2.2", 25, None, "saddr"),
        ("saddr", 25, None, None),
    ]


def test_a_slash_eight_expands_lazily_in_constant_memory() -> None:
    lines = TargetLines("list.txt", None, 25, lambda *_: None)
    feed = lines.feed(b"10.0.0.0/8\n192.0.2.1\n")
    next(feed)
    tracemalloc.start()
    count = sum(1 for _ in islice(feed, 50_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, lines.targets) == (50_000, 50_001)
    assert peak < 50_000


def test_a_whole_slash_sixteen_comes_in_order() -> None:
    reading = read([b"10.7.0.0/16\n"], limit=70_000)
    ips = [ip for ip, *_ in short(reading)]
    assert (len(ips), ips[0], ips[255], ips[256], ips[-1]) == (
        65536,
        "10.7.0.0",
        "10.7.0.255",
        "10.7.1.0",
        "10.7.255.255",
    )


@pytest.mark.parametrize("cut", [1, 1000, 1 << 20])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_over_the_bound_is_bad_and_dropped_as_it_streams(cut: int, end: bytes) -> None:
    at_bound = b"192.0.2.2 #" + b"x" * (MAX_LINE - 11)
    content = end.join([b"192.0.2.1", at_bound, at_bound + b"x", b"y" * 20_000, b"192.0.2.3", b"z" * 5000])
    reading = read(content[at : at + cut] for at in range(0, len(content), cut))
    assert [ip for ip, *_ in short(reading)] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert reading.bad == [(number, "longer than 4,096 bytes") for number in (3, 4, 6)]
    assert (reading.lines.lines, reading.lines.bad) == (6, 3)


def test_a_line_without_end_takes_no_memory() -> None:
    lines = TargetLines("list.txt", None, 25, lambda *_: None)
    list(lines.feed(b"192.0.2.1\n"))
    tracemalloc.start()
    for _ in range(1000):
        assert list(lines.feed(b"x" * 1000)) == []
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10_000
    assert [target.position for target in lines.feed(b"\n192.0.2.2\n")] == [1]


@pytest.mark.parametrize("cut", [1000, 1 << 22])
def test_a_file_of_long_lines_before_any_target_is_no_list(cut: int) -> None:
    content = b"# a comment\n" + (b"x" * 1_000_000 + b"\n") * 3
    reading = read(content[at : at + cut] for at in range(0, len(content), cut))
    assert reading.error == "list.txt:2: longer than 4,096 bytes: not a list of targets"
    assert reading.targets == []


def cut_up(content: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    return [content[start:end] for start, end in pairwise(edges)]


NAMES = st.sampled_from(["", "mx.example.org", "a", "xn--mnchen-3ya.de", "_smtp.example.net"])
TAGS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='#,"'), max_size=20)
ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2001:db8::/32")
CUTS = st.lists(st.integers(0, 1 << 16), max_size=20)


@given(
    st.lists(st.tuples(ADDRESSES.map(str), NAMES, TAGS, st.none() | st.integers(1, 65535)), max_size=30),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["\n", "\r\n", ""]),
    CUTS,
)
def test_any_list_of_targets_round_trips_however_its_bytes_are_cut(
    rows: list[tuple[str, str, str, int | None]], end: str, last_end: str, cuts: list[int]
) -> None:
    text = [",".join([ip, name, tag, str(port or "")]).rstrip(",") for ip, name, tag, port in rows]
    content = end.join(text) + (last_end if rows else "")
    reading = read(cut_up(content.encode(), cuts))
    assert short(reading) == [(ip, port or 25, name or None, tag or None) for ip, name, tag, port in rows]
    assert [target.position for target in reading.targets] == list(range(len(rows)))
    assert (reading.bad, reading.error, reading.lines.lines) == ([], None, len(rows))


@given(st.lists(st.sampled_from(["192.0.2.1", "bad one", "", "# c", "1.2.3", "::1", "mx.example.org,x y"])), CUTS)
def test_bad_lines_are_reported_with_their_own_numbers_however_the_bytes_are_cut(
    rows: list[str], cuts: list[int]
) -> None:
    reading = read(cut_up("".join(row + "\n" for row in rows).encode(), cuts))
    bad = [number for number, row in enumerate(rows, 1) if row in ("bad one", "1.2.3", "mx.example.org,x y")]
    assert [number for number, _ in reading.bad] == bad
    assert (reading.lines.lines, reading.lines.bad) == (len(rows), len(bad))


FRAGMENTS = st.sampled_from(
    [b"192.0.2.1", b"::1", b"2001:db8::", b"mx.example.org", b"saddr", b"sport", b"25", b"/30", b"/0", b"x" * 4090]
) | st.sampled_from(
    [b"\n", b"\r\n", b"\r", b",", b"#", b'"', b"\0", b"-", b":", b"[", b"]", b"\xff", b"\xc3\xbc", b"\xef\xbb\xbf"]
)  # fmt: skip
HOSTILE = st.binary(max_size=300) | st.lists(FRAGMENTS, max_size=40).map(b"".join)


@given(HOSTILE, CUTS)
def test_random_bytes_read_the_same_however_they_are_cut_and_raise_nothing_but_targets_errors(
    content: bytes, cuts: list[int]
) -> None:
    whole, parts = read([content]), read(cut_up(content, cuts))
    if len(whole.targets) < 10_000:
        assert values(whole) == values(parts)
        assert whole[1:3] == parts[1:3]
        assert (whole.lines.lines, whole.lines.bad) == (parts.lines.lines, parts.lines.bad)
    assert [target.position for target in whole.targets] == list(range(len(whole.targets)))
    assert all(reason.isprintable() for _, reason in whole.bad)
