"""The AS map reads the field's MMDB files, ours and other people's, and survives broken ones."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from smtpsurvey.admission import AdmissionError
from smtpsurvey.admission.asmap import UNKNOWN, Announcement, AsMap, AsMapError, Details
from smtpsurvey.admission.asmap_build import write_map
from smtpsurvey.admission.delegated import Holding

if TYPE_CHECKING:
    from pathlib import Path


def map_of(path: Path, records: dict[str, Any], *, version: int = 6) -> AsMap:
    writer = MMDBWriter(version, "test", ipv4_compatible=version == 6)
    for cidr, record in records.items():
        writer.insert_network(IPSet([cidr]), record)
    writer.to_db_file(str(path / "test.mmdb"))
    return AsMap(path / "test.mmdb")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        # GeoLite2-ASN, DB-IP ASN lite
        (
            {"autonomous_system_number": 64500, "autonomous_system_organization": "Example"},
            Announcement(64500, "9.2.0.0/16", None, (64500,)),
        ),
        # IPinfo lite
        (
            {"asn": "AS64500", "as_name": "Example", "country": "Australia", "country_code": "AU"},
            Announcement(64500, "9.2.0.0/16", "AU", (64500,)),
        ),
        # IPinfo ASN
        ({"asn": "AS64500", "country": "AU"}, Announcement(64500, "9.2.0.0/16", "AU", (64500,))),
        # GeoLite2-Country
        ({"country": {"iso_code": "AU", "geoname_id": 2077456}}, Announcement(None, "9.2.0.0/16", "AU", ())),
        # ours
        (
            {"autonomous_system_number": 64500, "prefix": "9.0.0.0/8", "origins": [64500, 64501]},
            Announcement(64500, "9.0.0.0/8", None, (64500, 64501)),
        ),
    ],
)
def test_files_of_others_and_ours_are_read_as_they_are(
    tmp_path: Path, record: dict[str, Any], expected: Announcement
) -> None:
    assert map_of(tmp_path, {"9.2.0.0/16": record}).lookup("9.2.3.4") == expected


def test_an_address_outside_all_prefixes_is_unknown(tmp_path: Path) -> None:
    as_map = map_of(tmp_path, {"9.2.0.0/16": {"autonomous_system_number": 1}})
    assert as_map.lookup("9.3.0.0") == UNKNOWN
    assert as_map.lookup("2a00::1") == UNKNOWN


@pytest.mark.parametrize("version", [4, 6])
def test_a_map_of_one_family_is_asked_for_both(tmp_path: Path, version: int) -> None:
    cidr, inside = ("9.2.0.0/16", "9.2.3.4") if version == 4 else ("2a00:1::/32", "2a00:1::1")
    as_map = map_of(tmp_path, {cidr: {"autonomous_system_number": 64500}}, version=version)
    assert as_map.lookup(inside) == Announcement(64500, cidr, None, (64500,))
    assert as_map.lookup("2a00:2::1") == UNKNOWN
    assert as_map.lookup("8.8.8.8") == UNKNOWN


@pytest.mark.parametrize(
    "record",
    [
        {"autonomous_system_number": "many"},
        {"autonomous_system_number": 2**32},
        {"autonomous_system_number": 0},
        {"autonomous_system_number": [64500]},
        {"autonomous_system_number": 1.5},
        {"asn": ""},
        {"asn": "AS" + "9" * 5000},
        {"asn": "64500 Example"},
        {"country": "Australia"},
        {"country": {"iso_code": 7}},
        {"country_code": 7, "prefix": 7, "origins": 7},
        {},
    ],
)
def test_a_record_of_a_strange_shape_says_nothing(tmp_path: Path, record: dict[str, Any]) -> None:
    assert map_of(tmp_path, {"9.2.0.0/16": record}).lookup("9.2.3.4") == Announcement(None, "9.2.0.0/16", None, ())


def test_strange_origins_are_left_out(tmp_path: Path) -> None:
    as_map = map_of(tmp_path, {"9.2.0.0/16": {"asn": 64500, "origins": ["x", 64500, "AS64501", 0]}})
    assert as_map.lookup("9.2.3.4").origins == (64500, 64501)
    as_map = map_of(tmp_path, {"9.2.0.0/16": {"asn": 64500, "origins": "AS64501"}})
    assert as_map.lookup("9.2.3.4").origins == (64500,)


@pytest.mark.parametrize("record", ["AS64500", [64500], 64500])
def test_a_record_that_is_no_map_is_unknown(tmp_path: Path, record: Any) -> None:
    assert map_of(tmp_path, {"9.2.0.0/16": record}).lookup("9.2.3.4") == UNKNOWN


@pytest.mark.parametrize("content", [None, b"", b"not an MMDB file" * 10])
def test_a_file_that_is_no_map_is_told_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "as.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AsMapError) as caught:
        AsMap(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, AdmissionError)


def test_a_corrupt_record_is_told_in_one_line_and_is_not_unknown(tmp_path: Path) -> None:
    map_of(tmp_path, {"9.2.0.0/16": {"autonomous_system_number": 64500}})
    path = tmp_path / "test.mmdb"
    data = path.read_bytes()
    key = data.index(b"autonomous_system_number")
    # A pointer far outside the file, where the key was.
    path.write_bytes(data[: key - 2] + b"\x3f\xff\xff\xff\xff" + data[key + 3 :])
    with pytest.raises(AsMapError, match=r"test\.mmdb: "):
        AsMap(path).lookup("9.2.3.4")


def test_the_announced_prefix_is_told_although_more_specifics_cut_into_it(tmp_path: Path) -> None:
    out = tmp_path / "as.mmdb"
    write_map({ip_network("9.0.0.0/8"): (64500,), ip_network("9.2.0.0/16"): (64501,)}, str(out))
    assert AsMap(out).lookup("9.3.0.1") == Announcement(64500, "9.0.0.0/8", None, (64500,))
    assert AsMap(out).lookup("9.2.0.1") == Announcement(64501, "9.2.0.0/16", None, (64501,))


def test_details_keep_as_sets_together_and_name_the_holder(tmp_path: Path) -> None:
    record = {"autonomous_system_number": 1, "origins": [1, [2, 3], 4], "holder": "apnic:A91872ED"}
    as_map = map_of(tmp_path, {"9.2.0.0/16": record})
    assert as_map.details("9.2.0.1") == Details((1, (2, 3), 4), "apnic:A91872ED")
    assert as_map.lookup("9.2.0.1").origins == (1, 2, 3, 4)
    assert as_map.details("9.3.0.1") == as_map.details("2a00::1") == Details((), None)
    assert map_of(tmp_path, {"9.2.0.0/16": {"asn": "AS7"}}).details("9.2.0.1") == Details((7,), None)


@pytest.mark.parametrize("origins", ["AS1", [], [[]], [["x", [1]]], ["x"], [[[2]]], {"a": 1}])
def test_details_of_a_strange_shape_say_nothing(tmp_path: Path, origins: Any) -> None:
    details = map_of(tmp_path, {"9.2.0.0/16": {"asn": 1, "origins": origins, "holder": 7}}).details("9.2.0.1")
    assert details.holder is None
    assert details.origins in {(), (1,)}


def test_in_a_map_of_ours_what_is_held_but_not_announced_has_no_prefix(tmp_path: Path) -> None:
    out = tmp_path / "as.mmdb"
    write_map({ip_network("9.2.0.0/16"): (1,)}, str(out), {ip_network("9.0.0.0/8"): Holding("AU", "apnic:A9")})
    assert AsMap(out).lookup("9.1.0.1") == Announcement(None, None, "AU", ())
    assert AsMap(out).lookup("9.2.0.1") == Announcement(1, "9.2.0.0/16", "AU", (1,))
    assert AsMap(out).details("9.1.0.1") == Details((), "apnic:A9")
