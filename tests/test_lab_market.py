"""The market data of the lab."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from smtpsurvey.lab.market import MarketError, load_market

if TYPE_CHECKING:
    from pathlib import Path

PRODUCT = """
[[product]]
vendor = "Example"
product = "Example MTA"
weight = 1
greeting = ["220 {host} ESMTP Example {version}"]
ehlo = ["{host}", "SIZE 1000"]
starttls_reply = ["220 go"]
quit = ["221 bye"]
unknown = ["500 what"]
starttls = 0.5
tls = { "TLSv1.2" = 1.0 }
delay = 0
"""


def test_market_has_the_breadth_and_the_skew_of_the_real_one() -> None:
    weights: Counter[str] = Counter()
    for product in load_market():
        weights[product.product] += product.weight
    total = weights.total()
    assert len(weights) >= 25
    assert weights["Postfix"] / total == pytest.approx(0.34, abs=0.04)
    assert weights["Exim"] / total == pytest.approx(0.29, abs=0.04)
    assert weights["Exchange Server"] / total == pytest.approx(0.09, abs=0.02)


def test_every_reply_has_its_code_and_fits_the_protocol() -> None:
    for product in load_market():
        for reply, codes in (
            (product.greeting, {"220"}),
            ((product.hidden,), {"220"}),
            (product.starttls_reply, {"220"}),
            (product.quit, {"221"}),
            (product.unknown, {"500", "502", "503"}),
        ):
            assert {line[:3] for line in reply} <= codes
            assert reply[-1][3] == " "
            assert all(len(line) < 512 for line in reply)
        assert product.starttls == 0 or "STARTTLS" in product.ehlo
        assert product.product not in product.hidden
        assert product.vendor not in product.hidden
        assert not product.shows_version or product.versions


def test_own_market_replaces_the_builtin_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(PRODUCT, encoding="utf-8")
    (product,) = load_market(file)
    assert (product.vendor, product.product, product.shows_version) == ("Example", "Example MTA", True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "product"),
        ("product = []", "no product"),
        ("[[product]]\n", "vendor"),
        ("non\nsense", "line 1"),
        (PRODUCT.replace("{host} ESMTP", "{hots} ESMTP"), "unknown placeholder 'hots'"),
        (PRODUCT.replace("TLSv1.2", "SSLv3"), "unknown TLS version SSLv3"),
        (PRODUCT.replace('tls = { "TLSv1.2" = 1.0 }', "tls = {}"), "says no TLS version"),
        (PRODUCT.replace("weight = 1", "weight = -1"), "out of range"),
        (PRODUCT.replace("delay = 0", "delay = 0\ncolour = 1"), "colour"),
        (PRODUCT.replace('["{host}", "SIZE 1000"]', "[]"), "no EHLO reply"),
    ],
)
def test_bad_market_is_one_clear_line_that_names_the_file(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(MarketError) as error:
        load_market(file)
    assert str(error.value).startswith(f"{file}: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_market_says_so(tmp_path: Path) -> None:
    with pytest.raises(MarketError, match="No such file"):
        load_market(tmp_path / "none.toml")
