"""Recog's format: what is read, what is left out with which reason, and what a fingerprint says."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.classify.foreign import MAX_LINES, Skipped
from smtpsurvey.classify.recog import Counts, RecogRules
from smtpsurvey.classify.rules import RulesError
from smtpsurvey.classify.session import item_of_greeting, item_of_transcript

if TYPE_CHECKING:
    from pathlib import Path

    from smtpsurvey.items import Software

ACME = ("service.vendor", "Acme"), ("service.product", "Acme MTA")


def fingerprint(
    pattern: str, *params: tuple[str, str] | tuple[int, str], examples: str = "", attributes: str = ""
) -> str:
    """Write one; a param is a constant (name, value) or a capture (number, name)."""
    said = "".join(
        f'<param pos="{param[0]}" name="{param[1]}"/>'
        if isinstance(param[0], int)
        else f'<param pos="0" name="{param[0]}" value={quoteattr(str(param[1]))}/>'
        for param in params
    )
    return (
        f"<fingerprint pattern={quoteattr(pattern)} {attributes}>\n<description>x</description>"
        f"{examples}{said}</fingerprint>\n"
    )


def example(text: str, attributes: str = "") -> str:
    return f"<example {attributes}>{escape(text)}</example>"


def write(folder: Path, name: str, *fingerprints: str, root: str = 'matches="smtp.banner"') -> None:
    (folder / name).write_text(f"<?xml version='1.0'?>\n<fingerprints {root}>\n{''.join(fingerprints)}</fingerprints>")


def rules(folder: Path, *fingerprints: str) -> RecogRules:
    write(folder, "smtp_banners.xml", *fingerprints)
    return RecogRules(str(folder))


def named(found: RecogRules, greeting: str) -> tuple[str | None, str, str | None] | None:
    verdict = found.classify_item(item_of_greeting(greeting))
    return verdict and (verdict.vendor, verdict.product, verdict.version)


def reasons(found: RecogRules) -> list[str]:
    return [skipped.reason for skipped in found.skipped]


def test_a_fingerprint_names_vendor_product_version_and_system(tmp_path: Path) -> None:
    acme = fingerprint(
        r"^(\S{1,512}) ESMTP Acme ([\d.]+) \(Linux\)$",
        *ACME,
        (2, "service.version"),
        (1, "host.name"),
        ("os.product", "Linux"),
    )
    found = rules(tmp_path, fingerprint("^nothing$"), acme)
    verdict = found.classify_item(item_of_greeting("mx.example.com ESMTP Acme 1.2 (Linux)"))
    assert verdict is not None
    assert (verdict.vendor, verdict.product, verdict.version, verdict.os) == ("Acme", "Acme MTA", "1.2", "Linux")
    assert (verdict.rule, verdict.evidence, verdict.certainty) == ("recog:smtp_banners.xml:5", "greeting", "certain")
    assert named(found, f"{'h' * 513} ESMTP Acme 1.2 (Linux)") is None


def test_names_are_those_that_all_rule_sets_share(tmp_path: Path) -> None:
    found = rules(tmp_path, fingerprint("^exim ([0-9.]+)$", ("service.product", "exim"), (1, "service.version")))
    verdict = found.classify_item(item_of_greeting("exim 4.97"))
    assert verdict is not None
    assert (verdict.vendor, verdict.product) == ("Exim", "Exim")
    assert verdict.cpe == "cpe:2.3:a:exim:exim:4.97:*:*:*:*:*:*:*"


def test_the_build_of_a_microsoft_server_tells_its_system(tmp_path: Path) -> None:
    iis = fingerprint(
        r"^MS ([\d.]+)$", ("service.vendor", "Microsoft"), ("service.product", "IIS"), (1, "service.version")
    )
    verdict = rules(tmp_path, iis).classify_item(item_of_greeting("MS 6.0.3790.4675"))
    assert verdict is not None
    assert verdict.os == "Windows Server 2003"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ((("service.family", "Acme"),), (None, "Acme", None)),
        ((("os.vendor", "Cisco"), ("os.product", "PIX"), ("os.version", "6")), ("Cisco", "PIX", "6")),
        ((("hw.product", "Box"), ("os.product", "BoxOS")), (None, "Box", None)),
        ((("host.name", "h"),), None),
        ((), None),
    ],
)
def test_what_is_named_when_there_is_no_service_product(
    tmp_path: Path, params: tuple[tuple[str, str], ...], expected: tuple[str | None, str, str | None] | None
) -> None:
    assert named(rules(tmp_path, fingerprint("^hello$", *params)), "hello") == expected


def test_the_first_fingerprint_that_matches_a_line_counts(tmp_path: Path) -> None:
    other = fingerprint("Acme", ("service.product", "Other"))
    assert named(rules(tmp_path, fingerprint("^Acme$", *ACME), other), "Acme") == ("Acme", "Acme MTA", None)
    assert named(rules(tmp_path, other, fingerprint("^Acme$", *ACME)), "Acme") == (None, "Other", None)


def test_a_pattern_sees_one_line_at_a_time(tmp_path: Path) -> None:
    found = rules(tmp_path, fingerprint(r"^hello\s*Acme$", ("service.product", "Wrong")), fingerprint("^Acme$", *ACME))
    assert named(found, "hello\nAcme") == ("Acme", "Acme MTA", None)


@pytest.mark.parametrize("certainty", [("service.certainty", "0.5"), 'certainty="0.5"'])
def test_of_all_lines_the_most_certain_counts(tmp_path: Path, certainty: str | tuple[str, str]) -> None:
    attributes, params = (certainty, ()) if isinstance(certainty, str) else ("", (certainty,))
    vague = fingerprint("^first$", ("service.product", "Vague"), *params, attributes=attributes)
    strange = fingerprint("^third$", ("service.product", "Strange"), ("service.certainty", "very"))
    found = rules(tmp_path, vague, fingerprint("^second$", *ACME), strange)
    assert named(found, "first\nsecond") == ("Acme", "Acme MTA", None)
    assert named(found, "first") == (None, "Vague", None)
    assert named(found, "second\nthird") == ("Acme", "Acme MTA", None)
    assert named(found, "third\nsecond") == (None, "Strange", None)


def test_the_replies_of_a_polite_session_are_read_with_their_codes_and_no_others(tmp_path: Path) -> None:
    def one(product: str) -> str:
        return fingerprint("^(?:220|221|250|214)[ -](?:hi|bye)$", ("service.product", product))

    write(tmp_path, "smtp_ehlo.xml", one("Ehlo"), root='preference="0.19"')
    write(tmp_path, "smtp_quit.xml", one("Quit"), root='preference="0.2"')
    write(tmp_path, "smtp_help.xml", fingerprint("", ("service.product", "Help")), one("Help"), root='preference="x"')
    write(tmp_path, "smtp_rset.xml")
    found = RecogRules(str(tmp_path))
    assert found.counts == Counts(files=4, fingerprints=3, examples=0, skipped=1)

    def verdict(transcript: str) -> Software | None:
        return found.classify_item(item_of_transcript(transcript))

    assert verdict("S: 220 hi\nC: HELP\nS: 214 hi") is None
    ehlo = verdict("S: 220 x\nC: EHLO a\nS: 250-hello\nS: 250 hi\nC: QUIT\nS: 221 x")
    assert ehlo is not None
    assert (ehlo.product, ehlo.evidence, ehlo.certainty) == ("Ehlo", "ehlo", "likely")
    both = verdict("S: 220 x\nC: EHLO a\nS: 250-hi\nS: 250 x\nC: QUIT\nS: 221 bye")
    assert both is not None
    assert (both.product, both.evidence) == ("Quit", "quit")  # its file's preference is higher


def test_a_reply_counts_up_to_a_bound_of_lines(tmp_path: Path) -> None:
    found = rules(tmp_path, fingerprint("^Acme$", *ACME))
    assert named(found, "\n" * (MAX_LINES - 1) + "Acme") == ("Acme", "Acme MTA", None)
    assert named(found, "\n" * MAX_LINES + "Acme") is None


def test_a_greeting_made_to_be_slow_costs_less_than_5_ms(tmp_path: Path) -> None:
    found = rules(tmp_path, *(fingerprint(rf"^([^ ]{{1,512}}) (.*) {number} (.*)x$", *ACME) for number in range(100)))
    for unit in ("a", "a ", "\n", "1 ", "a\n"):
        item = item_of_greeting("x")
        assert item.greeting is not None
        item.greeting.text = unit * (65536 // len(unit))
        start = time.process_time()
        found.classify_item(item)
        assert time.process_time() - start < 0.005, unit


def test_constants_take_captures_in(tmp_path: Path) -> None:
    acme = fingerprint(
        r"^Acme(?: ([\d.]+))?(?: on (\w+))?$",
        *ACME,
        (1, "service.version"),
        (2, "_tmp.os"),
        ("service.cpe23", "cpe:/a:acme:mta:{service.version}"),
        ("os.product", "{_tmp.os} of {service.version}"),
    )
    found = rules(tmp_path, acme)

    def captures(greeting: str) -> dict[str, str]:
        (contender,) = found.contenders(item_of_greeting(greeting))
        return {name: text for name, text in contender.captures.items() if not name.startswith("service.p")}

    assert captures("Acme 1.2 on Unix") == {
        "service.vendor": "Acme",
        "service.version": "1.2",
        "service.cpe23": "cpe:/a:acme:mta:1.2",
        "os.product": "Unix of 1.2",
    }
    assert captures("Acme") == {"service.vendor": "Acme", "service.cpe23": "cpe:/a:acme:mta:-"}


def test_the_protocol_of_the_file_is_said_too(tmp_path: Path) -> None:
    seen = fingerprint("^a$", *ACME, examples=example("a", 'service.protocol="smtp"'))
    write(tmp_path, "smtp_banners.xml", seen, root='matches="smtp.banner" protocol="smtp"')
    assert RecogRules(str(tmp_path)).counts.examples == 1


@pytest.mark.parametrize(
    ("flags", "greeting", "product"),
    [
        ("REG_ICASE", "acme x", "Acme MTA"),
        ("REG_DOT_NEWLINE,REG_ICASE", "ACME x", "Acme MTA"),
        ("", "acme x", None),
    ],
)
def test_flags_count(tmp_path: Path, flags: str, greeting: str, product: str | None) -> None:
    verdict = named(rules(tmp_path, fingerprint("^Acme", *ACME, attributes=f'flags="{flags}"')), greeting)
    assert (verdict and verdict[1]) == product


def test_examples_are_held_to_what_they_expect(tmp_path: Path) -> None:
    (tmp_path / "smtp_banners").mkdir()
    (tmp_path / "smtp_banners" / "acme.bin").write_bytes(b"Acme \xff2")
    encoded = base64.encodebytes(b"Acme 3").decode()
    acme = fingerprint(
        r"^Acme\s(?:\x{FFFD}|\C)?(\d)$",
        *ACME,
        (1, "service.version"),
        examples=example("Acme 1", 'service.version="1" service.vendor="Acme"')
        + example(encoded, 'service.version="3" _encoding="base64"')
        + example("", '_filename="acme.bin" service.version="2"'),
    )
    found = rules(tmp_path, acme)
    assert reasons(found) == []
    assert found.counts == Counts(files=1, fingerprints=1, examples=3, skipped=0)


def test_an_example_with_line_feeds_is_read_as_ruby_does(tmp_path: Path) -> None:
    found = rules(tmp_path, fingerprint("^Acme$", *ACME, examples=example("hello\nAcme\n")))
    assert found.counts.examples == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (fingerprint("(?=a)a"), "RE2 cannot compile it: invalid perl operator: (?="),
        (fingerprint(""), "it has no pattern"),
        ("<fingerprint>\n</fingerprint>", "it has no pattern"),
        (fingerprint("a", attributes='flags="REG_ODD"'), "unknown flag REG_ODD"),
        (fingerprint("(a)", (2, "host.name")), "param 2 of 1 captures"),
        (fingerprint("a", examples=example("b")), "its example in line 4 is not matched"),
        (
            fingerprint("(a)", (1, "host.name"), examples=example("a", 'host.name="b"')),
            "its example in line 4 has host.name 'a', not 'b'",
        ),
        (
            fingerprint("a", examples=example("a", 'service.version="1"')),
            "its example in line 4 has service.version None, not '1'",
        ),
        (fingerprint("a", examples=example("a", '_encoding="base64"')), "its example in line 4 is not base64"),
        (
            fingerprint("a", examples=example("", '_filename="../smtp_banners.xml"')),
            "its example in line 4 is outside of the folder smtp_banners",
        ),
        (
            fingerprint("a", examples=example("", '_filename="none.bin"')),
            "its example in line 4 cannot be read: [Errno 2] No such file or directory: '",
        ),
    ],
)
def test_what_cannot_be_used_is_told_with_file_and_line_and_the_rest_is_used(
    tmp_path: Path, bad: str, reason: str
) -> None:
    found = rules(tmp_path, bad, fingerprint("^Acme$", *ACME))
    (skipped,) = found.skipped
    assert skipped == Skipped(str(tmp_path / "smtp_banners.xml"), 3, skipped.reason)
    assert skipped.reason.startswith(reason)
    assert str(skipped) == f"{tmp_path}/smtp_banners.xml:3: {skipped.reason}; left out"
    assert found.counts == Counts(files=1, fingerprints=1, examples=0, skipped=1)
    assert named(found, "Acme") == ("Acme", "Acme MTA", None)


BOMB = """<?xml version="1.0"?>
<!DOCTYPE fingerprints [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<fingerprints><fingerprint pattern="&b;"/></fingerprints>"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: not XML: no element found"),
        ("<fingerprints>\n<fingerprint>", ":2: not XML: no element found"),
        ("<rules/>", ":1: the root is 'rules', not 'fingerprints'"),
        ("<fingerprints>\n\n<param/></fingerprints>", ":3: param stands outside of a fingerprint"),
        (
            "<fingerprints><fingerprint pattern='a'>\n<param pos='x' name='y'/></fingerprint></fingerprints>",
            ":2: a param needs pos, a number, and name",
        ),
        (BOMB, ": refused, a file of Recog's has no DTD and no entities: "),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><fingerprints/>', ": refused, a file of Recog's has no DTD"),
    ],
)
def test_what_is_no_file_of_recogs_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "smtp_x.xml").write_text(text)
    with pytest.raises(RulesError) as caught:
        RecogRules(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/smtp_x.xml{message}")
    assert "\n" not in str(caught.value)


def test_a_folder_without_files_of_recogs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "http_servers.xml").write_text("<fingerprints/>")
    with pytest.raises(RulesError, match=rf"^recog:{tmp_path}: no smtp_\*.xml there$"):
        RecogRules(str(tmp_path))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "smtp_banners.xml").mkdir()
    with pytest.raises(RulesError, match=r"smtp_banners.xml: cannot read the rules: Is a directory$"):
        RecogRules(str(tmp_path))


