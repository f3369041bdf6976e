"""Settings that become probes, and those that cannot."""

from __future__ import annotations

import resource
from typing import Any

import pytest
from doubles.clock import StillReactor
from scrapy.settings import Settings

from smtpsurvey.errors import SurveyError
from smtpsurvey.probe import setup
from smtpsurvey.probe.protocol import Timeouts
from smtpsurvey.probe.setup import connections_allowed, identity_of, probe_of
from smtpsurvey.smtp.reply import Limits


def make(values: dict[str, Any], *, starttls: bool = False) -> Any:
    return probe_of(Settings(values), StillReactor(), starttls=starttls)  # type: ignore[arg-type]  # only its clock


def test_what_is_not_given_has_the_default() -> None:
    probe = make({"SMTPSURVEY_TIMEOUTS": '{"connect": "2.5"}', "SMTPSURVEY_LIMITS": {"lines": 7}})
    assert probe.timeouts == Timeouts(connect=2.5)
    assert probe.script.limits == Limits(lines=7)
    assert probe.tls is None
    assert probe.seconds() == 1000.1


def test_starttls_needs_trust_anchors(tmp_path: Any) -> None:
    assert make({}, starttls=True).tls is not None
    with pytest.raises(SurveyError, match="SMTPSURVEY_CA_FILE: "):
        make({"SMTPSURVEY_CA_FILE": str(tmp_path / "missing.pem")}, starttls=True)


@pytest.mark.parametrize(
    "given",
    [
        {"conect": 3},
        {"connect": "soon"},
        {"connect": None},
        {"connect": 0},
        {"connect": -1},
        {"connect": float("nan")},
        {"connect": float("inf")},
        {"connect": "1e999"},
        "connect",
        "[1, 2]",
        "5",
        5,
    ],
)
def test_times_that_cannot_be_are_one_line(given: Any) -> None:
    with pytest.raises(SurveyError) as error:
        make({"SMTPSURVEY_TIMEOUTS": given})
    assert str(error.value).startswith("SMTPSURVEY_TIMEOUTS")
    assert "\n" not in str(error.value)


def test_identity_comes_from_the_settings() -> None:
    assert not identity_of(Settings({"SMTPSURVEY_HELO": ""})).complete
    assert identity_of(Settings({"SMTPSURVEY_HELO": "a.example.org", "SMTPSURVEY_CONTACT": "a@example.org"})).complete


@pytest.mark.parametrize(
    ("limits", "wanted", "allowed"),
    [
        ((256, 1000), 10_000, range(800, 969)),
        ((1000, 1000), 50, range(50, 51)),
        ((10, 10), 50, range(1, 2)),
        ((256, resource.RLIM_INFINITY), 123_456, range(123_456, 123_457)),
    ],
)
def test_connections_fit_below_the_limit(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int, allowed: range
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(setup.resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(setup.resource, "setrlimit", lambda _, new: raised.append(new))
    assert connections_allowed(Settings({"SMTPSURVEY_CONCURRENCY": wanted})) in allowed
    if limits[0] == limits[1]:
        assert raised == []
    elif limits[1] == resource.RLIM_INFINITY:
        assert raised[0][0] > wanted
        assert raised[0][1] == limits[1]
    else:
        assert raised == [(limits[1], limits[1])]


@pytest.mark.parametrize("given", [0, -5, "many", "", None, 1.5, "0"])
def test_a_concurrency_that_is_none_is_one_line(given: object) -> None:
    with pytest.raises(SurveyError, match="SMTPSURVEY_CONCURRENCY="):
        connections_allowed(Settings({"SMTPSURVEY_CONCURRENCY": given}))
