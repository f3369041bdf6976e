"""``scrapy crawl dns``: any names, any types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from doubles.crawl import QUICK, items, run
from doubles.zoneserver import ZoneServer

from smtpsurvey.errors import SurveyError
from smtpsurvey.spiders.dns import read_type

if TYPE_CHECKING:
    from pathlib import Path

ZONE = """
$TTL 60
a.example. A 8.8.8.8
 TXT "v=spf1 -all" "more"
_dmarc.a.example. TXT "v=DMARC1"
www.a.example. CNAME a.example.
"""


def test_an_item_a_name_and_type(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("A.example.\n_dmarc.a.example\nwww.a.example\nmissing.example\nb..example\n")
    with ZoneServer(ZONE, ".") as server:
        arguments = ("-a", f"names={tmp_path}/names.txt", "-a", "types=A,txt,A,TYPE65", "-O", tmp_path / "dns.jsonl")
        ended = run("crawl", "dns", *arguments, *QUICK[:2], "-s", f"SMTPSURVEY_DNS_SERVERS={server.address}")
    assert ended.status == 0, ended.err
    found = items(tmp_path / "dns.jsonl")
    assert {(item["name"], item["type"]): item["outcome"] for item in found} == {
        ("a.example", "A"): "ok",
        ("a.example", "TXT"): "ok",
        ("a.example", "HTTPS"): "no_data",
        ("_dmarc.a.example", "A"): "no_data",
        ("_dmarc.a.example", "TXT"): "ok",
        ("_dmarc.a.example", "HTTPS"): "no_data",
        ("www.a.example", "A"): "ok",
        ("www.a.example", "TXT"): "ok",
        ("www.a.example", "HTTPS"): "no_data",
        ("missing.example", "A"): "nxdomain",
        ("missing.example", "TXT"): "nxdomain",
        ("missing.example", "HTTPS"): "nxdomain",
        ("b..example", "A"): "bad_name",
        ("b..example", "TXT"): "bad_name",
        ("b..example", "HTTPS"): "bad_name",
    }
    (alias,) = [item for item in found if (item["name"], item["type"]) == ("www.a.example", "A")]
    assert [(r["name"], r["type"], r["ttl"], r["value"]) for r in alias["records"]] == [
        ("www.a.example", "CNAME", 60, "a.example."),
        ("a.example", "A", 60, "8.8.8.8"),
    ]
    (text,) = [item for item in found if (item["name"], item["type"]) == ("a.example", "TXT")]
    assert [record["value"] for record in text["records"]] == ['"v=spf1 -all" "more"']
    assert text["server"] == "127.0.0.1"
    assert "15 look-ups (finished)" in ended.err


@pytest.mark.parametrize("text", ["", "bogus", "AXFR", "ANY", "OPT", "TYPE99999", "0"])
def test_types_that_are_none_are_one_line(text: str) -> None:
    with pytest.raises(SurveyError, match="is no type of record"):
        read_type(text)
