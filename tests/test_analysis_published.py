"""The published surveys, and ours beside them."""

from __future__ import annotations

from smtpsurvey.analysis.published import SURVEYS, ZONES, Published, surveys, zone_sizes


def test_ours_stands_among_those_published() -> None:
    table = surveys(Published("2026-11", "smtpsurvey", 1000, "random", 16))
    assert len(table.rows) == len(SURVEYS) + 1 == 18
    assert table.rows[-1] == ("2026-11", "smtpsurvey", "random", 16, 1000, 0.016)
    assert table.rows[0] == ("1996-11-27", "Bernstein", "selective random", 25_121, 500_000, 25_121 / 500_000)
    assert sum(row[3] for row in table.rows[-8:-1] if isinstance(row[3], int)) == 12_606_499


def test_zone_sizes_by_zone_and_date() -> None:
    table = zone_sizes(("com", "2009-10-02", 82_000_000), ("at", "2026-11-25", 1_400_000))
    assert table.rows[0] == ("at", "2026-11-25", "counted", 1_400_000)
    assert table.rows[-1] == ("com", "2009-10-02", "counted", 82_000_000)
    assert table.rows[1] == ("com", "2007-12-19", "published", 71_545_277)
    assert len(table.rows) == len(ZONES) + 1
