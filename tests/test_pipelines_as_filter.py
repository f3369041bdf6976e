"""The AS filter as a crawl uses it: settings in, verdicts out."""

from __future__ import annotations

import os
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.utils.test import get_crawler

from smtpsurvey.admission import AdmissionError, Exclude
from smtpsurvey.admission.asmap_build import write_map
from smtpsurvey.admission.optout import OptOutFile
from smtpsurvey.items import Target
from smtpsurvey.pipelines.as_filter import AsFilterPipeline

if TYPE_CHECKING:
    from pathlib import Path

OPTOUT = """\
AS64502              # the whole network asked
9.1.0.0/24
9.3.0.7
127.0.0.9            # in the lab
example.org
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    announced = {
        ip_network("9.0.0.0/8"): (64500,),
        ip_network("9.2.0.0/16"): (64502,),
        ip_network("9.4.0.0/16"): (64504, 64502),
        ip_network("2a00::/16"): (64506,),
    }
    write_map(announced, str(tmp_path / "as.mmdb"))
    (tmp_path / "optout.txt").write_text(OPTOUT, "utf-8")
    return {
        "SMTPSURVEY_AS_MAP": str(tmp_path / "as.mmdb"),
        "SMTPSURVEY_OPTOUT": str(tmp_path / "optout.txt"),
        "SMTPSURVEY_ALLOW": "127.0.0.0/8, ::1",
    }


def pipeline(settings: dict[str, Any]) -> AsFilterPipeline:
    return AsFilterPipeline.from_crawler(get_crawler(settings_dict=settings))


def reason(filter_: AsFilterPipeline, ip: str, name: str | None = None) -> str | None:
    try:
        filter_.admit(Target(ip, name=name))
    except Exclude as exclusion:
        return exclusion.reason
    return None


@pytest.mark.parametrize(
    ("ip", "name", "expected"),
    [
        ("9.9.9.9", None, None),
        ("9.9.9.9", "mx.example.net", None),
        ("9.9.9.9", "mx.example.org", "opt-out"),
        ("9.1.0.255", None, "opt-out"),
        ("9.1.1.0", None, None),
        ("9.3.0.7", None, "opt-out"),
        ("9.2.0.1", None, "AS"),
        ("9.4.0.1", None, "AS"),  # the second origin of a multi-origin prefix
        ("2a00::1", None, None),
        ("10.0.0.1", None, "reserved"),
        ("224.0.0.1", None, "reserved"),
        ("127.0.0.1", None, None),
        ("127.0.0.9", None, "opt-out"),
        ("::1", None, None),
        ("::2", None, "reserved"),
        ("::ffff:9.9.9.9", None, "reserved"),
    ],
)
def test_a_target_is_excluded_for_the_reason_that_applies(
    files: dict[str, str], ip: str, name: str | None, expected: str | None
) -> None:
    assert reason(pipeline(files), ip, name) == expected


def test_a_target_that_is_admitted_learns_its_as(files: dict[str, str]) -> None:
    target = Target("9.9.9.9")
    pipeline(files).admit(target)
    assert (target.asn, target.prefix, target.country) == (64500, "9.0.0.0/8", None)


def test_without_files_only_reserved_ranges_are_excluded() -> None:
    filter_ = pipeline({})
    assert reason(filter_, "9.2.0.1", "example.org") is None
    assert reason(filter_, "127.0.0.1") == "reserved"
    target = Target("9.9.9.9")
    filter_.admit(target)
    assert (target.asn, target.prefix, target.country) == (None, None, None)


def test_an_opt_out_added_while_the_crawl_runs_is_honoured_a_second_later(tmp_path: Path) -> None:
    path = tmp_path / "optout.txt"
    path.write_text("9.1.0.0/24\n", "utf-8")
    now = 100.0
    filter_ = AsFilterPipeline(optout=OptOutFile(str(path), with_as_map=False), clock=lambda: now)
    assert reason(filter_, "9.9.9.9") is None
    path.write_text("9.1.0.0/24\n9.9.9.9 # just now\n", "utf-8")
    os.utime(path, ns=(10**18, 10**18))
    now = 101.0
    assert reason(filter_, "9.9.9.9") == "opt-out"
    assert reason(filter_, "9.1.0.1") == "opt-out"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("SMTPSURVEY_AS_MAP", "missing.mmdb", "missing.mmdb: No such file or directory"),
        ("SMTPSURVEY_AS_MAP", __file__, "valid MaxMind DB file"),
        ("SMTPSURVEY_OPTOUT", "missing.txt", "missing.txt: No such file or directory"),
        ("SMTPSURVEY_OPTOUT", __file__, f"{__file__}:1: "),
        ("SMTPSURVEY_ALLOW", "127.0.0.0/8,10.0.0.0/33", "SMTPSURVEY_ALLOW: '10.0.0.0/33' does not appear to be"),
    ],
)
def test_what_cannot_be_used_stops_the_crawl_with_one_line(
    files: dict[str, str], setting: str, value: str, message: str
) -> None:
    with pytest.raises(AdmissionError) as caught:
        pipeline(files | {setting: value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_opt_out_of_an_as_needs_a_map(files: dict[str, str]) -> None:
    del files["SMTPSURVEY_AS_MAP"]
    with pytest.raises(AdmissionError, match="SMTPSURVEY_AS_MAP"):
        pipeline(files)


def test_items_pass_untouched(files: dict[str, str]) -> None:
    item = object()
    assert pipeline(files).process_item(item) is item
