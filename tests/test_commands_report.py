"""``scrapy report`` from the command line's side: what it prints and writes, and its exit status."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from scrapy.cmdline import execute
from scrapy.settings import Settings
from surveys import item, store, write

from smtpsurvey.commands.report import OUT

if TYPE_CHECKING:
    from pathlib import Path


def scrapy(urls: object, *argv: object) -> int:
    """Run the command as ``scrapy`` does; return its exit status."""
    settings = Settings({"COMMANDS_MODULE": "smtpsurvey.commands", "SMTPSURVEY_SHARDS": urls})
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "report", *map(str, argv)], settings)
    return int(ended.value.code or 0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'survey.sqlite3'}"
    shards = store([url])
    write(shards, "old", [item(1), item(2)])
    write(shards, "now", [item(1, "Exim", "Exim", "4.97"), item(3)])
    shards.dispose()
    return url


def test_the_page_and_every_table_are_written_and_the_last_line_is_the_page(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "report"
    assert scrapy([url], "--survey", "now", "--compare", "old", "--out", out) == 0
    said, told = capsys.readouterr()
    assert said == f"{out / 'index.html'}\n"
    assert told == ""
    assert "Survey now" in (out / "index.html").read_text("utf-8")
    names = {path.stem for path in (out / "tables").iterdir()}
    assert {"shares_product", "outcomes", "starttls", "history", "changes"} < names
    assert {path.name for path in (out / "tables").iterdir()} == {
        f"{name}.{end}" for name in names for end in ("csv", "json")
    }
    with (out / "tables" / "shares_product.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "product": "Exim",
        "vendor": "Exim",
        "hosts": "1",
        "share_of_answering": "0.5",
        "share_of_identified": "1.0",
    }
    assert json.loads((out / "tables" / "changes.json").read_bytes())[0] == {
        "since": "old",
        "change": "appeared",
        "hosts": 1,
        "share_of_either": 1 / 3,
    }


def test_a_report_leaves_no_table_of_an_earlier_one_behind(tmp_path: Path, url: str) -> None:
    assert scrapy([url], "--survey", "now", "--compare", "old", "--out", tmp_path) == 0
    other = tmp_path / "tables" / "mine.csv"
    other.touch()
    assert (tmp_path / "tables" / "changes.csv").exists()
    assert scrapy([url], "--survey", "now", "--out", tmp_path) == 0
    assert not (tmp_path / "tables" / "changes.csv").exists()
    assert other.exists()


def test_without_out_the_report_goes_to_its_usual_folder(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert scrapy([url], "--survey", "now") == 0
    assert capsys.readouterr().out == f"{OUT / 'index.html'}\n"
    assert (OUT / "index.html").exists()


def test_summary_prints_and_writes_only_where_it_is_told_to(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert scrapy([url], "--survey", "now", "--summary") == 0
    assert "Exim" in capsys.readouterr().out
    assert not OUT.exists()
    assert scrapy([url], "--survey", "now", "--summary", "--out", tmp_path / "r") == 0
    said = capsys.readouterr().out
    assert "Exim" in said
    assert said.splitlines()[-1] == str(tmp_path / "r" / "index.html")


def test_what_cannot_be_reported_is_one_line_and_status_1(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.sqlite3"
    for urls, label, line in (
        ([url], "esc\x1b", r"no survey 'esc\\x1b'; the store holds now, old"),
        ([f"sqlite:///{missing}"], "now", f"{missing}: no such database"),
        ([], "now", "SMTPSURVEY_SHARDS is empty: there is no database to report from"),
        (["nonsense"], "now", "SMTPSURVEY_SHARDS, entry 1: no database URL that can be used (ArgumentError)"),
    ):
        assert scrapy(urls, "--survey", label, "--out", tmp_path / "r") == 1
        said, told = capsys.readouterr()
        assert (said, told) == ("", f"report: {line}\n")
    assert not (tmp_path / "r").exists()
    assert not missing.exists()


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert scrapy([url], "--survey", "now", "--out", tmp_path / "file") == 1
    assert capsys.readouterr().err == f"report: {tmp_path / 'file' / 'tables'}: Not a directory\n"


@pytest.mark.parametrize("argv", [[], ["now"], ["--survey", "now", "more"]])
def test_wrong_arguments_are_told(url: str, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy([url], *argv) == 2
    assert "--survey LABEL says which survey" in "".join(capsys.readouterr())
