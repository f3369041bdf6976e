"""The arguments about TLS, alone and together."""

from __future__ import annotations

import certifi
import pytest

from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import TlsSecond
from smtpsurvey.probe.handshakes import Handshakes
from smtpsurvey.smtp.certificate import Examiner
from smtpsurvey.smtp.tls import TlsPipe


def read(tls: str = "1", sni: str = "1", connections: str = "1") -> Handshakes:
    return Handshakes.read(tls=tls, sni=sni, connections=connections)


@pytest.mark.parametrize(
    ("arguments", "read_as"),
    [
        ({}, Handshakes()),
        ({"tls": "0"}, Handshakes(starttls=False)),
        ({"sni": "0"}, Handshakes(sni=False)),
        ({"tls": "legacy"}, Handshakes(legacy=True)),
        ({"tls": "legacy", "connections": "2"}, Handshakes(legacy=True, second=TlsSecond.DEPRECATED)),
        ({"sni": "both", "connections": "2"}, Handshakes(second=TlsSecond.NO_NAME)),
        ({"tls": "legacy", "sni": "both", "connections": "2"}, Handshakes(legacy=True, second=TlsSecond.NO_NAME)),
    ],
)
def test_what_is_asked_for(arguments: dict[str, str], read_as: Handshakes) -> None:
    assert read(**arguments) == read_as


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tls": "2"}, "tls='2' is none of 0, 1, legacy"),
        ({"sni": "yes"}, "sni='yes' is none of 0, 1, both"),
        ({"connections": "3"}, "connections='3' is none of 1, 2"),
        (
            {"sni": "both"},
            "sni=both needs STARTTLS, and a second connection to each server: allow it with connections=2",
        ),
        ({"sni": "both", "tls": "0", "connections": "2"}, "sni=both needs STARTTLS"),
        ({"connections": "2"}, "connections=2 has nothing to ask: it goes with sni=both, or with tls=legacy"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(SurveyError) as error:
        read(**arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_clients_of_the_connections() -> None:
    examiner = Examiner(certifi.where())
    (one,) = Handshakes(sni=False).clients(examiner, 1)
    assert one.sni is False
    first, second = Handshakes(second=TlsSecond.NO_NAME).clients(examiner, 1)
    assert (first.sni, second.sni) == (True, False)


def test_the_second_client_of_a_legacy_survey_offers_less_than_the_first() -> None:
    examiner = Examiner(certifi.where())
    clients = Handshakes(legacy=True, second=TlsSecond.DEPRECATED).clients(examiner, 1)
    hellos = [TlsPipe(client, None, b"").begin() for client in clients]
    assert [hello[9:11] for hello in hellos] == [b"\3\3", b"\3\2"]  # legacy_version of TLS 1.3, and 1.1
