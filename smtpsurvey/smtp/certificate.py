"""Certificates as facts: what one says, whether its chain is trusted, whether it fits a name.

Nothing here accepts or refuses a connection; every certificate is accepted and described.
"""

from __future__ import annotations

import hashlib
import re
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.x509.oid import AuthorityInformationAccessOID, SignatureAlgorithmOID
from OpenSSL import crypto
from service_identity import CertificateError
from service_identity.hazmat import DNS_ID, DNSPattern

from smtpsurvey.outcomes import TrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
_CURVES = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}
_SIGNERS: dict[type, str] = {padding.PKCS1v15: "rsa", padding.PSS: "rsa-pss", ec.ECDSA: "ecdsa"}
_UNHASHED = {SignatureAlgorithmOID.ED25519: "ed25519", SignatureAlgorithmOID.ED448: "ed448"}
_MAX_NAMES = 1000
# X509_V_ERR_* (OpenSSL's x509_vfy.h) to the closed list.
_TRUST_ERRORS = {
    9: TrustError.NOT_YET_VALID,
    10: TrustError.EXPIRED,
    18: TrustError.SELF_SIGNED,
    19: TrustError.UNKNOWN_ISSUER,
}
_ISSUER_MISSING = frozenset((2, 20, 21))
# Below 112 bits of security (NIST SP 800-57 part 1, tables 2 and 3), so below what public CAs may issue.
_MIN_BITS = {crypto.TYPE_RSA: 2048, crypto.TYPE_DSA: 2048, crypto.TYPE_EC: 224}
_WEAK_DIGEST = re.compile(rb"md[245]|sha-?1(?![0-9])", re.IGNORECASE)
# How the certificate library says that it cannot read something.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_CACHE_SIZE = 4096
_CACHED_BYTES = 16384  # of one chain; longer ones are rare, or hostile
_TRUST_HOLDS = 3600  # seconds a verdict on a chain is used again: certificates expire


@attrs.define(eq=False, slots=False)
class Certificate:
    """The leaf of a chain. A field that the certificate has no readable value for is ``None``.

    ``names`` are the DNS names of subjectAltName; times are ISO 8601 in UTC; ``key`` is like
    ``rsa-2048``, ``ecdsa-p256``, ``ed25519``; ``sha256`` is that of the DER, in hex. ``signature`` is what its issuer
    signed it with, like ``rsa-sha256``, ``rsa-pss-sha256``, ``ecdsa-sha384``, ``ed25519``; else the dotted OID.
    """

    subject: str | None
    issuer: str | None
    names: list[str] | None
    not_before: str | None
    not_after: str | None
    key: str | None
    sha256: str
    signature: str | None = None
    self_signed: bool | None = None


@attrs.frozen(eq=False)
class ChainFacts:
    """What is known of a chain: hashes (SHA-256, hex) as sent, the leaf, and trust."""

    hashes: tuple[str, ...]
    certificate: Certificate
    trusted: bool
    trust_error: str | None
    leaf: x509.Certificate | None


class Examiner:
    """Describes chains and verifies them against the anchors of a PEM file.

    Many servers share certificates, so verdicts are kept, boundedly, for an hour at most.
    """

    def __init__(self, ca_file: str, now: Callable[[], float] = time.time) -> None:
        """Load the trust anchors; raises ``ValueError`` naming the file."""
        self._store = crypto.X509Store()
        try:
            self._store.load_locations(ca_file)
        except crypto.Error:
            raise ValueError(f"{ca_file}: no certificates in PEM form can be read from it") from None
        self.now = now
        self._known: dict[tuple[bytes, ...], tuple[float, ChainFacts]] = {}

    def chain(self, ders: tuple[bytes, ...]) -> ChainFacts:
        """Describe a chain of DER certificates, the leaf first, as the server sent it (not empty)."""
        now = self.now()
        known = self._known.get(ders)
        if known is not None and now - known[0] < _TRUST_HOLDS:
            return known[1]
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        certificate, leaf = _read(ders[0])
        hashes = (certificate.sha256, *(hashlib.sha256(der).hexdigest() for der in ders[1:]))
        error = self._trust_error(ders, leaf)
        facts = ChainFacts(hashes, certificate, error is None, error, leaf)
        if sum(map(len, ders)) <= _CACHED_BYTES:
            self._known[ders] = (now, facts)
        return facts

    def _trust_error(self, ders: tuple[bytes, ...], leaf: x509.Certificate | None) -> str | None:
        try:
            chain = [crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der in ders]
            path = crypto.X509StoreContext(self._store, chain[0], chain[1:]).get_verified_chain()
            weak = any(map(_is_weak, path[:-1]))  # the last is an anchor, trusted as it is
        except (crypto.Error, ValueError):
            return "other:unreadable certificate"
        except crypto.X509StoreContextError as error:
            code, _depth, message = error.errors
            if code in _ISSUER_MISSING:
                # Only the leaf's pointer to its issuer tells a forgotten intermediate from a private CA.
                forgotten = len(ders) == 1 and leaf is not None and _points_to_issuer(leaf)
                return TrustError.INCOMPLETE_CHAIN if forgotten else TrustError.UNKNOWN_ISSUER
            return _TRUST_ERRORS.get(code, f"other:{message}")
        return TrustError.WEAK if weak else None


