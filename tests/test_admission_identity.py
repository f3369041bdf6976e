"""Who we are: what counts as a name and a contact, and who may be probed without."""

from __future__ import annotations

import pytest

from smtpsurvey.admission.identity import LOOPBACK_HELO, Identity, IdentityError, is_loopback
from smtpsurvey.items import Target

NAME, CONTACT = "survey.example.org", "https://survey.example.org/"
HERE, ABROAD = Target("127.0.0.1"), Target("192.0.2.1")


@pytest.mark.parametrize(
    "helo", ["survey.example.org", "a.bc", "x-1.example", "1.2.3.example", "a." + "b" * 63 + ".org"]
)
def test_full_names_are_taken(helo: str) -> None:
    assert Identity(helo, CONTACT).helo == helo


@pytest.mark.parametrize(
    "helo",
    [
        "survey",
        "192.0.2.1",
        "[192.0.2.1]",
        "-a.example",
        "a-.example",
        "a..example",
        "a.example.",
        "a b.example",
        "ä.example",
        "a.example\r\nRCPT TO:<x>",
        "a.example\n",
        "a." + "b" * 64 + ".org",
        ".".join(["a" * 60] * 5),
    ],
)
def test_other_names_are_refused_with_what_to_do(helo: str) -> None:
    with pytest.raises(IdentityError, match="is no fully qualified host name: say who you are: -s SMTPSURVEY_HELO="):
        Identity(helo, CONTACT)


@pytest.mark.parametrize(
    "contact", ["https://survey.example.org/", "http://example.org", "abuse@example.org", "mailto:abuse@example.org"]
)
def test_urls_and_addresses_are_contacts(contact: str) -> None:
    assert Identity(NAME, contact).complete


@pytest.mark.parametrize(
    "contact", ["me", "https://", "ftp://example.org", "a@b", "a b@example.org", "a@example.org\n"]
)
def test_other_contacts_are_refused(contact: str) -> None:
    with pytest.raises(IdentityError, match="is no URL or mail address"):
        Identity(NAME, contact)


@pytest.mark.parametrize(("helo", "contact"), [(None, None), (NAME, None), (None, CONTACT), ("", "")])
def test_without_both_only_loopback_may_be_probed(helo: str | None, contact: str | None) -> None:
    identity = Identity(helo, contact)
    assert not identity.complete
    identity.admit(HERE)
    with pytest.raises(IdentityError, match=r"192\.0\.2\.1 is not a loopback address"):
        identity.admit(ABROAD)


def test_with_both_everybody_may_be_probed() -> None:
    Identity(NAME, CONTACT).admit(ABROAD)


def test_loopback_says_a_name_of_its_own() -> None:
    assert Identity(None, None).helo == LOOPBACK_HELO


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.255.255.255", "::1"])
def test_loopback_addresses(ip: str) -> None:
    assert is_loopback(ip)


@pytest.mark.parametrize("ip", ["128.0.0.1", "12.7.0.1", "::2", "::ffff:192.0.2.1", "fe80::1", "0.0.0.0", "::"])
def test_other_addresses(ip: str) -> None:
    assert not is_loopback(ip)
