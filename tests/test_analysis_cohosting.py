"""Domains per address and per AS."""

from __future__ import annotations

from smtpsurvey.analysis.cohosting import Hosting, cohosting


def test_by_hand() -> None:
    table = cohosting([Hosting("mail", "address", {1: 6, 12: 2, 100: 2}), Hosting("web", "as", {})])
    rows = {row[2]: row[3:] for row in table.rows}
    assert all(row[:2] == ("mail", "address") for row in table.rows)
    assert rows[1] == (10, 1.0, 230, 1.0)
    assert rows[2] == rows[10] == (4, 0.4, 224, 224 / 230)
    assert rows[20] == rows[100] == (2, 0.2, 200, 200 / 230)
    assert 200 not in rows
    assert cohosting([Hosting("web", "as", {1_000_000: 1})]).rows[-1][2] == 1_000_000
