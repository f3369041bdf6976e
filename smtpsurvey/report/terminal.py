"""The main tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table as Grid
from rich.text import Text

from smtpsurvey.report.sections import SECTIONS, SUMMARY
from smtpsurvey.report.text import shown
from smtpsurvey.report.words import heading, is_number, words

if TYPE_CHECKING:
    from rich.console import Console

    from smtpsurvey.analysis.table import Table
    from smtpsurvey.report.findings import Findings

ROWS = 10
"""Rows of a table on the terminal."""


def show(findings: Findings, console: Console) -> None:
    """Print notices, key figures and the main tables; nothing in them is taken for markup or an escape."""
    totals = findings.totals
    console.print(Text(f"Survey {shown(findings.survey.label)}", style="bold"))
    for notice in findings.notices:
        console.print(Text(notice, style="yellow"))
    console.print(
        Text(
            f"{totals.targets:,} targets, {totals.contacted:,} contacted, {totals.answering:,} answered SMTP, "
            f"{totals.identified:,} identified, {totals.encrypting:,} agreed on TLS"
        )
    )
    titles = {each.name: each.title for section in SECTIONS for each in section.tables}
    for name in SUMMARY:
        table = findings.tables.get(name)
        if table is not None and table.rows:
            console.print()
            console.print(grid(titles[name], table))


def grid(title: str, table: Table) -> Grid:
    """Lay out the first rows of a table; nothing in it is taken for markup or an escape."""
    left = len(table.rows) - ROWS
    made = Grid(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False, header_style="bold")
    if left > 0:
        made.caption = Text(f"and {left:,} more rows")
        made.caption_justify = "left"
    for column in table.columns:
        made.add_column(Text(heading(column)), justify="right" if is_number(column) else "left")
    for row in table.rows[:ROWS]:
        made.add_row(*(Text(words(*pair)) for pair in zip(table.columns, row, strict=True)))
    return made
