"""``scrapy classify --survey`` and ``unknown`` from the command line's side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from scrapy.cmdline import execute
from scrapy.settings import Settings
from surveys import item, store, write

from smtpsurvey.classify import templates
from smtpsurvey.classify.load import load
from smtpsurvey.items import EhloItem, ReplyItem
from smtpsurvey.store import verdicts
from smtpsurvey.store.classifications import runs
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards

if TYPE_CHECKING:
    from pathlib import Path

TOML = """
[[rules]]
id = "acme"
vendor = "Acme"
product = "Acme MTA"
greeting = 'Acme (?P<version>\\S+)'
source = "test"
examples = [{ greeting = "Acme 1.2", version = "1.2" }]
"""
HOSTILE = "[red]mx\x1b[2J\u202e"


def scrapy(urls: list[str], *argv: object, **more: object) -> int:
    settings = Settings({"COMMANDS_MODULE": "smtpsurvey.commands", "SMTPSURVEY_SHARDS": urls, **more})
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "classify", *map(str, argv)], settings)
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def urls(tmp_path: Path) -> list[str]:
    """Two databases: of nine servers four are Acme (one has it already), one says Old, four are unknown."""
    urls = [f"sqlite:///{tmp_path / name}.db" for name in "ab"]
    items = [item(number) for number in range(1, 10)]
    items[3].software = item(4, "Acme", "Acme MTA", "0.9").software
    items[4].software = item(5, "Old", "Old MTA", None).software
    for number, each in enumerate(items, 1):
        words = f"Acme 1.{number}" if number <= 4 else "ESMTP ready" if number < 8 else "something else"
        each.greeting = ReplyItem(220, f"{HOSTILE if number == 1 else f'mx{number}.example.com'} {words}")
        each.ehlo = EhloItem(250, "x\nSIZE\nDSN", {"SIZE": "", "DSN": ""})
        each.quit = ReplyItem(221, "2.0.0 Bye")
    shards = store(urls)
    write(shards, "now", items)
    shards.dispose()
    return urls


def test_a_survey_is_classified_and_what_changed_is_told(
    urls: list[str], rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scrapy(urls, "--survey", "now", "--rules", rules) == 0
    told = capsys.readouterr().out
    first, head, *rows = told.splitlines()
    version = load([str(rules)]).version
    assert first == f"9 observations by rules {version} ({rules}): 5 verdicts changed (run 1)"
    assert head.split() == ["count", "from", "to", "for", "example"]
    assert rows[0].split()[:5] == ["3", "not", "identified", "Acme", "MTA"]
    assert "Acme MTA 0.9 → Acme MTA 1.4: mx4.example.com Acme 1.4" in told
    assert "Old MTA" in told
    assert "[red]mx\\x1b[2J\\u202e Acme 1.1" in told
    assert "\x1b" not in told
    assert "\u202e" not in told
    shards = Shards(urls)
    assert {each.ip: each.software.version for each in Reader(shards).items("now") if each.software} == {
        f"192.0.2.{number}": f"1.{number}" for number in range(1, 5)
    }
    assert [(run.rules, run.sources) for run in runs(shards, "now")] == [(version, [str(rules)])]
    shards.dispose()


def test_run_again_nothing_changes(urls: list[str], rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert scrapy(urls, "--survey", "now", SMTPSURVEY_FINGERPRINTS=[str(rules)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("0 verdicts changed (run 2)")


def test_what_changed_as_json(urls: list[str], rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy(urls, "--survey", "now", "--rules", rules, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["survey"], found["run"], found["observations"], found["changed"]) == ("now", 1, 9, 5)
    assert [(each["from"], each["to"], each["count"]) for each in found["changes"]] == [
        (None, "Acme MTA", 3),
        ("Acme MTA", "Acme MTA", 1),
        ("Old MTA", None, 1),
    ]
    assert found["changes"][0]["examples"][0].keys() == {"ip", "port", "greeting", "from", "to"}
    assert {"vendor", "product"}.isdisjoint(found["changes"][1]["fields"])
    assert {"version", "rule"} <= set(found["changes"][1]["fields"])
    assert found["others"] == 0


def test_more_kinds_of_changes_than_fit_are_summed_up(
    urls: list[str], rules: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpsurvey.report.verdicts.ROWS", 1)
    assert scrapy(urls, "--survey", "now", "--rules", rules) == 0
    assert "and 2 changes of other kinds: --json has more" in capsys.readouterr().out


def test_unknown_greetings_come_by_wording_most_frequent_first(
    urls: list[str], rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scrapy(urls, "--survey", "now", "--rules", rules)
    capsys.readouterr()
    assert scrapy(urls, "unknown", "--survey", "now") == 0
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert told[:3] == [
        "5 servers not identified, 2 templates",
        "count greeting, and what goes with it",
        "3 220 <host> ESMTP ready",
    ]
    assert told[3].startswith("for example: 192.0.2.")
    assert told[4:6] == ["extensions (100%): SIZE DSN", "QUIT (100%): 2.0.0 Bye"]
    assert told[6] == "2 220 <host> something else"
    assert scrapy(urls, "unknown", "--survey", "now", "--json", "--top", "1") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["observations"], found["templates"], found["missed"]) == (5, 2, 0)
    (only,) = found["unknown"]
    assert (only["count"], only["code"], only["template"]) == (3, 220, "<host> ESMTP ready")
    assert only["extensions"] == [{"text": "SIZE DSN", "count": 3}]


def test_hostile_greetings_are_escaped_and_a_bound_that_is_reached_is_told(
    urls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 3)
    monkeypatch.setattr(verdicts, "RANGE", 2)
    shards = Shards(urls)
    words = ("one", "two", "three", "four", "five")
    items = [item(number) for number in range(1, 6)]
    for word, each in zip(words, items, strict=True):
        each.greeting = ReplyItem(220, f"{HOSTILE} {word}")
    write(shards, "odd", items)
    shards.dispose()
    assert scrapy(urls, "unknown", "--survey", "odd") == 0
    told = capsys.readouterr().out
    assert "kept of more (the rarest were forgotten; counts may be up to" in told
    assert "[red]mx\\x1b[<n>J\\u202e" in told
    assert "\x1b" not in told


def test_where_all_are_identified_nothing_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    urls = [f"sqlite:///{tmp_path / 'c.db'}"]
    shards = store(urls)
    write(shards, "now", [item(1, "Acme", "Acme MTA", "1")])
    shards.dispose()
    assert scrapy(urls, "unknown", "--survey", "now") == 0
    assert capsys.readouterr().out == "0 servers not identified, 0 templates\n"


def test_what_cannot_be_done_is_one_line_and_status_1(
    tmp_path: Path, urls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    none = tmp_path / "none.db"
    for given, argv, line in (
        (urls, ("--survey", "\x1bx"), r"no observations of survey '\x1bx'; the store holds now"),
        (urls, ("unknown", "--survey", "x"), "no observations of survey 'x'; the store holds now"),
        (urls, ("--survey", "now", "--rules", "none.toml"), "none.toml: cannot read the rules: No such file"),
        ([f"sqlite:///{none}"], ("--survey", "now"), f"{none}: no such database"),
        ([], ("--survey", "now"), "SMTPSURVEY_SHARDS is empty: there is no database to read from"),
    ):
        assert scrapy(given, *argv) == 1
        said, told = capsys.readouterr()
        assert said == ""
        assert told.startswith(f"classify: {line}")
        assert told.count("\n") == 1
    assert not none.exists()


@pytest.mark.parametrize(
    "argv",
    [(), ("unknown",), ("unknown", "x", "--survey", "now"), ("unknown", "--survey", "now", "--top", "0"), ("x",)],
)
def test_wrong_arguments_are_told(urls: list[str], argv: tuple[str, ...]) -> None:
    assert scrapy(urls, *argv) == 2