def test_the_version_is_that_of_the_files(tmp_path: Path) -> None:
    first = rules(tmp_path, fingerprint("a")).version
    assert rules(tmp_path, fingerprint("a")).version == first
    assert rules(tmp_path, fingerprint("b")).version != first


def test_what_matches_is_listed_in_the_order_in_which_it_counts_with_the_reason_for_each(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        fingerprint("^Acme$", *ACME),
        fingerprint("Acme", ("service.product", "Shadowed")),
        fingerprint("^vague$", ("service.product", "Vague"), ("service.certainty", "0.4")),
        fingerprint("^empty$"),
        fingerprint("^late$", ("service.product", "Late")),
    )
    item = item_of_greeting("empty\nvague\nAcme\nlate")
    assert [(each.software and each.software.product, each.lost) for each in found.contenders(item)] == [
        ("Acme MTA", ""),
        ("Late", "its file or line comes later"),
        ("Vague", "certainty 0.4, below 0.85"),
        (None, "names no product"),
        ("Shadowed", "an earlier fingerprint of its file matches the line"),
    ]
    winner = found.contenders(item)[0]
    assert (winner.rule, winner.where) == ("recog:smtp_banners.xml:3", f"{tmp_path}/smtp_banners.xml:3")
    assert winner.software is not None
    verdict = found.classify_item(item)
    assert verdict is not None
    assert verdict.rule == winner.rule


@given(greeting=st.text(max_size=300))
def test_any_greeting_is_survived_and_the_first_contender_is_the_verdict(
    tmp_path_factory: pytest.TempPathFactory, greeting: str
) -> None:
    found = _any(tmp_path_factory)
    item = item_of_greeting("x")
    assert item.greeting is not None
    item.greeting.text = greeting
    contenders = found.contenders(item)
    verdict = found.classify_item(item)
    decided = [each.rule for each in contenders[:1] if not each.lost]
    assert decided == ([verdict.rule] if verdict else [])


def _any(factory: pytest.TempPathFactory) -> RecogRules:
    return rules(factory.mktemp("recog"), fingerprint("[a-f]", ("service.product", "Letters")), fingerprint("^", *ACME))
