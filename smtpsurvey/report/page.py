"""The page: one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from smtpsurvey.analysis.table import share
from smtpsurvey.report.charts import SERIES, Line, Slice, bar, lines, ring
from smtpsurvey.report.sections import SECTIONS, Section, Shown
from smtpsurvey.report.text import shown
from smtpsurvey.report.words import heading, is_number, moment, percent, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.analysis.table import Cell, Row, Table
    from smtpsurvey.report.findings import Findings


def page(findings: Findings) -> str:
    """Write the page. Links to the tables' files are relative; everything else is in it."""
    style = resources.files("smtpsurvey.report").joinpath("data", "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = f"Survey {_text(findings.survey.label)}"
    made = [(section, shown_) for section in SECTIONS if (shown_ := _tables(section, findings))]
    provenance = _provenance(findings)
    anchors = [(_anchor(section), section.title) for section, _ in made] + [("provenance", "Provenance")] * bool(
        provenance
    )
    contents = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name in anchors)
    body = "".join(
        f'<section><h2 id="{_anchor(section)}">{section.title}</h2>{inside}</section>' for section, inside in made
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}: SMTP servers</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{title}</h1>{_times(findings)}{_notices(findings)}"
        f'<nav aria-label="Sections"><ul>{contents}</ul></nav></header>\n'
        f"<main>{_figures(findings)}{body}{provenance}</main>\n"
        "<footer>Made by smtpsurvey. Shares are of hosts (address and port), not of domains or of mail.</footer>\n"
        "</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Make text of any origin safe in HTML, in an attribute too, and keep its direction to itself."""
    return escape(shown(text))


def _anchor(section: Section) -> str:
    return section.title.lower().replace(" ", "-")


def _times(findings: Findings) -> str:
    survey = findings.survey
    end = f"finished {escape(moment(survey.finished))}" if survey.finished else "not finished"
    return f'<p class="soft">SMTP servers, started {escape(moment(survey.started))}, {end} (UTC)</p>'


def _notices(findings: Findings) -> str:
    return "".join(f'<p class="notice" role="note">{escape(notice)}</p>' for notice in findings.notices)


def _figures(findings: Findings) -> str:
    totals = findings.totals
    figures = (
        ("Targets", totals.targets, None, ""),
        ("Contacted", totals.contacted, totals.targets, "of the targets"),
        ("Answered SMTP", totals.answering, totals.contacted, "of the contacted"),
        ("Software identified", totals.identified, totals.answering, "of those that answered"),
        ("TLS agreed", totals.encrypting, totals.answering, "of those that answered"),
    )
    cells = []
    for name, count, whole, of in figures:
        part = None if whole is None else share(count, whole)
        note = "" if part is None else f"<small>{percent(part)} {of}</small>"
        cells.append(f"<div><dt>{name}</dt><dd>{count:,}{note}</dd></div>")
    return f'<dl class="figures">{"".join(cells)}</dl>'


def _tables(section: Section, findings: Findings) -> str:
    parts = []
    for each in section.tables:
        table = findings.tables.get(each.name)
        if table is not None:
            parts.append(f'<h3 id="{each.name}">{each.title}</h3>{_chart(each, findings)}')
            parts.append(_table(each, _says(each, findings), table))
    return "".join(parts)


def _says(each: Shown, findings: Findings) -> str:
    unplaced = findings.totals.unplaced
    if not unplaced or each.name not in {"response_by_as", "response_by_country"}:
        return each.says
    return f"{each.says} The {unplaced:,} targets that were counted only, and not recorded, are not in this table."


def _chart(each: Shown, findings: Findings) -> str:
    if each.name == "shares_product" and findings.totals.answering:
        return ring(list(_slices(findings)), "Ring of the leading products; the table below has the numbers.")
    if each.name == "history" and findings.compared:
        labels, series = _series(findings.tables["history"])
        return lines(labels, series, "Share of answering hosts, survey by survey; the table below has the numbers.")
    return ""


def _slices(findings: Findings) -> Iterator[Slice]:
    totals = findings.totals
    rest = totals.identified
    leaders = [row for row in findings.tables["history"].records() if row["survey"] == findings.survey.label]
    for number, row in enumerate(leaders):
        hosts = int(row["hosts"] or 0)
        rest -= hosts
        yield Slice(words("product", row["product"]), hosts / totals.answering, f"s{number}")
    unknown = totals.answering - totals.identified
    yield from (
        Slice(name, hosts / totals.answering, kind)
        for name, hosts, kind in (("others", rest, "rest"), ("not identified", unknown, "none"))
        if hosts
    )


def _series(history: Table) -> tuple[list[str], list[Line]]:
    shares: dict[Cell, list[float | None]] = {}
    surveys = {}
    for row in history.records():
        surveys[row["survey"]] = words("survey", row["survey"])
        value = row["share_of_answering"]
        shares.setdefault(row["product"], []).append(None if value is None else float(value))
    series = [Line(words("product", product), values) for product, values in shares.items()]
    return list(surveys.values()), series[:SERIES]


def _table(each: Shown, says: str, table: Table) -> str:
    if not table.rows:
        return f'<p class="soft">{escape(says)} There are none.</p>'
    head = "".join(f'<th scope="col"{_class(column)}>{escape(heading(column))}</th>' for column in table.columns)
    bars = None if each.bars is None else table.columns.index(each.bars)
    rows = table.rows[: each.rows]
    left = len(table.rows) - len(rows)
    return (
        f'<p class="soft">{escape(says)}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{table.name}">'
        f'<table aria-labelledby="{table.name}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(_row(table.columns, row, bars) for row in rows)}</tbody></table></div>"
        f'<p class="files">{f"{left:,} more rows in the files" if left else "All rows"}: '
        f'<a href="tables/{table.name}.csv">CSV</a> · <a href="tables/{table.name}.json">JSON</a></p>'
    )


def _row(columns: tuple[str, ...], row: Row, bars: int | None) -> str:
    cells = []
    for number, (column, value) in enumerate(zip(columns, row, strict=True)):
        text = escape(words(column, value))
        if value is None:
            text = f'<span class="unknown">{text}</span>'
        if number:
            cells.append(f"<td{_class(column)}>{text}</td>")
        else:
            drawn = "" if bars is None else bar(float(row[bars] or 0))
            cells.append(f'<th scope="row" class="word">{text}{drawn}</th>')
    return f"<tr>{''.join(cells)}</tr>"


def _class(column: str) -> str:
    return ' class="n"' if is_number(column) else ' class="word"'


def _provenance(findings: Findings) -> str:
    rows = "".join(
        f'<tr><th scope="row" class="word">{_text(name)}</th><td class="word">{_text(str(value))}</td></tr>'
        for name, value in sorted(findings.survey.settings.items())
        if value is not None
    )
    if not rows:
        return ""
    return (
        '<section><h2 id="provenance">Provenance</h2><h3 id="settings">Settings of the survey</h3>'
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="settings"><table aria-labelledby="settings">'
        '<thead><tr><th scope="col">Setting</th><th scope="col">Value</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )
