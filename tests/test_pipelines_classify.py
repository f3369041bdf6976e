"""The pipeline that names the software."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scrapy.utils.test import get_crawler

from smtpsurvey.classify import RulesError
from smtpsurvey.items import ReplyItem, SmtpItem
from smtpsurvey.pipelines.classify import ClassifyPipeline

if TYPE_CHECKING:
    from pathlib import Path


ACME = """
[[rules]]
id = "acme"
product = "Acme"
greeting = "Acme"
source = "test"
examples = [{ greeting = "Acme" }]
"""


def pipeline(sources: object = "builtin") -> ClassifyPipeline:
    return ClassifyPipeline.from_crawler(get_crawler(settings_dict={"SMTPSURVEY_FINGERPRINTS": sources}))


def item(outcome: str, greeting: str | None) -> SmtpItem:
    reply = None if greeting is None else ReplyItem(220, greeting)
    return SmtpItem("t", "192.0.2.1", 25, None, None, None, "2026-11-25T01:02:03.456Z", 0.1, outcome, greeting=reply)


def test_the_software_of_a_server_that_answered_is_named() -> None:
    named = pipeline().process_item(item("ok", "mx.example.com ESMTP Exim 4.96 Wed, 25 Nov 2026 02:37:00 +0000"))
    assert (named.software.vendor, named.software.product, named.software.version) == ("Exim", "Exim", "4.96")
    assert (named.software.rule, named.software.evidence) == ("exim", "greeting")


def test_an_unknown_server_has_no_software() -> None:
    assert pipeline().process_item(item("ok", "hello")).software is None


@pytest.mark.parametrize("outcome", ["silent", "too_slow", "refused"])
def test_a_target_without_a_greeting_is_left_alone(outcome: str) -> None:
    assert pipeline().process_item(item(outcome, "mx.example.com ESMTP Postfix")).software is None


def test_other_items_pass_untouched() -> None:
    other = {"kind": "log", "text": "mx.example.com ESMTP Postfix"}
    assert pipeline().process_item(other) is other
    assert other == {"kind": "log", "text": "mx.example.com ESMTP Postfix"}


def test_own_rules_are_loaded_from_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(ACME)
    both = pipeline(f"builtin,{path}")
    assert both.process_item(item("ok", "Acme")).software.product == "Acme"
    assert both.process_item(item("ok", "mx.example.com ESMTP Postfix")).software.product == "Postfix"


def test_a_bad_rule_file_stops_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("rules = 1")
    with pytest.raises(RulesError, match=str(path)):
        pipeline([str(path)])
