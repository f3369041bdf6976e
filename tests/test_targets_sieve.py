"""Reserved ranges, opt-outs and excluded ASes, against what a crawl says of each address."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.exclusions import Exclusion, Exclusions
from smtpsurvey.admission.optout import parse_entry
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE
from smtpsurvey.outcomes import Reason
from smtpsurvey.targets.sieve import REASONS, Sieve, read_sieve

if TYPE_CHECKING:
    from pathlib import Path

ALLOW = [ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16")]
OPT_OUT = ("9.9.9.0/24", "10.1.2.0/24", "8.8.8.8", "127.0.0.9", "2001:4860::/32", "example.org")
ENTRIES = [entry for text in OPT_OUT if (entry := parse_entry(text, "test", with_as_map=False))]
EDGES = [
    int(net[at]) + more
    for entry in (*SPECIAL_PURPOSE, *ENTRIES)
    if not isinstance(net := entry.subject, int | str) and net.version == 4
    for at in (0, -1)
    for more in (-1, 0, 1)
    if 0 <= int(net[at]) + more < 2**32
]


@given(st.lists(st.integers(0, 2**32 - 1) | st.sampled_from(EDGES), min_size=1))
def test_an_address_has_the_reason_that_it_has_in_a_crawl(numbers: list[int]) -> None:
    sieve, crawl = Sieve(ALLOW, ENTRIES), Exclusions(SPECIAL_PURPOSE, ALLOW, ENTRIES)
    expected: list[Exclusion | None] = [crawl.of_target(str(IPv4Address(number)), None) for number in numbers]
    reasons = [found.reason if found else None for found in expected]
    assert [REASONS[code] for code in sieve.codes(np.array(numbers, np.uint32)).tolist()] == reasons
    assert [sieve.of_address(str(IPv4Address(number))) for number in numbers] == reasons


@pytest.mark.parametrize(
    ("name", "out"),
    [("example.org", True), ("mx.example.org", True), ("anexample.org", False), ("org", False), ("", False)],
)
def test_a_domain_opts_out_with_every_name_below_it(name: str, out: bool) -> None:  # noqa: FBT001 -- a parameter
    assert Sieve(optout=ENTRIES).of_name(name) == (Reason.OPT_OUT if out else None)
    assert Sieve().of_name(name) is None


def test_spans_are_what_is_left() -> None:
    sieve = Sieve(ALLOW, ENTRIES)
    spans = sieve.spans()
    ends = np.array([end for span in spans for end in span], np.uint32)
    assert not sieve.codes(ends).any()
    outside = [first - 1 for first, _ in spans if first] + [last + 1 for _, last in spans if last < 2**32 - 1]
    assert sieve.codes(np.array(outside, np.uint32)).all()
    assert sum(last - first + 1 for first, last in Sieve().spans()) == 3_702_257_664


def test_excluded_ases_are_what_the_map_says_they_announce(tmp_path: Path) -> None:
    writer = MMDBWriter(6, "AS", ipv4_compatible=True)
    routes = {"9.0.0.0/8": [64500], "9.2.0.0/16": [64502], "9.3.0.0/16": [64503, 64500], "2001:4860::/32": [64500]}
    for prefix, origins in routes.items():
        record = {"autonomous_system_number": origins[0], "prefix": prefix, "origins": origins}
        writer.insert_network(IPSet([prefix]), record)
    writer.to_db_file(str(tmp_path / "as.mmdb"))
    (tmp_path / "out").write_text("AS64500 # mail of yesterday\n9.1.0.1\n", "ascii")
    sieve = read_sieve([], [str(tmp_path / "out")], str(tmp_path / "as.mmdb"))
    told = {ip: sieve.of_address(ip) for ip in ("9.0.0.1", "9.2.0.1", "9.3.0.1", "9.1.0.1", "8.8.8.8", "2001:4860::1")}
    assert told == {
        "9.0.0.1": Reason.AS,
        "9.2.0.1": None,
        "9.3.0.1": Reason.AS,
        "9.1.0.1": Reason.OPT_OUT,
        "8.8.8.8": None,
        "2001:4860::1": Reason.AS,
    }


def test_what_cannot_be_honoured_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("AS64500\n", "ascii")
    with pytest.raises(AdmissionError, match=r"out:1: .* without an AS map"):
        read_sieve([], [str(tmp_path / "out")], "")
    with pytest.raises(AdmissionError, match="SMTPSURVEY_ALLOW"):
        read_sieve(["10.0.0.1/8"], [], "")
