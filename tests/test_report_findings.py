from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from surveys import item, store, tls, write

from smtpsurvey.errors import SurveyError
from smtpsurvey.report.findings import Totals, find
from smtpsurvey.store import StoreError
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLES = {
    "shares_product",
    "shares_vendor",
    "shares_version",
    "history",
    "outcomes",
    "exclusions",
    "response_by_as",
    "response_by_country",
    "response_by_source",
    "starttls",
    "tls_versions",
    "ciphers",
    "tls_errors",
    "keys",
    "trust",
}


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Shards]:
    made = store([f"sqlite:///{tmp_path / 'a.sqlite3'}", f"sqlite:///{tmp_path / 'b.sqlite3'}"], 2)
    yield made
    made.dispose()


def test_every_table_is_made_of_what_was_stored_and_what_was_only_counted(shards: Shards) -> None:
    write(
        shards,
        "now",
        [
            item(1, "Exim", "Exim", "4.97", starttls="ok", tls=tls("TLSv1.3", "AES"), asn=64500, country="DE"),
            item(2, "Exim", "Exim", "4.96", starttls="failed", tls=tls(None, trusted=None, error="closed")),
            item(3),
            item(4, outcome="silent", starttls=None, asn=64500, country="DE"),
        ],
        [Tally("list", "refused", None, 94), Tally("list", "excluded", "reserved", 2)],
    )
    findings = find(shards, "now")
    assert set(findings.tables) == TABLES
    assert findings.totals == Totals(100, 98, 3, 2, 1, 96)
    assert findings.notices == ()
    rows = {name: table.rows for name, table in findings.tables.items()}
    assert rows["shares_product"] == (("Exim", "Exim", 2, 2 / 3, 1.0), (None, None, 1, 1 / 3, None))
    assert rows["outcomes"][0] == ("refused", 94, 0.94, 94 / 98)
    assert rows["exclusions"] == (("excluded", "reserved", 2, 0.02),)
    assert rows["response_by_source"] == (("list", 3, 1.0, 3 / 98, 98, 100),)
    assert rows["response_by_as"] == ((None, 2, 2 / 3, 1.0, 2), (64500, 1, 1 / 3, 0.5, 2))
    assert rows["response_by_country"] == ((None, 2, 2 / 3, 1.0, 2), ("DE", 1, 1 / 3, 0.5, 2))
    assert rows["tls_versions"] == (("TLSv1.3", 1, 1.0),)
    assert rows["ciphers"] == (("TLSv1.3", "AES", 1, 1.0),)
    assert rows["tls_errors"] == (("closed", 1, 1.0),)
    assert rows["keys"] == (("rsa-2048", 1, 1.0),)
    assert rows["trust"] == ((True, None, None, 1, 1.0),)
    assert rows["history"] == (("now", findings.survey.started, "Exim", 2, 2 / 3, 1.0),)


def test_compared_surveys_give_history_and_changes(shards: Shards) -> None:
    write(shards, "old", [item(1, "Exim", "Exim", "4.96"), item(2)], started="2026-08-01T00:00:00.000Z")
    write(shards, "now", [item(1, "Exim", "Exim", "4.97"), item(3)])
    findings = find(shards, "now", ["old", "old", "now"])
    assert [survey.label for survey in findings.compared] == ["old"]
    assert [row[0] for row in findings.tables["history"].rows] == ["old", "now"]
    assert [row[1:3] for row in findings.tables["changes"].rows] == [
        ("appeared", 1),
        ("vanished", 1),
        ("product_changed", 0),
        ("version_changed", 1),
    ]
    assert len(findings.tables["changes_by_as"].rows) == 3


def test_an_empty_survey_says_so(shards: Shards) -> None:
    write(shards, "now")
    findings = find(shards, "now")
    assert findings.notices == ("Survey now is empty: no target of it is in the store.",)
    assert all(not table.rows for table in findings.tables.values())


def test_a_survey_that_is_not_finished_says_so_and_so_does_an_empty_one_beside_it(shards: Shards) -> None:
    write(shards, "now", [item(1)], finished=False)
    write(shards, "old", finished=False)
    notices = find(shards, "now", ["old"]).notices
    assert [notice.split(":")[0] for notice in notices] == [
        "Survey now is not finished",
        "Survey old is not finished",
        "Survey old, compared here, is empty",
    ]


@pytest.mark.parametrize(("wanted", "compared"), [("none", []), ("now", ["none"])])
def test_a_label_that_is_not_known_is_told_with_those_that_are(
    shards: Shards, wanted: str, compared: list[str]
) -> None:
    write(shards, "now")
    write(shards, "esc\x1b[31m")
    with pytest.raises(SurveyError, match=r"^no survey 'none'; the store holds esc\\x1b\[31m, now$"):
        find(shards, wanted, compared)


def test_a_store_without_surveys_or_with_many_says_so_in_one_line(shards: Shards) -> None:
    with pytest.raises(SurveyError, match=r"^no survey 'a'; the store holds none$"):
        find(shards, "a")
    for number in range(22):
        write(shards, f"s{number:02}")
    with pytest.raises(SurveyError, match=r"s18, s19 and 2 more$"):
        find(shards, "a")


def test_a_database_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such database"):
        find(Shards([f"sqlite:///{tmp_path / 'none'}"]), "now")
