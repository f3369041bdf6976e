"""Who runs a domain's mail, by the best evidence there is."""

from __future__ import annotations

from collections import Counter

import pytest

from smtpsurvey.analysis.providers import SELF, Provider, Seen, choose, is_default_name, known, provider, providers


def registrable(name: str) -> str | None:
    labels = name.split(".")
    return ".".join(labels[-2:]) if len(labels) > 1 else None


def of(
    domain: str, *, certificate: tuple[str, ...] = (), host: str | None = None, exchange: str | None = None
) -> Provider:
    return provider(domain, Seen("192.0.2.33", certificate, host, exchange), registrable)


def test_the_certificate_before_the_host_before_the_exchange() -> None:
    everything = {
        "certificate": ("mx.google.com", "x.example"),
        "host": "mail.protection.outlook.com",
        "exchange": "mx.zoho.com",
    }
    assert of("a.example", **everything) == ("Google", "certificate", "mx.google.com")
    assert of("a.example", host="ab.mail.protection.outlook.com", exchange="mx.zoho.com") == (
        "Microsoft",
        "host",
        "ab.mail.protection.outlook.com",
    )
    assert of("a.example", exchange="mx.zoho.com") == ("Zoho", "mx", "mx.zoho.com")


def test_a_customers_name_for_the_exchange_hides_nobody() -> None:
    assert of("shop.example", host="mx1.hoster.test", exchange="mail.shop.example") == (
        "hoster.test",
        "host",
        "mx1.hoster.test",
    )
    assert of("shop.example", certificate=("*.emailsrvr.com",), exchange="mail.shop.example").name == "Rackspace"


def test_ones_own_names_are_self_hosted() -> None:
    assert of(
        "shop.example", certificate=("mail.shop.example",), host="mail.shop.example", exchange="mail.shop.example"
    ) == (
        SELF,
        "none",
        None,
    )
    assert of("shop.example", host="localhost").name == SELF


@pytest.mark.parametrize(
    "name",
    [
        "ip-192-0-2-33.landlord.test",
        "vps123.landlord.test",
        "33.2.0.192.static.landlord.test",
        "host-2-33.landlord.test",
        "v192-033.landlord.test",
        "server7.landlord.test",
        "x.clients.landlord.test",
        "ec2-192-0-2-33.compute-1.landlord.test",
    ],
)
def test_a_landlords_name_for_a_rented_host_is_not_the_provider(name: str) -> None:
    assert is_default_name(name, "192.0.2.33")
    assert of("shop.example", host=name).name == SELF


def test_names_with_a_number_are_not_all_default() -> None:
    assert not is_default_name("mx2.hoster.test", "192.0.2.33")
    assert not is_default_name("mx.hoster.test", "2001:db8::33")
    assert not is_default_name("mail33.hoster.test", "192.0.2.33")


def test_the_first_server_that_says_somebody_else() -> None:
    own, other = Provider(SELF, "none", None), Provider("Google", "mx", "mx.google.com")
    assert choose([own, other]) == other
    assert choose([own]) == own
    assert choose([]) is None


def test_the_table() -> None:
    domains = Counter(
        {Provider("Google", "mx", "a"): 3, Provider("Google", "certificate", "b"): 4, Provider(SELF, "none", None): 3}
    )
    assert providers(domains).rows == (("Google", 7, 0.7, 4, 0, 3), (SELF, 3, 0.3, 0, 0, 0))


def test_the_data_has_sources_and_no_name_twice() -> None:
    assert len(known()) > 30
    assert all(name == name.lower().strip(".") for name in known())
