"""One question a target: is it reserved, or has someone opted out?"""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from smtpsurvey.admission import AdmissionError, Exclude
from smtpsurvey.admission.exclusions import Exclusion, Exclusions, networks_of
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE
from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import Reason


def opted_out(subject: str | int, why: str = "") -> Exclusion:
    if isinstance(subject, str) and "/" in subject:
        return Exclusion(ip_network(subject), Reason.OPT_OUT, why, "list:1")
    return Exclusion(subject, Reason.AS if isinstance(subject, int) else Reason.OPT_OUT, why, "list:1")


def reason(exclusions: Exclusions, ip: str, name: str | None = None) -> Reason | None:
    found = exclusions.of_target(ip, name)
    return found.reason if found else None


def test_allow_opens_reserved_ranges_and_nothing_else() -> None:
    exclusions = Exclusions(SPECIAL_PURPOSE, networks_of("A", ["127.0.0.0/16", "::1"]))
    assert reason(exclusions, "127.0.3.4") is None
    assert reason(exclusions, "::1") is None
    assert reason(exclusions, "127.1.0.0") == Reason.RESERVED
    assert reason(exclusions, "10.0.0.1") == Reason.RESERVED


def test_allow_never_opens_an_opt_out() -> None:
    optout = [opted_out("127.0.0.7/32"), opted_out("8.8.8.0/24")]
    exclusions = Exclusions(SPECIAL_PURPOSE, networks_of("A", ["0.0.0.0/0"]), optout)
    assert reason(exclusions, "127.0.0.6") is None
    assert reason(exclusions, "127.0.0.7") == Reason.OPT_OUT
    assert reason(exclusions, "8.8.8.8") == Reason.OPT_OUT


@pytest.mark.parametrize(
    "name",
    [
        "example.org",
        "EXAMPLE.org",
        "example.org.",
        "mx.example.org",
        "a.b.c.Example.Org.",
    ],
)
def test_a_domain_opts_out_itself_and_every_name_below_it(name: str) -> None:
    assert reason(Exclusions((), (), [opted_out("example.org")]), "8.8.8.8", name) == Reason.OPT_OUT


@pytest.mark.parametrize("name", ["notexample.org", "example.org.net", "org", "", ".", "example", None, "пример.org"])
def test_other_names_are_not_touched_by_it(name: str | None) -> None:
    assert reason(Exclusions((), (), [opted_out("example.org")]), "8.8.8.8", name) is None


def test_an_internationalised_name_is_compared_as_a_labels() -> None:
    exclusions = Exclusions((), (), [opted_out("xn--strae-oqa.example")])
    assert reason(exclusions, "8.8.8.8", "MX.Straße.example") == Reason.OPT_OUT
    assert reason(exclusions, "8.8.8.8", "mx.xn--strae-oqa.example") == Reason.OPT_OUT
    assert reason(exclusions, "8.8.8.8", "mx.strasse.example") is None


def test_a_name_that_no_dns_can_hold_is_compared_with_nothing() -> None:
    assert reason(Exclusions((), (), [opted_out("example.org")]), "8.8.8.8", "\u2028.example.org") is None


def test_any_origin_that_opted_out_counts() -> None:
    exclusions = Exclusions((), (), [opted_out(64500), opted_out(64501)])
    assert exclusions.of_origins(()) is None
    assert exclusions.of_origins((64499,)) is None
    found = exclusions.of_origins((64499, 64501, 64500))
    assert found is not None
    assert (found.subject, found.reason) == (64501, Reason.AS)
    assert Exclusions(()).of_origins((64500,)) is None


def test_an_entry_is_told_in_one_line() -> None:
    assert str(opted_out(64500, "ticket 17")) == "AS64500 (ticket 17; list:1)"
    assert str(opted_out("192.0.2.0/24")) == "192.0.2.0/24 (list:1)"
    assert str(opted_out("example.org", "asked")) == "example.org (asked; list:1)"


@pytest.mark.parametrize("value", ["127.0.0.0/33", "127.0.0.1/8", "localhost", ""])
def test_a_network_that_is_none_is_told_with_its_setting(value: str) -> None:
    with pytest.raises(AdmissionError, match=r"^SMTPSURVEY_ALLOW: .*\S$") as caught:
        networks_of("SMTPSURVEY_ALLOW", ["10.0.0.0/8", value])
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SurveyError)


def test_exclude_carries_its_reason() -> None:
    assert Exclude(Reason.AS).reason == "AS"
    assert Exclude("my own").reason == "my own"
    assert str(Exclude("my own")) == "my own"