def matches_name(leaf: x509.Certificate | None, name: str | None) -> bool | None:
    """Tell whether a certificate is valid for a host name (RFC 9525); ``None`` without a name."""
    if name is None:
        return None
    if leaf is None:
        return False
    try:
        wanted = DNS_ID(name.rstrip("."))
    except ValueError:
        return False
    return any(map(wanted.verify, _patterns(leaf)))


def _patterns(leaf: x509.Certificate) -> Iterator[DNSPattern]:
    """Give the DNS names that can be names; one that cannot hides no other."""
    for name in _readable(lambda: _names(leaf)) or ():
        with suppress(CertificateError):
            yield DNSPattern.from_bytes(name.encode("ascii"))


def _is_weak(certificate: crypto.X509) -> bool:
    key = certificate.get_pubkey()
    return key.bits() < _MIN_BITS.get(key.type(), 0) or bool(_WEAK_DIGEST.search(certificate.get_signature_algorithm()))


def _read(der: bytes) -> tuple[Certificate, x509.Certificate | None]:
    """Describe a certificate (RFC 5280); one that cannot be read has only its hash."""
    digest = hashlib.sha256(der).hexdigest()
    with warnings.catch_warnings():  # the library warns of what is odd; odd is what we record
        warnings.simplefilter("ignore")
        try:
            parsed = x509.load_der_x509_certificate(der)
        except _UNREADABLE:
            return Certificate(None, None, None, None, None, None, digest), None
        return Certificate(
            _readable(lambda: x509.Name.rfc4514_string(parsed.subject)),
            _readable(lambda: x509.Name.rfc4514_string(parsed.issuer)),
            _readable(lambda: _names(parsed)[:_MAX_NAMES]),
            _readable(lambda: f"{parsed.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"),
            _readable(lambda: f"{parsed.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"),
            _readable(lambda: _key(parsed)),
            digest,
            _readable(lambda: _signature(parsed)) or parsed.signature_algorithm_oid.dotted_string,
            _readable(lambda: _is_self_signed(parsed)),
        ), parsed


def describe(der: bytes) -> Certificate:
    """Say what a certificate says."""
    return _read(der)[0]


def load(der: bytes) -> x509.Certificate | None:
    """Read a certificate; ``None`` for one that the library cannot."""
    return _read(der)[1]


def _readable(read: Callable[[], T]) -> T | None:
    """Call a reader of the certificate library; what it cannot read is not measured."""
    try:
        return read()
    except _UNREADABLE:
        return None


def _names(parsed: x509.Certificate) -> list[str]:
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)


def _key(parsed: x509.Certificate) -> str:
    key = parsed.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ecdsa-{_CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, ed448.Ed448PublicKey):
        return "ed448"
    if isinstance(key, dsa.DSAPublicKey):
        return f"dsa-{key.key_size}"
    return type(key).__name__.removesuffix("PublicKey").lower()


def _signature(parsed: x509.Certificate) -> str | None:
    digest = parsed.signature_hash_algorithm
    if digest is None:
        return _UNHASHED.get(parsed.signature_algorithm_oid)
    kind = _SIGNERS.get(type(parsed.signature_algorithm_parameters))
    if kind is None:
        kind = "rsa" if parsed.signature_algorithm_oid == SignatureAlgorithmOID.RSA_WITH_MD5 else "dsa"
    return f"{kind}-{digest.name}"


def _is_self_signed(parsed: x509.Certificate) -> bool:
    """Tell whether a certificate's own key has signed it; raises as the library where it cannot verify that."""
    if parsed.issuer != parsed.subject or (_signature(parsed) or "").split("-")[0] != _key(parsed).split("-")[0]:
        return False
    key, digest = parsed.public_key(), parsed.signature_hash_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey) and isinstance(digest, SHA1 | MD5):  # which the library refuses otherwise
            key.verify(parsed.signature, parsed.tbs_certificate_bytes, padding.PKCS1v15(), digest)
        else:
            parsed.verify_directly_issued_by(parsed)
    except InvalidSignature:
        return False
    return True


def _points_to_issuer(leaf: x509.Certificate) -> bool:
    """Tell whether the leaf says where its issuer's certificate is (RFC 5280 section 4.2.2.1)."""
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return False
    return any(d.access_method == AuthorityInformationAccessOID.CA_ISSUERS for d in access)
