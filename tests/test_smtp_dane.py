"""DANE: each usage, selector and matching type against chains made here."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.outcomes import Dane
from smtpsurvey.smtp.dane import Tlsa, dane, read_tlsa

if TYPE_CHECKING:
    from collections.abc import Callable

MX = "mx.example.org"
NOW = datetime.now(UTC)


class Made:
    """A certificate and its key."""

    def __init__(
        self, subject: str, issuer: Made | None = None, *, names: tuple[str, ...] = (), days: int = 30
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name((issuer or self).name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=60))
            .not_valid_after(NOW + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False
            )
        certificate = builder.sign((issuer or self).key, hashes.SHA256())
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.spki = self.key.public_key().public_bytes(serialization.Encoding.DER, form)


@cache
def chain() -> tuple[Made, Made, Made]:
    """Make leaf, intermediate and root."""
    root = Made("Root")
    between = Made("Between", root)
    return Made("leaf", between, names=(MX,)), between, root


DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: lambda data: hashlib.sha256(data).digest(),
    2: lambda data: hashlib.sha512(data).digest(),
}


def record(usage: int, made: Made, selector: int = 0, matching: int = 1) -> Tlsa:
    return Tlsa(usage, selector, matching, DIGESTS[matching](made.spki if selector else made.der))


def verdict(*records: Tlsa, name: str = MX, served: tuple[Made, ...] | None = None) -> Dane:
    return dane(records, [made.der for made in (chain() if served is None else served)], [name])


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("usage", [2, 3])
def test_every_kind_of_record(usage: int, selector: int, matching: int) -> None:
    leaf, between, root = chain()
    good = record(usage, leaf if usage == 3 else between, selector, matching)
    other = record(usage, root if usage == 3 else Made("Other"), selector, matching)
    assert verdict(good) == Dane.SECURE_MATCH
    assert verdict(other) == Dane.SECURE_MISMATCH
    assert verdict(other, good) == Dane.SECURE_MATCH


def test_an_end_entity_needs_neither_name_nor_dates() -> None:
    old = Made("old", names=("other.example",), days=-10)
    assert verdict(record(3, old, 1), served=(old,)) == Dane.SECURE_MATCH


def test_below_a_trust_anchor_name_dates_and_signatures_count() -> None:
    leaf, between, root = chain()
    assert verdict(record(2, root), name="other.example") == Dane.SECURE_MISMATCH
    expired = Made("leaf", between, names=(MX,), days=-10)
    assert verdict(record(2, root), served=(expired, between, root)) == Dane.SECURE_MISMATCH
    stranger = Made("leaf", Made("Between", root), names=(MX,))
    assert verdict(record(2, between), served=(stranger, between, root)) == Dane.SECURE_MISMATCH
    assert dane([record(2, root)], [leaf.der, between.der, root.der], ["other.example", MX]) == Dane.SECURE_MATCH


def test_an_anchor_that_is_not_served_may_be_in_the_record() -> None:
    leaf, between, root = chain()
    assert verdict(record(2, root, 0, 0), served=(leaf, between)) == Dane.SECURE_MATCH
    assert verdict(record(2, root, 0, 1), served=(leaf, between)) == Dane.SECURE_MISMATCH
    assert verdict(Tlsa(2, 0, 0, b"no certificate"), served=(leaf, between)) == Dane.SECURE_MISMATCH


@pytest.mark.parametrize(
    "unusable",
    [
        Tlsa(0, 0, 1, bytes(32)),
        Tlsa(1, 1, 1, bytes(32)),
        Tlsa(3, 2, 1, bytes(32)),
        Tlsa(3, 1, 9, b""),
        Tlsa(3, 1, 1, b"short"),
    ],
)
def test_what_smtp_cannot_use_is_no_record(unusable: Tlsa) -> None:
    assert verdict(unusable) == Dane.NONE
    assert verdict(unusable, record(3, chain()[0])) == Dane.SECURE_MATCH


def test_nothing_to_compare() -> None:
    assert verdict() == Dane.NONE
    assert verdict(record(3, chain()[0]), served=()) == Dane.NOT_MEASURED


def test_a_leaf_that_cannot_be_read() -> None:
    noise = b"\x30\x03\x02\x01\x01"
    by_hash = Tlsa(3, 0, 1, hashlib.sha256(noise).digest())
    assert dane([by_hash], [noise], [MX]) == Dane.SECURE_MATCH
    assert dane([by_hash._replace(selector=1)], [noise], [MX]) == Dane.SECURE_MISMATCH
    assert dane([by_hash._replace(usage=2)], [noise], [MX]) == Dane.SECURE_MISMATCH


def test_a_key_that_cannot_be_read() -> None:
    leaf = chain()[0]
    ec_public_key = bytes.fromhex("06072a8648ce3d0201")
    odd = leaf.der.replace(ec_public_key, ec_public_key[:-1] + b"\x77")
    assert dane([record(3, leaf, 1)], [odd], [MX]) == Dane.SECURE_MISMATCH


def test_values_as_zone_files_write_them() -> None:
    assert read_tlsa("3 1 1 " + "aB" * 32) == Tlsa(3, 1, 1, b"\xab" * 32)
    assert read_tlsa("3 1 1 " + "ab" * 16 + " " + "ab" * 16) == Tlsa(3, 1, 1, b"\xab" * 32)
    for wrong in ("", "3 1 1", "3 1 1 abc", "3 1 1 xx", "a 1 1 ab", "3 1 ab"):
        assert read_tlsa(wrong) is None


@given(st.text())
def test_any_text_is_a_record_or_none(text: str) -> None:
    assert read_tlsa(text) is None or isinstance(read_tlsa(text), Tlsa)


@given(
    st.lists(
        st.builds(Tlsa, st.integers(0, 4), st.integers(0, 2), st.integers(0, 3), st.binary(max_size=70)), max_size=4
    )
)
def test_any_records_give_a_verdict(records: list[Tlsa]) -> None:
    assert verdict(*records) in {Dane.NONE, Dane.SECURE_MISMATCH, Dane.SECURE_MATCH}
