"""Discovery techniques: what each found, alone and with others."""

from __future__ import annotations

from smtpsurvey.analysis.techniques import Yield, technique_overlap, technique_population, techniques

MX, PTR = frozenset({"mx"}), frozenset({"ptr"})
FOUND = {MX: Yield(100, 60), PTR: Yield(500, 20), MX | PTR: Yield(50, 40), frozenset[str](): Yield(9, 9)}


def test_each_technique() -> None:
    table = techniques(FOUND)
    assert table.columns[:3] == ("technique", "hosts", "share_of_live")
    assert table.rows == (
        ("mx", 100, 100 / 120, 60, 60 / 120, 150, 100 / 150, 1.5),
        ("ptr", 60, 60 / 120, 20, 20 / 120, 550, 60 / 550, 550 / 60),
    )
    assert techniques({PTR: Yield(3, 0)}).rows == (("ptr", 0, None, 0, None, 3, 0.0, None),)


def test_overlap_is_by_exact_sets() -> None:
    assert technique_overlap(FOUND).rows == (
        ("mx", 1, 60, 0.5),
        ("mx + ptr", 2, 40, 40 / 120),
        ("ptr", 1, 20, 20 / 120),
    )
    assert technique_overlap({PTR: Yield(3, 0)}).rows == ()


def test_the_population_by_chapman() -> None:
    # 101 * 61 / 41 - 1
    (row,) = technique_population(FOUND).rows
    assert row[:3] == ("chapman", 120, 149)
    assert row[5] == 29
    assert isinstance(row[3], int)
    assert isinstance(row[4], int)
    assert 120 < row[3] < 149 < row[4]
    assert technique_population({MX: Yield(3, 1)}).rows == ()
