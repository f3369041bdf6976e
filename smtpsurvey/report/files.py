"""Writes a report: ``index.html``, and each table as ``tables/NAME.csv`` and ``tables/NAME.json``."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from smtpsurvey.report.page import page
from smtpsurvey.report.sections import SECTIONS
from smtpsurvey.report.text import cell

if TYPE_CHECKING:
    from pathlib import Path

    from smtpsurvey.analysis.table import Table
    from smtpsurvey.report.findings import Findings


def write(findings: Findings, folder: Path) -> Path:
    """Write the report into a folder and give the path of its page; raises ``OSError``.

    Files of an earlier report there are replaced; those of its tables that this report lacks are removed.
    """
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for section in SECTIONS:
        for each in section.tables:
            for ending in ("csv", "json"):
                (tables / f"{each.name}.{ending}").unlink(missing_ok=True)
    for table in findings.tables.values():
        (tables / f"{table.name}.csv").write_bytes(as_csv(table).encode())
        (tables / f"{table.name}.json").write_bytes(as_json(table).encode())
    index = folder / "index.html"
    index.write_bytes(page(findings).encode())
    return index


def as_csv(table: Table) -> str:
    """Write a table as CSV (RFC 4180) for people and spreadsheets: no cell is a formula, all of its text is visible."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table.columns)
    writer.writerows([cell(value) if isinstance(value, str) else value for value in row] for row in table.rows)
    return text.getvalue()


def as_json(table: Table) -> str:
    """Write a table as a JSON list of objects, in ASCII and exactly as the store has it."""
    return json.dumps(list(table.records()), indent=1) + "\n"
