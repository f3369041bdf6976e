"""Lists of names for look-ups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.dns.lines import NameLines, dns_name, shard_of_name
from smtpsurvey.targets.source import TargetsError


def read(*blocks: bytes) -> tuple[list[tuple[str, int, bool]], list[tuple[int, str]]]:
    bad: list[tuple[int, str]] = []
    lines = NameLines("names.txt", lambda number, reason: bad.append((number, reason)))
    found = [entry for block in blocks for entry in lines.feed(block)] + list(lines.finish())
    assert lines.bad == len(bad)
    assert lines.targets == len(found)
    return [(entry.name, entry.position, entry.good) for entry in found], bad


def test_names_one_a_line_with_comments_and_blank_lines() -> None:
    found, bad = read("\ufeffExample.ORG.\r\n\n  # nothing\nmünchen.de # a city\n".encode(), b"a.exa", b"mple")
    assert found == [("example.org", 0, True), ("xn--mnchen-3ya.de", 1, True), ("a.example", 2, True)]
    assert bad == []


@pytest.mark.parametrize(
    "text",
    ["a..b", ".a", "a" * 64 + ".org", "a." * 127 + "org", "a b.org", "a,b", "\u2603\u0301\u200d.org", "a\tb"],
)
def test_what_is_no_name_stays_as_it_is_and_is_not_good(text: str) -> None:
    found, bad = read(b"x.example\n" + text.encode() + b"\n")
    assert found[1] == (text, 1, False)
    assert bad == []


@pytest.mark.parametrize(
    "name", ["_dmarc.example.org", "-a.example", "*.example", "64/26.2.0.192.in-addr.arpa", "1.0", "a" * 63, "."]
)
def test_the_dns_has_more_names_than_hosts(name: str) -> None:
    assert dns_name(name) == name


def test_names_of_253_characters_are_names() -> None:
    name = "a." * 125 + "org"
    assert (len(name), dns_name(name), dns_name(f"{name}.")) == (253, name, name)
    assert dns_name(f"a{name}") is None


def test_lines_that_are_no_text_are_told() -> None:
    found, bad = read(b"a.example\n\xff\xfe\n" + b"x" * 5000 + b"\nb.example\n")
    assert [name for name, *_ in found] == ["a.example", "b.example"]
    assert bad == [(2, "not UTF-8"), (3, "longer than 4,096 bytes")]


def test_a_first_line_without_end_is_no_list() -> None:
    with pytest.raises(TargetsError, match="not a list"):
        read(b"x" * 5000)


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 30))
def test_random_bytes_cut_anywhere_read_the_same(parts: list[bytes], size: int) -> None:
    whole = b"\n".join(part.replace(b"\0", b"") for part in parts)
    blocks = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert read(*blocks) == read(whole)


def test_shards_are_every_name_once() -> None:
    names = [f"d{n}.example" for n in range(1000)]
    parts = [sum(shard_of_name(name, 4) == part for name in names) for part in range(4)]
    assert sum(parts) == 1000
    assert min(parts) > 200
