"""The format of nmap-service-probes: which lines are read, what they say, what is left out and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.classify.nmap import Counts, NmapRules
from smtpsurvey.classify.rules import RulesError
from smtpsurvey.classify.session import item_of_greeting

if TYPE_CHECKING:
    from pathlib import Path

NULL = "Probe TCP NULL q||\n"


def rules(folder: Path, *lines: str, encoding: str = "latin-1") -> NmapRules:
    path = folder / "probes"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return NmapRules(str(path))


def named(found: NmapRules, greeting: str) -> tuple[str | None, str, str | None] | None:
    verdict = found.classify_item(item_of_greeting(greeting))
    return verdict and (verdict.vendor, verdict.product, verdict.version)


def captures(folder: Path, info: str, greeting: str, pattern: str = r"^220 (\S+)(?: (.*))?\r\n") -> dict[str, str]:
    (contender,) = rules(folder, f"match smtp m|{pattern}|s {info}").contenders(item_of_greeting(greeting))
    return contender.captures


def test_a_line_names_product_and_version_from_the_raw_greeting(tmp_path: Path) -> None:
    line = r"match smtp m|^220 (\S+) ESMTP Acme ([\d.]+)\r\n$| p/Acme smtpd/ v/$2/ h/$1/ o/SunOS/ cpe:/a:acme:mta:$2/"
    found = rules(tmp_path, "# comment", NULL, line)
    verdict = found.classify_item(item_of_greeting("mx.example.com ESMTP Acme 1.2"))
    assert verdict is not None
    assert (verdict.vendor, verdict.product, verdict.version, verdict.os) == (None, "Acme", "1.2", "Solaris")
    assert (verdict.rule, verdict.evidence, verdict.certainty) == ("nmap:4", "greeting", "certain")
    assert named(found, "554 mx.example.com ESMTP Acme 1.2") is None  # the code is part of what it reads


def test_names_are_those_that_all_rule_sets_share(tmp_path: Path) -> None:
    found = rules(tmp_path, "match smtp m|Postfix| p/Postfix smtpd/", "match smtp m|Apache| p/James smtpd/")
    assert named(found, "Postfix") == ("Postfix", "Postfix", None)
    assert named(found, "Apache") == ("Apache", "James", None)


def test_the_lines_of_a_greeting_have_their_codes_and_crlf(tmp_path: Path) -> None:
    found = rules(tmp_path, r"match smtp m=^554-mx\r\n554 Go away\r\n$= p/Acme/")
    assert named(found, "554-mx\n554 Go away") == (None, "Acme", None)


def test_bytes_that_are_not_utf8_are_bytes_again(tmp_path: Path) -> None:
    found = rules(tmp_path, r"match smtp m|^220 (\xe9\xFF[^a]\\x41)\r\n| p/Acme/ v/$1/")
    assert named(found, r"\xe9\xff\xfc\x41") == (None, "Acme", r"\xe9\xff\xfc\x41")


def test_a_pattern_with_bytes_of_its_own_is_read_as_bytes(tmp_path: Path) -> None:
    assert named(rules(tmp_path, "match smtp m|é| p/Acme/"), r"x\xe9") == (None, "Acme", None)
    assert named(rules(tmp_path, "match smtp m|é| p/Acme/", encoding="utf-8"), "xé") == (None, "Acme", None)


@pytest.mark.parametrize(
    ("info", "greeting", "expected"),
    [
        ("p/A $1/ i|$2|", "mx rest", {"product": "A mx", "info": "rest"}),
        ("v/$2/", "mx", {}),  # nothing was captured
        ("v/$P(2)/", "mx a\x01b\xe9c", {"version": "abc"}),
        ('v/$SUBST(2,"_",".")/', "mx 1_2_3", {"version": "1.2.3"}),
        ('v/$SUBST(2,"","x")/', "mx 1", {"version": "1"}),
        ('i/$I(2,">")/', "mx \x01\x02", {"info": "258"}),
        ('i/$I(2,"<")/', "mx \x01\x02", {"info": "513"}),
        ("d/print server/ o=Windows= h,$1,", "mx", {"device": "print server", "os": "Windows", "host": "mx"}),
        ("cpe:/a:acme:$2/a cpe:/o:acme:os/", "mx Big MTA", {"cpe": "cpe:/a:acme:big_mta"}),
        ("p/a$b/", "mx", {"product": "a$b"}),
        ("", "mx", {}),
    ],
)
def test_captures_are_put_into_the_texts(tmp_path: Path, info: str, greeting: str, expected: dict[str, str]) -> None:
    assert captures(tmp_path, info, greeting) == expected


@pytest.mark.parametrize(
    ("line", "greeting", "matches"),
    [
        ("match smtp m|acme| p/Acme/", "ACME", False),
        ("match smtp m|acme|i p/Acme/", "ACME", True),
        ("match smtp m|a.*me| p/Acme/", "a\nme", False),
        ("match smtp m|a.*me|si p/Acme/", "A\nme", True),
        ("match smtp m%a|b% p/Acme/", "b", True),
        ("match smtp-proxy m|acme| p/Acme/", "acme", True),
        ("match smtps m|acme| p/Acme/\r", "acme", True),
        ("match smtp   m|acme|   p/Acme/  ", "acme", True),
    ],
)
def test_flags_marks_and_services(tmp_path: Path, line: str, greeting: str, matches: bool) -> None:  # noqa: FBT001 - a column
    assert named(rules(tmp_path, line), greeting) == ((None, "Acme", None) if matches else None)


def test_only_lines_for_what_a_server_says_unasked_are_read(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        "match smtp m|before| p/Before/",
        "Probe UDP DNS q|x|",
        "match smtp m|udp| p/Udp/",
        NULL,
        "match ftp m|ftp| p/Ftp/",
        "match smtpx m|other| p/Other/",
        "ports 25",
        "match smtp m|null| p/Null/",
        "Probe TCP Help q|HELP\r\n|",
        "softmatch smtp m|help| p/Help/",
    )
    assert found.counts == Counts(lines=2, skipped=0, other_probes=2)
    assert named(found, "before") == (None, "Before", None)
    assert named(found, "null") == (None, "Null", None)
    assert [named(found, greeting) for greeting in ("udp", "ftp", "other", "help")] == [None] * 4


def test_the_first_match_counts_and_a_softmatch_only_where_there_is_no_match(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        "softmatch smtp m|^220| p/Soft/",
        "match smtp m|silent|",
        "match smtp m|Acme [0-9]| p/First/",
        "match smtp m|Acme| p/Second/",
    )
    assert named(found, "Acme 1") == (None, "First", None)
    assert named(found, "Acme") == (None, "Second", None)
    assert named(found, "silent Acme") is None  # it says that nothing more is known
    soft = found.classify_item(item_of_greeting("x"))
    assert soft is not None
    assert (soft.product, soft.certainty) == ("Soft", "likely")
    where = tmp_path / "probes"
    listed = found.contenders(item_of_greeting("Acme 1"))
    assert [(each.rule, each.where, each.lost) for each in listed] == [
        ("nmap:3", f"{where}:3", ""),
        ("nmap:4", f"{where}:4", f"comes after {where}:3"),
        ("nmap:1", f"{where}:1", "a softmatch counts only where no match does"),
    ]
    assert [each.lost for each in found.contenders(item_of_greeting("554 silent"))] == ["names no product"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("match smtp m|(?=a)a|", "RE2 cannot compile it: invalid perl operator: (?="),
        (r"match smtp m|(a)\1|", "RE2 cannot compile it: invalid escape sequence: "),
        ("match smtp m|(?>a)|", "RE2 cannot compile it: invalid perl operator: (?>"),
        ("match smtp m|a", "no pattern between two equal marks after m"),
        ("match smtp p/Acme/", "no pattern between two equal marks after m"),
        ("match smtp m|a|x p/Acme/", "the pattern's flags are not i and s"),
        ("match smtp m|a| p/Acme", "cannot read 'p/Acme'"),
        ("match smtp m|a| p/Acme/ z/x/", "cannot read 'z/x/'"),
        ("match smtp m|(a)| p/$2/", "$2 of 1 captures"),
        ("match smtp m|a| v/$P(1)/", "$P(1) of 0 captures"),
        ('match smtp m|(a)| v/$SUBST(3,"a","b")/', '$SUBST(3,"a","b") of 1 captures'),
        ('match smtp m|(a)| v/$I(0,">")/', '$I(0,">") of 1 captures'),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line_and_the_rest_is_used(tmp_path: Path, line: str, reason: str) -> None:
    found = rules(tmp_path, "# own lines", line, "match smtp m|acme| p/Acme/")
    (skipped,) = found.skipped
    assert (skipped.file, skipped.line) == (str(tmp_path / "probes"), 2)
    assert skipped.reason.startswith(reason)
    assert found.counts == Counts(lines=1, skipped=1, other_probes=0)
    assert named(found, "acme") == (None, "Acme", None)


@pytest.mark.parametrize("lines", [(), ("match http m|a| p/A/",), ("match smtp m|(?=a)|",)])
def test_a_file_without_a_line_for_us_is_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(
        RulesError, match=rf"^nmap:{tmp_path}/probes: no match line for SMTP under NULL that can be used$"
    ):
        rules(tmp_path, *lines)


@pytest.mark.parametrize("name", ["none", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RulesError, match=r"cannot read the rules: \w"):
        NmapRules(str(tmp_path / name))


def test_a_file_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpsurvey.classify.foreign.MAX_FILE", 10)
    with pytest.raises(RulesError, match="probes: larger than 10 bytes"):
        rules(tmp_path, "match smtp m|acme| p/Acme/")


def test_patterns_too_large_for_one_set_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpsurvey.classify.foreign.SET_MEMORY", 1000)
    with pytest.raises(RulesError, match="probes: its patterns together are too large for one RE2 set"):
        rules(tmp_path, *(f"match smtp m|{number}[a-z]+x| p/A/" for number in range(200)))


def test_the_version_is_that_of_the_file(tmp_path: Path) -> None:
    first = rules(tmp_path, "match smtp m|a| p/A/").version
    assert rules(tmp_path, "match smtp m|a| p/A/").version == first
    assert rules(tmp_path, "match smtp m|a| p/B/").version != first


def test_an_item_without_greeting_has_no_name(tmp_path: Path) -> None:
    item = item_of_greeting("x")
    item.greeting = None
    found = rules(tmp_path, "match smtp m|x| p/X/")
    assert found.classify_item(item) is None
    assert found.contenders(item) == []


def test_a_reply_without_code_is_read_as_it_came(tmp_path: Path) -> None:
    item = item_of_greeting("x")
    assert item.greeting is not None
    item.greeting.code = None
    verdict = rules(tmp_path, r"match smtp m|^x\r\n$| p/X/").classify_item(item)
    assert verdict is not None


@given(
    line=st.text(st.sampled_from("match smtpsof|/$P(1)SUBIcpe:vih \"',<>0[x\n"), max_size=60),
    greeting=st.text(max_size=40),
)
def test_whatever_a_file_holds_it_is_used_left_out_or_refused(
    tmp_path_factory: pytest.TempPathFactory, line: str, greeting: str
) -> None:
    found = rules(tmp_path_factory.getbasetemp(), f"match smtp m|{line}", "match smtp m|^| p/Any/")
    item = item_of_greeting("x")
    assert item.greeting is not None
    item.greeting.text = greeting
    found.classify_item(item)
