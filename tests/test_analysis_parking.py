"""Parked domains by their signs, and the estimate for a zone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.analysis.parking import Page, Parking, licence_table, licences, parked, parking, services

HOME = "shop.example"


def page(status: int | None = 200, location: str | None = None, body: str = "", **names: tuple[str, ...]) -> Page:
    return Page(HOME, status, location, body, **names)


@pytest.mark.parametrize(
    ("what", "sign"),
    [
        (page(302, "http://shop.example/?fp=a1b2c3"), Parking(None, "redirect_to_identifier")),
        (page(302, "/xk3j9"), Parking(None, "redirect_to_identifier")),
        (
            page(301, "https://www.hugedomains.com/domain_profile.cfm?d=shop.example"),
            Parking("HugeDomains", "redirect_to_host"),
        ),
        (page(body='<script src="//img.sedoparking.com/x.js"></script>'), Parking("Sedo", "page")),
        (page(body="<iframe src='http://shop.parkingcrew.net/'>"), Parking("ParkingCrew", "page")),
        (page(None, name_servers=("ns1.bodis.com",)), Parking("Bodis", "name_servers")),
        (page(name_servers=("NS1.Above.com.",)), Parking("Above", "name_servers")),
    ],
)
def test_signs(what: Page, sign: Parking) -> None:
    assert parking(what) == sign


@pytest.mark.parametrize(
    "what",
    [
        page(),
        page(None),
        page(302, "https://shop.example/a/long/path/to/the/start/page.html"),
        page(301, "http://shop.example/start"),  # permanent: a site that moved its start
        page(302, "https://other.example/abc"),
        page(302, "http://[broken/abc"),
        page(body='<a href="http://www.sedo.com/">sell it at Sedo</a><script src="https://cdn.example/x.js"></script>'),
        page(name_servers=("ns1.hoster.example",), exchanges=("mx.hoster.example",)),
    ],
)
def test_no_signs(what: Page) -> None:
    assert parking(what) is None


def test_licences_are_those_of_rel() -> None:
    body = (
        '<a rel="license nofollow" href=" https://creativecommons.org/licenses/by/4.0/ ">CC</a>'
        '<link rel=LICENSE href="x">'
        '<a rel="license">none</a><a href="https://creativecommons.org/">no rel</a><a rel=license href="x">twice</a>'
    )
    assert licences(body) == ["https://creativecommons.org/licenses/by/4.0/", "x"]
    assert len(licences("".join(f'<a rel=license href="{n}">' for n in range(50)))) == 10
    assert licence_table(Counter({"x": 2, "y": 1}), 4).rows == (("x", 2, 0.5), ("y", 1, 0.25))


@given(st.text(), st.text(), st.integers())
def test_any_page_is_judged(location: str, body: str, status: int) -> None:
    parking(page(status, location, body))
    licences(body)


def test_the_table_and_the_zone() -> None:
    # 714,455 parked of 1,087,885 fetched, as in 2009: of a zone of 12.1 million about 7.95 million
    found = Counter({Parking(None, "redirect_to_identifier"): 6, Parking("Sedo", "page"): 2, None: 2})
    table = parked(found, {"com": (12_105_000, 1_087_885, 714_455), "net": (1000, 0, 0)})
    assert table.rows[:3] == (
        ("sign", "redirect_to_identifier", None, 6, 0.6, None, None),
        ("sign", "page", "Sedo", 2, 0.2, None, None),
        ("all", None, None, 8, 0.8, None, None),
    )
    (zone,) = table.rows[3:]
    assert zone[:3] == ("zone", "com", None)
    assert zone[3] == pytest.approx(7_949_809, abs=1)
    assert zone[5] == pytest.approx(7_949_809 - 10_802, abs=60)
    assert zone[6] == pytest.approx(7_949_809 + 10_802, abs=60)


def test_the_data() -> None:
    assert "sedoparking.com" in services()["hosts"]
    assert all(name == name.lower().strip(".") for names in services().values() for name in names)
