from __future__ import annotations

from pathlib import Path

from smtpsurvey.store.schema import Schema

TABLES = Path(__file__).parents[1] / "docs" / "reference" / "tables.md"


def documented() -> dict[str, list[str]]:
    """The columns of each table on the page, in order."""
    tables: dict[str, list[str]] = {}
    for line in TABLES.read_text("utf-8").splitlines():
        if line.startswith("## "):
            columns = tables[line.removeprefix("## ")] = []
        elif line.startswith("| ") and line != "| column | meaning |":
            columns.append(line.split(" | ")[0].removeprefix("| "))
    return tables


def test_the_page_of_tables_names_each_table_and_column() -> None:
    schema = Schema(1)
    tables = {table.name.replace("_00", "_NN"): list(table.c.keys()) for table in schema.metadata.tables.values()}
    assert documented() == tables


def test_tables_of_observations_are_numbered_with_two_digits() -> None:
    assert [table.name for table in Schema(11).observations][::5] == [
        "observations_00",
        "observations_05",
        "observations_10",
    ]
