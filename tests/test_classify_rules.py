"""Rule files: what is read, and the one line a bad file gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smtpsurvey.classify.rules import RulesError, Transcript, parse_rules, read_rules

if TYPE_CHECKING:
    from pathlib import Path

RULE = """
[[rules]]
id = "acme"
vendor = "Acme"
product = "Acme MTA"
greeting = '^\\S+ ESMTP Acme (?P<version>[\\d.]+)$'
source = "its source"
examples = [{ greeting = "mx.example.com ESMTP Acme 1.2", version = "1.2" }]
"""


def changed(old: str, new: str) -> bytes:
    assert old in RULE
    return RULE.replace(old, new).encode()


def test_a_rule_file_gives_rules_in_order_with_their_examples() -> None:
    (origin,) = parse_rules("my.toml", RULE.encode())
    assert (origin.file, origin.rule.id, origin.rule.priority) == ("my.toml", "acme", 100)
    assert origin.rule.given() == {"greeting": r"^\S+ ESMTP Acme (?P<version>[\d.]+)$"}
    (example,) = origin.rule.examples
    assert example.transcript() == Transcript(greeting="mx.example.com ESMTP Acme 1.2")
    assert example.captures() == {"version": "1.2"}


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(RULE)
    (origin,) = read_rules(str(path))
    assert origin.file == str(path)


def test_the_builtin_rules_are_read_file_by_file_in_the_order_of_names() -> None:
    names = [origin.file for origin in read_rules("builtin")]
    assert names == sorted(names)
    assert "builtin mta.toml" in names
    assert not {"builtin names.toml", "builtin releases.toml"} & set(names)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "my.toml: not UTF-8 at byte 0"),
        (b"[[rules]", "my.toml: not TOML: "),
        (b"", "my.toml: Object missing required field `rules`"),
        (b"rules = 1", "my.toml: Expected `array`, got `int` - at `$.rules`"),
        (b"rules = [1]", "my.toml: Expected `object`, got `int` - at `$.rules[0]`"),
        (b"[[rules]]\n", "my.toml: rule number 1: Object missing required field `id` - at `$`"),
        (changed('product = "Acme MTA"\n', ""), "my.toml: rule acme: Object missing required field `product`"),
        (changed("product", "prodct"), "my.toml: rule acme: Object contains unknown field `prodct`"),
        (changed('source = "its source"\n', ""), "my.toml: rule acme: Object missing required field `source`"),
        (changed("[{", "[] #"), "my.toml: rule acme: Expected `array` of length >= 1 - at `$.examples`"),
        (changed('"acme"', '"Ac me"'), "my.toml: rule Ac me: Expected `str` matching regex"),
        (
            changed("vendor =", "priority = 2000\nvendor ="),
            "my.toml: rule acme: Expected `int` <= 1000 - at `$.priority`",
        ),
        (changed("greeting = '^", "banner = '^"), "my.toml: rule acme: Object contains unknown field `banner`"),
        (changed("(?P<version>[", "(?P<version>("), "my.toml: rule acme: RE2 cannot compile '"),
        (changed("(?P<version>", "(?=x)(?P<version>"), "my.toml: rule acme: RE2 cannot compile '"),
        (changed("(?P<version>", "("), "my.toml: rule acme: greeting has a group without a name"),
        (
            changed("(?P<version>", "(?P<release>"),
            "my.toml: rule acme: unknown capture release: use edition, host, os, version",
        ),
        (changed("'^\\S+ ESMTP", "'|"), "my.toml: rule acme: greeting matches the empty text"),
        (
            changed("vendor =", "version = '3'\nvendor ="),
            "my.toml: rule acme: it has both a constant version and one to capture",
        ),
        (
            changed("vendor =", "edition = 'Pro'\nquit = 'Acme (?P<edition>x)'\nvendor ="),
            "my.toml: rule acme: it has both a constant edition and one to capture",
        ),
        (changed("vendor =", "certainty = 'maybe'\nvendor ="), "my.toml: rule acme: Invalid enum value 'maybe'"),
        (
            changed("vendor =", "quit = 'Acme (?P<version>x)'\nvendor ="),
            "my.toml: rule acme: a capture is named twice",
        ),
    ],
)
def test_a_bad_file_gives_one_line_that_names_file_rule_and_reason(data: bytes, message: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules("my.toml", data)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_rule_without_a_pattern_is_refused() -> None:
    data = "\n".join(line for line in RULE.splitlines() if not line.startswith("greeting")).encode()
    with pytest.raises(RulesError, match=r"^my.toml: rule acme: it has no pattern: give one of greeting, ehlo, "):
        parse_rules("my.toml", data)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / name)
    with pytest.raises(RulesError, match=r"cannot read the rules: \w") as caught:
        read_rules(path)
    assert str(caught.value).startswith(path)
