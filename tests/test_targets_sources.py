"""The list of sources, and what they report to."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from smtpsurvey.errors import SurveyError
from smtpsurvey.targets.sources import SOURCES, TOLD, Options, Report, open_source


@pytest.mark.parametrize("scheme", SOURCES)
def test_every_scheme_has_a_class(scheme: str) -> None:
    module, _, name = SOURCES[scheme].partition(":")
    assert callable(getattr(import_module(module), name).blocks)


@pytest.mark.parametrize("text", ["", "list", "list:", "nonsense:x", "/etc/passwd", ":x", "LIST:x"])
def test_what_is_no_source_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(SurveyError, match=r"is no source; sources are list:…, dnsbl:…"):
        open_source(text, Report(Options(Path()), pytest.fail))


def test_a_source_is_made_with_what_follows_its_scheme(tmp_path: Path) -> None:
    (tmp_path / "a:b").write_text("9.9.9.9\n", "ascii")
    made = open_source(f"list:{tmp_path}/a:b", Report(Options(tmp_path), pytest.fail))
    assert made.label == f"list:{tmp_path}/a:b"
    assert [target.ip for block in made.blocks() for target in block.targets] == ["9.9.9.9"]


def test_a_report_tells_the_first_thousand_bad_lines_and_counts_all() -> None:
    told: list[str] = []
    report = Report(Options(Path()), told.append)
    for number in range(1, TOLD + 11):
        report.bad("list", number, "is nonsense")
    report.broke("list: the archive is truncated")
    report.count("messages", 3)
    report.count("messages")
    assert told == [*(f"list:{number}: is nonsense" for number in range(1, TOLD + 1)), "list: the archive is truncated"]
    assert (report.bad_lines, report.broken, report.counts) == (TOLD + 10, told[-1:], {"messages": 4})
