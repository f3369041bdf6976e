"""Stapled OCSP responses made by another hand than the one that reads them in the survey."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.outcomes import Staple
from smtpsurvey.smtp.staple import read_staple

NOW = datetime(2026, 11, 25, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name.from_rfc4514_string("CN=ca.example")
CERTIFICATE = (
    x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 1, NOW - DAY, NOW + DAY)
    .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    .sign(KEY, SHA256())
)


def response(status: ocsp.OCSPCertStatus, until: datetime | None) -> bytes:
    revoked = NOW - DAY if status is ocsp.OCSPCertStatus.REVOKED else None
    builder = ocsp.OCSPResponseBuilder().add_response(
        CERTIFICATE, CERTIFICATE, SHA256(), status, NOW - DAY, until, revoked, None
    )
    made = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, CERTIFICATE).sign(KEY, SHA256())
    return made.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("status", "until", "read"),
    [
        (ocsp.OCSPCertStatus.GOOD, NOW + DAY, Staple.GOOD),
        (ocsp.OCSPCertStatus.GOOD, None, Staple.GOOD),
        (ocsp.OCSPCertStatus.GOOD, NOW - timedelta(seconds=1), Staple.EXPIRED),
        (ocsp.OCSPCertStatus.REVOKED, NOW + DAY, Staple.REVOKED),
        (ocsp.OCSPCertStatus.UNKNOWN, NOW + DAY, Staple.UNKNOWN),
    ],
)
def test_what_a_response_says(status: ocsp.OCSPCertStatus, until: datetime | None, read: Staple) -> None:
    assert read_staple(response(status, until), NOW.timestamp()) is read


def test_an_error_in_place_of_a_response() -> None:
    error = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    assert read_staple(error.public_bytes(Encoding.DER), 0) is Staple.UNREADABLE


@given(st.binary())
def test_any_bytes_are_unreadable(data: bytes) -> None:
    assert read_staple(data, 0) is Staple.UNREADABLE


@given(st.integers(0, 300), st.integers(0, 255))
def test_a_damaged_response_is_read_or_not_but_never_raises(place: int, value: int) -> None:
    whole = bytearray(response(ocsp.OCSPCertStatus.GOOD, NOW + DAY))
    whole[place % len(whole)] = value
    assert read_staple(bytes(whole), NOW.timestamp()) in Staple
