"""Rule sets by name: which are loaded, in which order they are asked, and what each says of its matches."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from smtpsurvey.classify import Classifier
from smtpsurvey.classify.load import RuleSets, load
from smtpsurvey.classify.native import NativeRules
from smtpsurvey.classify.nmap import NmapRules
from smtpsurvey.classify.recog import RecogRules
from smtpsurvey.classify.rules import RulesError
from smtpsurvey.classify.session import item_of_greeting, item_of_transcript
from smtpsurvey.pipelines.classify import ClassifyPipeline

if TYPE_CHECKING:
    from pathlib import Path

    from smtpsurvey.classify.foreign import RuleSet

TOML = """
[[rules]]
id = "acme"
vendor = "Acme"
product = "Native Acme"
greeting = 'ESMTP Acme(?: (?P<version>[\\d.]+))?$'
source = "test"
examples = [{ greeting = "mx ESMTP Acme 1.2", version = "1.2" }]

[[rules]]
id = "acme-any"
product = "Any Acme"
greeting = 'Acme'
priority = 50
source = "test"
examples = [{ greeting = "Acme!" }]

[[rules]]
id = "acme-late"
product = "Late Acme"
greeting = 'Acme|late'
priority = 50
source = "test"
examples = [{ greeting = "late" }]

[[rules]]
id = "acme-with-help"
product = "Acme Pro"
greeting = 'Acme'
extensions = '^HELP$'
quit = '^Bye$'
priority = 200
source = "test"
examples = [{ greeting = "Acme", extensions = "HELP", quit = "Bye" }]

