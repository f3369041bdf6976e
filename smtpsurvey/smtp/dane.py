"""DANE for SMTP (RFC 7672): whether the chain that a server showed is the one that its zone publishes."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from OpenSSL import crypto

from smtpsurvey.outcomes import Dane
from smtpsurvey.smtp.certificate import load, matches_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509

TRUST_ANCHOR, END_ENTITY = 2, 3  # the usages that SMTP knows (RFC 7672 section 3.1)
FULL, KEY = 0, 1  # selectors
_DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: lambda data: hashlib.sha256(data).digest(),
    2: lambda data: hashlib.sha512(data).digest(),
}
_LENGTHS = {1: 32, 2: 64}
_VALUE = re.compile(r"(\d{1,3}) (\d{1,3}) (\d{1,3}) ((?:[0-9A-Fa-f]{2})+)")
MAX_RECORDS = 50
"""Records of a name that are looked at; others would cost more than they tell."""


class Tlsa(NamedTuple):
    """A TLSA record (RFC 6698 section 2): certificate usage, selector, matching type, association data."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def usable(self) -> bool:
        """Whether a client of SMTP can use it: RFC 7672 leaves the PKIX usages out."""
        known = self.usage in {TRUST_ANCHOR, END_ENTITY} and self.selector in {FULL, KEY} and self.matching in _DIGESTS
        return known and len(self.data) == _LENGTHS.get(self.matching, len(self.data))


def read_tlsa(value: str) -> Tlsa | None:
    """Read the value of a record as zone files write it; ``None`` for what is none."""
    match = _VALUE.fullmatch(" ".join(value.split(" ", 3)[:3]) + " " + "".join(value.split()[3:]))
    if match is None:
        return None
    return Tlsa(int(match[1]), int(match[2]), int(match[3]), bytes.fromhex(match[4]))


def dane(records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str]) -> Dane:
    """Compare the records that a validating resolver vouched for with a chain of DER certificates, the leaf first.

    ``names`` are those that the server's certificate may have where a trust anchor vouches for it: the exchange's, and
    the domain's (RFC 7672 section 3.2.2). Without a record that is usable the result is ``none``; without a chain,
    ``not_measured``.
    """
    usable = [record for record in records[:MAX_RECORDS] if record.usable]
    if not usable:
        return Dane.NONE
    if not chain:
        return Dane.NOT_MEASURED
    certificates = [(der, load(der)) for der in chain]
    for record in usable:
        if record.usage == END_ENTITY:
            if _matches(record, *certificates[0]):  # names and dates do not count (section 3.1.1)
                return Dane.SECURE_MATCH
        elif _anchored(record, certificates, names):
            return Dane.SECURE_MATCH
    return Dane.SECURE_MISMATCH


def _matches(record: Tlsa, der: bytes, certificate: x509.Certificate | None) -> bool:
    data = der
    if record.selector == KEY:
        key = None if certificate is None else _key(certificate)
        if key is None:
            return False
        data = key
    return _DIGESTS[record.matching](data) == record.data


def _key(certificate: x509.Certificate) -> bytes | None:
    """Give the SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) as DER."""
    try:
        loaded = crypto.X509.from_cryptography(certificate).get_pubkey()
        return crypto.dump_publickey(crypto.FILETYPE_ASN1, loaded)
    except crypto.Error:
        return None


def _anchored(
    record: Tlsa, certificates: Sequence[tuple[bytes, x509.Certificate | None]], names: Sequence[str]
) -> bool:
    """Tell whether the leaf is vouched for, now, by a certificate of the chain (or of the record) that matches."""
    leaf = certificates[0][1]
    if leaf is None or not any(matches_name(leaf, name) for name in names):
        return False
    anchors = [der for der, certificate in certificates if _matches(record, der, certificate)]
    if not anchors and record.selector == FULL and record.matching == 0:
        anchors = [record.data]  # the record holds the certificate that the server need not send
    try:
        store = crypto.X509Store()
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # an anchor need not be self-signed
        for anchor in anchors:
            store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, anchor))
        chain = [crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der, _ in certificates]
        crypto.X509StoreContext(store, chain[0], chain[1:]).verify_certificate()
    except (crypto.Error, crypto.X509StoreContextError, ValueError):
        return False
    return True
