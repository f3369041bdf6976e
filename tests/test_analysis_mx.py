"""MX tables by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from smtpsurvey.analysis import mx
from smtpsurvey.analysis.mx import Looked, mx_concentration, mx_curve, mx_summary, mx_top

NONE = frozenset[str]()
DOMAINS = Counter(
    {
        Looked("ok", implicit=False, null_mx=False, flags=NONE): 50,
        Looked("ok", implicit=False, null_mx=False, flags=frozenset({"dangling", "cname"})): 5,
        Looked("ok", implicit=True, null_mx=False, flags=NONE): 20,
        Looked("ok", implicit=False, null_mx=True, flags=NONE): 4,
        Looked("nxdomain", implicit=False, null_mx=False, flags=NONE): 15,
        Looked("timeout", implicit=False, null_mx=False, flags=NONE): 6,
    }
)


def test_the_summary() -> None:
    table = mx_summary(DOMAINS, tuples=130, addresses=40)
    facts = {row[0]: row[1:] for row in table.rows}
    assert facts["domains"] == (100, 1.0)
    assert facts["answered"] == (94, 0.94)
    assert facts["with_mx"] == (55, 0.55)
    assert facts["implicit_mx"] == (20, 0.2)
    assert facts["null_mx"] == (4, 0.04)
    assert facts["flag_dangling"] == facts["flag_cname"] == (5, 0.05)
    assert facts["flag_reserved"] == (0, 0.0)
    assert facts["outcome_timeout"] == (6, 0.06)
    assert facts["address_domain_pairs"] == (130, None)
    assert facts["addresses"] == (40, None)
    assert mx_summary(Counter(), 0, 0).rows[0] == ("domains", 0, None)


def test_the_leaders(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = {("address", "192.0.2.1"): 7, ("address", "192.0.2.2"): 3, ("provider", "Google"): 9}
    assert mx_top(serving, 20).rows == (
        ("provider", 1, "Google", 9, 0.45),
        ("address", 1, "192.0.2.1", 7, 0.35),
        ("address", 2, "192.0.2.2", 3, 0.15),
    )
    monkeypatch.setattr(mx, "TOP", 1)
    assert len(mx_top(serving, 20).rows) == 2


def test_concentration_and_curve() -> None:
    sizes = {1: 2, 2: 1, 6: 1}
    (row,) = mx_concentration([("address", sizes)]).rows
    assert row == ("address", 4, 10, pytest.approx(0.4), pytest.approx(0.42))
    assert mx_curve(sizes).rows[0] == (1, 6, 0.6)