[[rules]]
id = "quits"
product = "Quitter"
quit = '^Bye$'
priority = 300
source = "test"
examples = [{ quit = "Bye" }]
"""
RECOG = """<fingerprints matches="smtp.banner"><fingerprint pattern="Acme">
<param pos="0" name="service.product" value="Recog Acme"/></fingerprint>
<fingerprint pattern="^only recog$"><param pos="0" name="service.product" value="Recog Only"/></fingerprint>
<fingerprint pattern="(?=x)"/></fingerprints>"""
NMAP = "match smtp m|Acme| p/Nmap Acme/\nmatch smtp m|only nmap| p/Nmap Only/\nmatch smtp m|(?=x)| p/X/\n"


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, str]:
    """Give the names of three rule sets: one of each kind, of our own making."""
    (tmp_path / "my.toml").write_text(TOML)
    (tmp_path / "smtp_banners.xml").write_text(RECOG)
    (tmp_path / "probes").write_text(NMAP)
    return {"toml": f"{tmp_path}/my.toml", "recog": f"recog:{tmp_path}", "nmap": f"nmap:{tmp_path}/probes"}


def named(rules: RuleSet, greeting: str) -> str | None:
    verdict = rules.classify_item(item_of_greeting(greeting))
    return verdict and verdict.product


def test_one_set_is_loaded_as_it_is(sets: dict[str, str]) -> None:
    assert isinstance(load([sets["recog"]]), RecogRules)
    assert isinstance(load([f" {sets['nmap']} "]), NmapRules)
    assert isinstance(load([sets["toml"]]), NativeRules)


def test_without_other_peoples_rules_the_classifier_is_the_same_and_asked_directly() -> None:
    rules = load(["builtin"])
    assert isinstance(rules, Classifier)
    assert rules.version == Classifier.load(["builtin"]).version
    assert type(rules).classify_item is Classifier.classify_item
    assert list(rules.skipped) == []


@pytest.mark.parametrize(
    ("order", "acme"),
    [
        (("toml", "recog", "nmap"), "Native Acme"),
        (("recog", "toml", "nmap"), "Recog Acme"),
        (("nmap", "recog", "toml"), "Nmap Acme"),
    ],
)
def test_sets_are_asked_in_the_order_given(sets: dict[str, str], order: tuple[str, ...], acme: str) -> None:
    rules = load([sets[name] for name in order])
    assert named(rules, "mx ESMTP Acme 1.2") == acme
    assert named(rules, "only recog") == "Recog Only"
    assert named(rules, "only nmap") == "Nmap Only"
    assert named(rules, "nobody") is None


def test_our_own_sets_side_by_side_compare_their_priorities(tmp_path: Path, sets: dict[str, str]) -> None:
    (tmp_path / "mine.toml").write_text(
        TOML.split("\n\n", 1)[0]
        .replace('"acme"', '"mine"')
        .replace("Native", "Mine")
        .replace("source", "priority = 101\nsource")
    )
    mine = str(tmp_path / "mine.toml")
    with pytest.raises(RulesError, match="example 1 is won by rule mine"):
        load([sets["toml"], mine])
    assert named(load([sets["toml"], sets["nmap"], mine]), "ESMTP Acme") == "Native Acme"


def test_the_version_changes_with_sets_and_their_order(sets: dict[str, str]) -> None:
    versions = {load([sets[a], sets[b]]).version for a, b in (("toml", "recog"), ("recog", "toml"), ("toml", "nmap"))}
    assert len(versions) == 3
    assert load([sets["toml"], sets["recog"]]).version in versions


def test_what_is_left_out_of_each_set_is_told(tmp_path: Path, sets: dict[str, str]) -> None:
    rules = load(sets.values())
    assert [(skipped.file, skipped.line) for skipped in rules.skipped] == [
        (f"{tmp_path}/smtp_banners.xml", 4),
        (f"{tmp_path}/probes", 3),
    ]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "no rule set is given: say builtin, the path of a TOML file, recog:DIR or nmap:FILE"),
        (["recog:/nowhere"], r"recog:/nowhere: no smtp_\*.xml there"),
        (["nmap:/nowhere"], "/nowhere: cannot read the rules: No such file or directory"),
        (["builtin", "odd:x"], "odd:x: cannot read the rules: No such file or directory"),
    ],
)
def test_a_set_that_is_not_there_is_named(sources: list[str], message: str) -> None:
    with pytest.raises(RulesError, match=f"^{message}$"):
        load(sources)


def test_all_that_matches_is_listed_with_the_reason_why_it_lost(tmp_path: Path, sets: dict[str, str]) -> None:
    rules = load(sets.values())
    item = item_of_transcript("S: 220 mx ESMTP Acme 1.2\nC: QUIT\nS: 221 Bye")
    found = rules.contenders(item)
    toml = sets["toml"]
    assert [(each.rule, each.where, each.lost) for each in found] == [
        ("acme", toml, ""),
        ("acme-any", toml, "priority 50, below 100"),
        ("acme-late", toml, "priority 50, below 100"),
        ("quits", toml, "does not read the greeting, which names a product"),
        ("acme-with-help", toml, "its greeting matches, but not its extensions"),
        ("recog:smtp_banners.xml:1", f"{tmp_path}/smtp_banners.xml:1", f"{sets['recog']} is asked after {toml}"),
        ("nmap:1", f"{tmp_path}/probes:1", f"{sets['nmap']} is asked after {toml}"),
    ]
    assert found[0].captures == {"version": "1.2"}
    assert found[0].evidence == "greeting"
    assert found[0].software is rules.classify_item(item)
    assert found[4].software is None


def test_a_rule_of_equal_priority_loses_by_its_place(sets: dict[str, str]) -> None:
    found = load([sets["toml"]]).contenders(item_of_greeting("Acme"))
    assert [(each.rule, each.lost) for each in found][:2] == [
        ("acme-any", ""),
        ("acme-late", "priority 50 too, but comes later"),
    ]


def test_the_set_that_names_the_server_goes_first_whichever_it_is(sets: dict[str, str]) -> None:
    rules = load([sets["nmap"], sets["toml"], sets["recog"]])
    found = rules.contenders(item_of_greeting("only recog"))
    assert [(each.rule, each.lost) for each in found] == [("recog:smtp_banners.xml:3", "")]
    assert rules.contenders(item_of_greeting("nobody")) == []


def test_the_verdict_is_the_first_contender_of_every_builtin_example() -> None:
    rules = load(["builtin"])
    assert isinstance(rules, NativeRules)
    for rule in rules.rules[::9]:
        greeting = rule.examples[0].greeting
        if greeting:
            item = item_of_greeting(greeting)
            assert rules.contenders(item)[0].software is rules.classify_item(item)


def test_the_pipeline_takes_any_rule_set(sets: dict[str, str]) -> None:
    rules = load([sets["recog"], sets["nmap"]])
    assert isinstance(rules, RuleSets)
    item = ClassifyPipeline(rules).process_item(item_of_greeting("only nmap"))
    assert item.software.rule == "nmap:2"


def test_other_peoples_rules_cost_nothing_where_they_are_not_used() -> None:
    code = "import sys; import smtpsurvey.classify; print([m for m in sys.modules if m.startswith(('xml', 'defused'))])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
