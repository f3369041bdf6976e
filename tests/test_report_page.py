from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from surveys import item, store, tls, write

from smtpsurvey.report.files import as_csv, as_json
from smtpsurvey.report.findings import Findings, find
from smtpsurvey.report.page import page
from smtpsurvey.report.sections import ROWS
from smtpsurvey.report.terminal import ROWS as TERMINAL_ROWS
from smtpsurvey.report.terminal import show
from smtpsurvey.report.text import visible
from smtpsurvey.store.writer import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpsurvey.store.shards import Shards

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "=cmd|'/c calc'!A1",
    "\x1b[31m\x1b]0;title\x07[bold]red[/bold]",
    "\N{RIGHT-TO-LEFT OVERRIDE}fdp\N{RIGHT-TO-LEFT MARK}",
    "&amp;&#60;{{7*7}}${x}%s",
    "x" * 5000,
]
VOID = {"meta", "br", "img", "input", "link", "hr"}
DRAWN = {"rect", "circle", "path", "line"}  # closed at once in SVG


class Page(HTMLParser):
    """Reads a page as a browser would, far enough to see what is in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID | DRAWN:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Shards]:
    made = store([f"sqlite:///{tmp_path / 'a.sqlite3'}"])
    yield made
    made.dispose()


def usual(shards: Shards) -> Findings:
    exim = ("Exim", "Exim", "4.97")
    write(shards, "old", [item(n, *exim) for n in range(5)], started="2026-08-01T00:00:00.000Z")
    write(
        shards,
        "now",
        [item(n, f"V{n}", f"P{n}", "1", starttls="ok", tls=tls("TLSv1.3", "AES"), asn=n) for n in range(40)],
        [Tally("list", "refused", None, 1000)],
    )
    return find(shards, "now", ["old"])


def hostile(shards: Shards, text: str) -> Findings:
    """Put a text everywhere where one may come from outside."""
    label = text[:200]
    facts = tls(text, text, key=text, trusted=False, trust_error=text)
    failed = tls(None, key=text, trusted=False, trust_error=text, error=text)
    write(
        shards,
        label,
        [
            item(1, text, text, text, starttls="ok", tls=facts, source=text, country=text, reason=text, asn=64500),
            item(2, None, text, text, starttls="failed", tls=failed, source=text, country=text),
            item(3, outcome="silent", source=text, country=text),
        ],
        [Tally(text, "excluded", text, 3)],
    )
    write(shards, f"{label}2", [item(1, text, f"{text}2", text), item(4, text, text, text)], finished=False)
    return find(shards, label, [f"{label}2"])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_on_the_page(shards: Shards, text: str) -> None:
    read = Page(page(hostile(shards, text)))
    names = {tag for tag, _ in read.tags}
    assert not names & {"script", "img", "iframe", "object", "embed", "form", "input", "link", "base", "foreignobject"}
    for _, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "src", "srcdoc"}]
    for link in read.all("a"):
        assert re.fullmatch(r"#[a-z-]+|tables/[a-z_]+\.(csv|json)", link["href"] or "")
    everything = "".join(read.text)
    assert visible(text)[:79] in everything
    assert visible(everything.replace("\n", "")) == everything.replace("\n", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_a_spreadsheet_and_exact_in_json(shards: Shards, text: str) -> None:
    findings = hostile(shards, text)
    found = 0
    for table in findings.tables.values():
        header, *rows = csv.reader(io.StringIO(as_csv(table), newline=""))
        assert header == list(table.columns)
        assert len(rows) == len(table.rows)
        for row in rows:
            assert len(row) == len(header)
            assert not [cell for cell in row if cell[:1] in set("=+-@\t\r")]
            found += sum(visible(text) in cell for cell in row)
        assert json.loads(as_json(table)) == list(table.records())
        assert as_json(table).isascii()
    assert found > 10


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_on_a_terminal(shards: Shards, text: str) -> None:
    console = Console(width=300, force_terminal=True, color_system=None, record=True, highlight=False)
    with console.capture() as capture:
        show(hostile(shards, text), console)
    said = capture.get()
    assert not re.search(r"[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e]", said)
    assert not re.sub(r"\x1b\[[0-9;]*m", "", said).count("\x1b")
    assert said.count(visible(text)[:35]) > 12  # label, notice, and the cells of five tables


def test_the_page_loads_nothing_and_allows_only_its_own_style(shards: Shards) -> None:
    text = page(usual(shards))
    read = Page(text)
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [meta["content"] for meta in read.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert not re.search(r"url\(|@import|https?:|//", style)
    assert not re.search(r"https?:", text)


def test_the_page_can_be_read_aloud(shards: Shards) -> None:
    text = page(usual(shards))
    read = Page(text)
    assert read.all("html") == [{"lang": "en"}]
    assert "<title>Survey now: SMTP servers</title>" in text
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert {th.get("scope") for th in read.all("th")} == {"col", "row"}
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        assert attributes.get("aria-labelledby") in {None, *ids}
    for svg in read.all("svg"):
        assert svg.get("aria-hidden") == "true" or svg.get("aria-label") or "x" in svg
    for link in read.all("a"):
        href = link["href"] or ""
        assert not href.startswith("#") or href[1:] in ids


def test_long_tables_are_cut_on_the_page_and_say_where_the_rest_is(shards: Shards) -> None:
    findings = usual(shards)
    text = page(findings)
    part = text[text.index('<h3 id="shares_product">') : text.index('<h3 id="shares_vendor">')]
    assert part.count("<tr>") == 1 + ROWS
    assert f"{40 - ROWS} more rows in the files" in part
    assert len(json.loads(as_json(findings.tables["shares_product"]))) == 40
    history = text[text.index('<h3 id="history">') : text.index('<h3 id="shares_version">')]
    assert history.count("<tr>") == 1 + 2 * 5


def test_charts_stand_beside_their_tables(shards: Shards) -> None:
    text = page(usual(shards))
    assert text.count('<figure class="ring">') == 1
    assert text.count('<svg class="lines"') == 1
    assert text.count('<svg class="bar"') > ROWS
    alone = page(find(shards, "now"))
    assert '<svg class="lines"' not in alone
    assert "Since the surveys compared" not in alone


def test_targets_that_were_only_counted_are_explained_where_they_are_missing(shards: Shards) -> None:
    text = page(usual(shards))
    assert text.count("The 1,000 targets that were counted only, and not recorded, are not in this table.") == 2
    assert "counted only" not in page(find(shards, "old"))


def test_an_empty_or_half_done_survey_says_so_before_anything_else(shards: Shards) -> None:
    write(shards, "half", finished=False)
    text = page(find(shards, "half"))
    assert text.index("Survey half is empty") < text.index("Survey half is not finished") < text.index("<nav")
    assert ", not finished (UTC)" in text
    assert "There are none." in text
    assert '<figure class="ring">' not in text


def test_settings_are_the_provenance_and_a_survey_without_has_none(shards: Shards) -> None:
    write(shards, "now")
    findings = find(shards, "now")
    assert "SMTPSURVEY_RATE</th>" in page(findings)
    findings.survey.settings.clear()
    assert "Provenance" not in page(findings)


def test_the_terminal_shows_the_main_tables_and_counts_what_it_leaves_out(shards: Shards) -> None:
    console = Console(width=120)
    with console.capture() as capture:
        show(usual(shards), console)
    said = capture.get()
    assert "1,040 targets, 1,040 contacted, 40 answered SMTP, 40 identified, 40 agreed on TLS" in said
    assert f"and {40 - TERMINAL_ROWS} more rows" in said
    for title in ("Products", "Outcomes", "STARTTLS", "TLS versions", "Since the surveys compared"):
        assert title in said
