"""The settings of the route check; what it does is in test_network_routes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler

from smtpsurvey.admission import AdmissionError
from smtpsurvey.pipelines.route_check import RouteCheckPipeline

if TYPE_CHECKING:
    from pathlib import Path


def pipeline(**settings: Any) -> RouteCheckPipeline:
    return RouteCheckPipeline.from_crawler(get_crawler(settings_dict=settings))


def test_without_the_setting_it_is_off() -> None:
    with pytest.raises(NotConfigured):
        pipeline(SMTPSURVEY_ROUTE_CHECK="0", SMTPSURVEY_OPTOUT="/nowhere")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"SMTPSURVEY_OPTOUT": None}, "SMTPSURVEY_ROUTE_CHECK needs SMTPSURVEY_OPTOUT"),
        ({"SMTPSURVEY_AS_MAP": None}, "SMTPSURVEY_ROUTE_CHECK needs SMTPSURVEY_AS_MAP"),
        ({"SMTPSURVEY_ROUTE_AGE": "-1"}, "SMTPSURVEY_ROUTE_AGE='-1' is no number of seconds"),
    ],
)
def test_what_it_needs_is_said(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    (tmp_path / "optout.txt").write_text("AS64500\n")
    given = {
        "SMTPSURVEY_ROUTE_CHECK": True,
        "SMTPSURVEY_OPTOUT": str(tmp_path / "optout.txt"),
        "SMTPSURVEY_AS_MAP": "as.mmdb",
        "SMTPSURVEY_ROUTE_AGE": 0,
    }
    pipeline(**given)
    with pytest.raises(AdmissionError, match=f"^{said}"):
        pipeline(**given | changed)
