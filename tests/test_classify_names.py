"""The one table of names: aliases, versions that sort and group, releases, CPE."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.classify import names
from smtpsurvey.classify.names import Name
from smtpsurvey.classify.rules import read_rules

DATA = files("smtpsurvey.classify") / "data"
TABLE = tomllib.loads((DATA / "names.toml").read_text("utf-8"))
PRODUCTS = {(row["vendor"], row["product"]) for row in TABLE["products"]}
BUILTIN = {(origin.rule.vendor, origin.rule.product) for origin in read_rules("builtin")}


@pytest.mark.parametrize(
    ("vendor", "product", "expected"),
    [
        ("Postfix", "Postfix", ("Postfix", "Postfix")),
        (None, "Postfix smtpd", ("Postfix", "Postfix")),
        (None, "postfix", ("Postfix", "Postfix")),
        ("University of Cambridge", "Exim", ("Exim", "Exim")),
        (None, "Exim smtpd", ("Exim", "Exim")),
        ("Microsoft", "IIS", ("Microsoft", "IIS SMTP Service")),
        (None, "Microsoft ESMTP", ("Microsoft", "IIS SMTP Service")),
        ("Microsoft Corporation", "exchange-server", ("Microsoft", "Exchange Server")),
        (None, "Microsoft Exchange smtpd", ("Microsoft", "Exchange Server")),
        ("Alt-N", "MDaemon", ("MDaemon Technologies", "MDaemon")),
        ("IBM", "Lotus Domino", ("HCL", "Domino")),
        (None, "Lotus Domino smtpd", ("HCL", "Domino")),
        ("Broadcom", "Messaging Gateway", ("Symantec", "Messaging Gateway")),
        ("Stalker", "Communigate Pro", ("CommuniGate Systems", "CommuniGate Pro")),
        ("Netscape", "Messaging Server", ("Netscape", "Messaging Server")),
        ("Critical Path", "Messaging Server", ("Critical Path", "Messaging Server")),
        # Which of the two, nobody says.
        (None, "Messaging Server", (None, "Messaging Server")),
        # A name that another vendor uses too is no alias.
        ("Acme", "Email Security", ("Acme", "Email Security")),
        ("Acme", "IIS", ("Acme", "IIS")),
        ("Alt-N Technologies", "SecurityGateway", ("MDaemon Technologies", "SecurityGateway")),
        (None, "Something Else", (None, "Something Else")),
        (None, "", (None, "")),
    ],
)
def test_each_product_has_one_name(vendor: str | None, product: str, expected: tuple[str | None, str]) -> None:
    assert names.canonical(vendor, product) == expected


@pytest.mark.parametrize(("vendor", "product"), sorted(PRODUCTS | BUILTIN))
def test_the_one_name_is_its_own(vendor: str, product: str) -> None:
    assert names.canonical(vendor, product) == (vendor, product)


def test_the_table_is_about_products_that_the_builtin_rules_know() -> None:
    assert PRODUCTS <= BUILTIN
    assert {row["base"] for row in TABLE["products"] if "base" in row} <= {product for _, product in PRODUCTS | BUILTIN}
    assert {vendor for vendor in TABLE["vendors"] if vendor not in {vendor for vendor, _ in BUILTIN}} == set()


def test_a_product_is_based_on_itself_and_on_what_it_is_made_of_however_far() -> None:
    assert names.based_on("Postfix", "Postfix")
    assert names.based_on("Zimbra Collaboration", "Postfix")
    assert names.based_on("Postfix", "Zimbra Collaboration")
    assert names.based_on("VisNetic MailServer", "IceWarp")
    assert not names.based_on("mailcow", "Zimbra Collaboration")
    assert not names.based_on("Postfix", "Nobody's")


@pytest.mark.parametrize(("text", "expected"), [("Debian/GNU", "Debian"), ("SunOS", "Solaris"), ("AIX5.3", "AIX5.3")])
def test_operating_systems_have_one_name(text: str, expected: str) -> None:
    assert names.operating_system(text) == expected


@pytest.mark.parametrize(
    ("product", "version", "expected"),
    [
        ("Exim", "4.97.1", "4.9x"),
        ("Exim", "4.84_2", "4.8x"),
        ("Exim", "4.100", "4.10x"),
        ("Exim", "3.36", "3.3x"),
        ("Exim", "4.9", "4.9"),
        ("Exim", "4", "4"),
        ("Exim", "devel", "devel"),
        ("Postfix", "3.7.11", "3.7"),
        ("Postfix", "3.10-20241015", "3.10"),
        ("Sendmail", "8.17.1.9", "8.17"),
        ("MDaemon", "23.5.2", "23"),
        ("Exchange Server", "15.2.1118.7", "2019"),
        ("Exchange Server", "15.1.2507.6", "2016"),
        ("Exchange Server", "5.5.2653.13", "5.5"),
        ("Exchange Server", "15.9.1.1", "15.9.1.1"),
        ("Something Else", "1.2.3", "1.2"),
        ("Something Else", "1234567890", "1234567890"),
        ("Something Else", "", ""),
    ],
)
def test_versions_group_into_families(product: str, version: str, expected: str) -> None:
    assert names.family(product, version) == expected


@pytest.mark.parametrize(
    "versions",
    [
        ("4.90_1", "4.96", "4.96.2", "4.97-RC1", "4.97", "4.97.1", "4.100"),
        ("3.9.1", "3.10-20241015", "3.10", "3.10.1"),
        ("8.12.11", "8.12.11.20060308", "8.12.12"),
        ("9.0.1", "9.0.1FP10", "9.0.1FP10 HF197", "9.0.2"),
        ("4.0", "5.0", "5.0r8", "5.1c2"),
        ("2.0 beta 2", "2.0rc1", "2.0"),
        ("", "0", "1"),
    ],
)
def test_versions_sort(versions: tuple[str, ...]) -> None:
    keys = [names.sort_key(version) for version in versions]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@given(st.lists(st.text()), st.text())
def test_any_text_sorts_and_has_a_family(versions: list[str], product: str) -> None:
    assert len(sorted(versions, key=names.sort_key)) == len(versions)
    for version in versions:
        assert len(names.family(product, version)) <= len(version)
        assert names.family("Exim", version) or not version


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("4.0.994.63", "4.0 SP3"),
        ("5.5.2653.13", "5.5 SP4"),
        ("6.0.6249.0", "2000 SP3"),
        ("6.5.7638.1", "2003 SP2"),
        ("8.3.83.6", "2007 SP3"),
        ("08.03.0083.006", "2007 SP3"),
        ("14.3.123.4", "2010 SP3"),
        ("14.3.513.0", "2010 SP3 RU32"),
        ("15.0.847.32", "2013 SP1"),
        ("15.0.1497.48", "2013 CU23"),
        ("15.1.2507.39", "2016 CU23"),
        ("15.2.1748.10", "2019 CU15"),
        ("15.2.2562.17", "SE RTM"),
        ("15.20.7025.10", None),
        ("6.0.3790.4675", None),
        ("15.2", None),
        ("none", None),
    ],
)
def test_exchange_builds_have_the_names_of_their_releases(version: str, expected: str | None) -> None:
    assert names.release("Exchange Server", version) == expected


def test_windows_is_known_by_the_version_of_its_smtp_service() -> None:
    assert names.release("IIS SMTP Service", "10.0.17763.1", "os") == "Windows Server 2019"
    assert names.release("IIS SMTP Service", "10.0.17763.1") is None
    assert names.release("Postfix", "3.7.11") is None


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        (("Exim", "Exim"), "4.96", "a:exim:exim:4.96:*"),
        (("Exim", "Exim"), "4.97-RC1", "a:exim:exim:4.97:rc1"),
        (("Exim", "Exim"), "4.94.2-58-g1b6a0f5a", "a:exim:exim:4.94.2-58-g1b6a0f5a:*"),
        (("Postfix", "Postfix"), None, "a:postfix:postfix:*:*"),
        (("HCL", "Domino"), "12.0.2FP3", "a:ibm:lotus_domino:12.0.2:fp3"),
        (("HCL", "Domino"), "9.0.1 é:*", "a:ibm:lotus_domino:9.0.1__\\:\\*:*"),
        (("Cisco", "PIX"), None, "o:cisco:pix_firewall_software:*:*"),
        (("Microsoft", "Exchange Server"), "15.2.1118.7", "a:microsoft:exchange_server:2019:cumulative_update_12"),
        (("Microsoft", "Exchange Server"), "14.3.513.0", "a:microsoft:exchange_server:2010:sp3"),
        (("Microsoft", "Exchange Server"), "15.1.225.42", "a:microsoft:exchange_server:2016:-"),
        (("Microsoft", "Exchange Server"), "15.2.2562.17", "a:microsoft:exchange_server:*:*"),
        (("Microsoft", "Exchange Server"), "99.1.2.3", "a:microsoft:exchange_server:*:*"),
    ],
)
def test_products_have_the_cpe_of_nvds_dictionary(name: tuple[str, str], version: str | None, expected: str) -> None:
    assert names.cpe(Name(*name), version) == f"cpe:2.3:{expected}:*:*:*:*:*:*"


@pytest.mark.parametrize("name", [(None, "Exim"), ("Acme", "Exim"), ("Courier", "Courier"), ("Acme", "Acme")])
def test_a_product_that_has_no_cpe_gets_none(name: tuple[str | None, str]) -> None:
    assert names.cpe(Name(*name), "1.0") is None


@given(st.text())
def test_a_cpe_is_well_formed_whatever_the_version(version: str) -> None:
    text = names.cpe(Name("Exim", "Exim"), version)
    assert text is not None
    component = r"(?:\\[!-~]|[a-z0-9._-])+|[*-]"
    assert re.fullmatch(rf"cpe:2\.3:[aho](?::(?:{component})){{10}}", text)


@pytest.mark.parametrize("version", ["", "-", "*", "..."])
def test_what_is_no_version_is_any_version(version: str) -> None:
    assert names.cpe(Name("Exim", "Exim"), version) == "cpe:2.3:a:exim:exim:*:*:*:*:*:*:*:*"


def test_every_cpe_and_every_build_of_the_tables_is_well_formed() -> None:
    for row in TABLE["products"]:
        assert re.fullmatch(r"[aho]:[a-z0-9_-]+:[a-z0-9_-]+", row.get("cpe", "a:b:c"))
    for table in tomllib.loads((DATA / "releases.toml").read_text("utf-8"))["tables"]:
        assert table["source"]
        assert all(re.fullmatch(r"\d+\.\d+\.[1-9]\d*", build) for build in table["builds"])


def test_other_tables_would_give_another_version_of_the_rules() -> None:
    assert names.digest() == names.digest()
    assert len(names.digest()) == 32
