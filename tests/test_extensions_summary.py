"""The tables at the end: what they count, and where they go."""

from __future__ import annotations

import logging
from collections import Counter
from io import StringIO
from typing import Any

import attrs
import pytest
from rich.console import Console
from scrapy import Spider, signals
from scrapy.utils.test import get_crawler

from smtpsurvey.extensions.summary import TOP, UNKNOWN, Counts, SummaryExtension, unrecorded
from smtpsurvey.items import SmtpItem, Software, TlsItem


def item(outcome: str = "ok", **more: Any) -> SmtpItem:
    return SmtpItem("2026-11", "127.0.0.1", 25, None, None, None, "", 0, outcome, **more)


def summary(**settings: Any) -> tuple[Any, SummaryExtension]:
    crawler = get_crawler(Spider, settings)
    crawler.spider = crawler._create_spider("x")
    return crawler, SummaryExtension.from_crawler(crawler)


def rendered(counts: Counts) -> str:
    text = StringIO()
    Console(file=text, width=100).print(counts.render("2026-11", "finished"))
    return text.getvalue()


def test_items_are_counted_when_they_are_stored() -> None:
    crawler, extension = summary()
    postfix = Software("Postfix", "Postfix")
    for seen in (
        item(software=postfix, starttls="ok", tls=TlsItem(version="TLSv1.3")),
        item(software=postfix, starttls="failed", tls=TlsItem()),
        item(starttls=None),
        item("silent", starttls="not_offered"),
        {"another": "item"},
    ):
        crawler.signals.send_catch_log(signals.item_scraped, item=seen, response=None, spider=crawler.spider)
    crawler.stats.set_value("smtpsurvey/unrecorded/timeout/-/a/b", 3)
    crawler.stats.set_value("smtpsurvey/unrecorded/timeout/-/c", 4)
    crawler.stats.set_value("smtpsurvey/targets/lines", 99)
    counts = extension.counts()
    assert counts.outcomes == {"ok": 3, "silent": 1, "timeout": 7}
    assert counts.software == {"Postfix": 2, UNKNOWN: 1}
    assert counts.starttls == {"ok": 1, "failed": 1}
    assert counts.tls_versions == {"TLSv1.3": 1}
    assert extension.counts() == counts  # asking changes nothing


def test_a_run_that_is_taken_up_counts_everything_once() -> None:
    crawler, first = summary()
    first.item_scraped(item())
    crawler.stats.set_value("smtpsurvey/unrecorded/timeout/-/a", 3)
    before = attrs.evolve(first.counts())
    _, second = summary()
    second._crawler.stats.set_value("smtpsurvey/unrecorded/timeout/-/a", 3)  # as the checkpoint restores it
    second.restore(before, crawler.stats.get_stats())
    second.item_scraped(item())
    assert +second.counts().outcomes == {"ok": 2, "timeout": 3}


def test_parts_add_up() -> None:
    total = Counts(outcomes=Counter(ok=1))
    total.add(Counts(outcomes=Counter(ok=2, closed=1), software=Counter(Exim=1)))
    assert total == Counts(outcomes=Counter(ok=3, closed=1), software=Counter(Exim=1))


def test_tables_show_the_largest_first_and_the_rest_as_one_line() -> None:
    text = rendered(
        Counts(outcomes=Counter(ok=30, closed=10), software=Counter({f"mta-{n:02}": 100 - n for n in range(13)}))
    )
    assert "Survey 2026-11: 40 targets (finished)" in text
    assert "75.0%" in text
    assert text.index("mta-00") < text.index("mta-09") < text.index("3 others")
    assert f"mta-{TOP}" not in text
    assert "STARTTLS" not in text  # nothing to show


def test_markup_in_names_is_text() -> None:
    assert "[red]x[/]" in rendered(Counts(outcomes=Counter(ok=1), software=Counter({"[red]x[/]": 1})))


@pytest.mark.parametrize("log_file", [None, "x.log"])
def test_the_tables_go_to_the_terminal_or_to_the_log_file(
    log_file: str | None, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    crawler, extension = summary(LOG_FILE=log_file)
    extension.item_scraped(item())
    extension.spider_closed(crawler.spider, "finished")
    shown = capsys.readouterr().err
    assert ("Survey x: 1 targets (finished)" in shown) is (log_file is None)
    assert ("Survey x: 1 targets (finished)" in caplog.text) is (log_file is not None)


def test_a_crawl_that_probed_nobody_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    crawler, extension = summary()
    extension.spider_closed(crawler.spider, "finished")
    assert capsys.readouterr().err == ""


def test_stats_of_others_are_no_outcomes() -> None:
    assert unrecorded({"item_scraped_count": 3}) == {}
