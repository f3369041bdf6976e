from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from smtpsurvey.report.charts import Line, Slice, bar, lines, ring

HOSTILE = "<script>alert(1)</script>\"'&"


def numbers(drawn: str, attribute: str) -> list[float]:
    return [float(value) for value in re.findall(rf' {attribute}="(-?[0-9.]+)%?"', drawn)]


def test_a_bar_is_as_long_as_its_share() -> None:
    assert 'width="43.21%"' in bar(0.43214)
    ET.fromstring(bar(1.0))


def test_the_slices_of_a_ring_follow_one_another_all_round() -> None:
    drawn = ring([Slice("a", 0.5, "s0"), Slice("b", 0.3, "s1"), Slice("c", 0.2, "none")], "says")
    ET.fromstring(drawn)
    assert numbers(drawn, "stroke-dashoffset") == [0.0, -50.0, -80.0]
    lengths = [float(dash) for dash in re.findall(r'stroke-dasharray="([0-9.]+) ', drawn)]
    assert lengths == [49.6, 29.6, 19.6]
    assert "<b>30.00 %</b>" in drawn


def test_a_slice_too_thin_to_see_is_still_no_negative_length() -> None:
    assert 'stroke-dasharray="0.000 100.000"' in ring([Slice("a", 0.0, "s0")], "says")


def test_lines_go_from_the_first_survey_to_the_last_and_up_with_the_share() -> None:
    drawn = lines(["a", "b", "c"], [Line("Exim", [0.1, 0.2, 0.4])], "says")
    ET.fromstring(drawn)
    series = drawn[drawn.index('<g class="s0">') :]
    assert numbers(series, "x1") == [12.0, 53.0]
    assert numbers(series, "x2") == [53.0, 94.0]
    assert numbers(series, "y2") == [48.0, 8.0]  # half way up, and at the top, which is 40 %
    assert "40 %" in drawn


def test_a_survey_without_hosts_leaves_a_gap() -> None:
    drawn = lines(["a", "b", "c", "d"], [Line("Exim", [0.1, None, 0.2, 0.3])], "says")
    series = drawn[drawn.index('<g class="s0">') :]
    assert numbers(series, "x1") == [66.67]
    assert numbers(series, "x2") == [94.0]
    assert numbers(series, "x") == [12.0, 66.67, 94.0]


def test_one_survey_or_none_can_be_drawn() -> None:
    assert 'x="53.00%"' in lines(["a"], [Line("Exim", [0.1])], "says")
    ET.fromstring(lines([], [], "says"))


def test_many_surveys_share_four_labels_and_the_last_has_one() -> None:
    drawn = lines([f"2026-{n:02}" for n in range(1, 24)], [Line("Exim", [0.5] * 23)], "says")
    labels = re.findall(r'class="(?:x|last)"[^>]*>([^<]+)<', drawn)
    assert len(labels) <= 4
    assert labels[-1] == "2026-23"


@pytest.mark.parametrize("count", [1, 5])
def test_every_series_is_told_apart_without_its_colour(count: int) -> None:
    drawn = lines(["a", "b"], [Line(str(n), [0.1, 0.2]) for n in range(count)], "says")
    legend = re.findall(r'aria-hidden="true">(<[^>]+>)</svg>', drawn)
    assert len(set(legend)) == count


def test_names_and_labels_are_text_and_never_markup() -> None:
    for drawn in (lines([HOSTILE], [Line(HOSTILE, [0.5])], HOSTILE), ring([Slice(HOSTILE, 1.0, "s0")], HOSTILE)):
        assert "<script" not in drawn
        root = ET.fromstring(drawn)
        assert any(HOSTILE in "".join(li.itertext()) for li in root.iter("li"))
        assert any(each.get("aria-label") == HOSTILE for each in root.iter("svg"))
