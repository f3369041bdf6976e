"""Every number here is counted by hand: 100 targets, 90 contacted, 8 answered."""

from __future__ import annotations

from collections import Counter

from smtpsurvey.analysis.response import (
    Fate,
    Place,
    contacted,
    exclusions,
    outcomes,
    response_by_as,
    response_by_country,
    response_by_source,
)

TARGETS = Counter(
    {
        Fate("mx", "ok", None): 6,
        Fate("random", "ok", None): 2,
        Fate("mx", "silent", None): 4,
        Fate("random", "refused", None): 78,
        Fate("mx", "excluded", "opt-out"): 5,
        Fate("random", "excluded", "opt-out"): 2,
        Fate("random", "excluded", "reserved"): 1,
        Fate(None, "local_error", "no route"): 2,
    }
)
PLACES = Counter(
    {
        Place(64500, "DE", "ok"): 5,
        Place(64500, "DE", "silent"): 3,
        Place(64501, "AU", "ok"): 3,
        Place(64502, "AU", "refused"): 2,
        Place(None, None, "ok"): 2,
        Place(64503, "AU", "excluded"): 7,
    }
)


def test_only_targets_that_were_contacted_share_in_the_contacted() -> None:
    assert contacted(TARGETS) == 90
    table = outcomes(TARGETS)
    assert table.columns == ("outcome", "hosts", "share_of_targets", "share_of_contacted")
    assert table.rows == (
        ("refused", 78, 0.78, 78 / 90),
        ("excluded", 8, 0.08, None),
        ("ok", 8, 0.08, 8 / 90),
        ("silent", 4, 0.04, 4 / 90),
        ("local_error", 2, 0.02, None),
    )


def test_what_was_never_contacted_is_told_by_reason() -> None:
    table = exclusions(TARGETS)
    assert table.columns == ("outcome", "reason", "hosts", "share_of_targets")
    assert table.rows == (
        ("excluded", "opt-out", 7, 0.07),
        ("local_error", "no route", 2, 0.02),
        ("excluded", "reserved", 1, 0.01),
    )


def test_sources_tell_how_many_of_their_contacted_targets_answered() -> None:
    table = response_by_source(TARGETS)
    assert table.columns == ("source", "hosts", "share_of_answering", "share_of_contacted", "contacted", "targets")
    assert table.rows == (
        ("mx", 6, 0.75, 0.6, 10, 15),
        ("random", 2, 0.25, 0.025, 80, 83),
        (None, 0, 0.0, None, 0, 2),
    )


def test_ases_tell_how_many_of_their_recorded_targets_answered() -> None:
    table = response_by_as(PLACES)
    assert table.columns == ("asn", "hosts", "share_of_answering", "share_of_recorded", "recorded")
    assert table.rows == (
        (64500, 5, 0.5, 0.625, 8),
        (64501, 3, 0.3, 1.0, 3),
        (None, 2, 0.2, 1.0, 2),
        (64502, 0, 0.0, 0.0, 2),
    )


def test_countries_add_up_their_ases() -> None:
    assert response_by_country(PLACES).rows == (
        ("DE", 5, 0.5, 0.625, 8),
        ("AU", 3, 0.3, 0.6, 5),
        (None, 2, 0.2, 1.0, 2),
    )


def test_a_survey_without_targets_has_no_rows() -> None:
    for make in (outcomes, exclusions, response_by_source):
        assert make(Counter()).rows == ()
    assert response_by_as(Counter()).rows == ()
