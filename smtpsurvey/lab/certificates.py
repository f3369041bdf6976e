"""The lab's certificate authority and the pool of certificates its hosts share."""

from __future__ import annotations

import hashlib
import ssl
import tempfile
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

TRUSTED, SELF_SIGNED, EXPIRED, INCOMPLETE = "trusted", "self_signed", "expired", "incomplete_chain"
_PEM = serialization.Encoding.PEM


@attrs.frozen(eq=False)
class Leaf:
    """A certificate that hosts share: its kind, DNS names, SHA-256 (hex), and the PEM of chain and key."""

    kind: str
    names: tuple[str, ...]
    sha256: str
    pem: bytes

    def matches(self, name: str | None) -> bool | None:
        """Whether it is for this host (RFC 9525: a wildcard stands for the leftmost label); None without a name."""
        if name is None:
            return None
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names


class Authority:
    """A root (trusted by whoever is given ``ca_pem``) and the intermediate that signs the leaves."""

    def __init__(self) -> None:
        """Make both, anew each time: the keys of a lab are nobody's secret and worth nothing."""
        self._now = datetime.now(UTC)
        root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        root_name, self._name = _name("smtpsurvey lab root"), _name("smtpsurvey lab intermediate")
        root = self._build(root_name, root_key, root_name, root_key, ca=True)
        self._intermediate = self._build(self._name, self._key, root_name, root_key, ca=True)
        self.ca_pem = root.public_bytes(_PEM)

    def leaf(self, names: tuple[str, ...], kind: str = TRUSTED, *, bits: int = 0) -> Leaf:
        """Make a certificate for ``names``, ECDSA P-256 unless ``bits`` asks for RSA of that length."""
        key: Key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
        subject = _name(names[0])
        issuer, signer = (subject, key) if kind == SELF_SIGNED else (self._name, self._key)
        days = -30 if kind == EXPIRED else 90
        leaf = self._build(subject, key, issuer, signer, names=names, days=days)
        chain = [leaf] if kind in (SELF_SIGNED, INCOMPLETE) else [leaf, self._intermediate]
        pem = b"".join(certificate.public_bytes(_PEM) for certificate in chain) + key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Leaf(kind, names, hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).hexdigest(), pem)

    def _build(
        self,
        subject: x509.Name,
        key: Key,
        issuer: x509.Name,
        signer: Key,
        *,
        names: tuple[str, ...] = (),
        days: int = 3650,
        ca: bool = False,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(days=90))
            .not_valid_after(self._now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        )
        if names:
            dns = [x509.DNSName(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(dns), critical=False)
        return builder.sign(signer, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@attrs.frozen(eq=False)
class Pool:
    """All the certificates of a lab: the trusted one of each mail domain, and the others."""

    ca_pem: bytes
    trusted: dict[str, Leaf]
    others: tuple[Leaf, ...]


def make_pool(domains: tuple[str, ...], rsa_leaves: int = 3) -> Pool:
    """Make a wildcard certificate for each domain, the first ``rsa_leaves`` of them RSA-2048, and odd ones."""
    authority = Authority()
    trusted = {
        domain: authority.leaf((f"*.{domain}", domain), bits=2048 if number < rsa_leaves else 0)
        for number, domain in enumerate(domains)
    }
    others = [
        *(authority.leaf((f"localhost{number}.localdomain",), SELF_SIGNED) for number in range(6)),
        *(authority.leaf((f"*.{domain}",), EXPIRED) for domain in domains[:3]),
        *(authority.leaf((f"*.{domain}",), INCOMPLETE) for domain in domains[3:5]),
        authority.leaf(("plesk.example",)),
    ]
    return Pool(authority.ca_pem, trusted, tuple(others))


def server_context(leaf: Leaf, highest: str) -> ssl.SSLContext:
    """Make the TLS settings of a server with this certificate that speaks at most ``highest``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        # Python warns of the old versions that old servers speak.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = getattr(ssl.TLSVersion, highest.replace(".", "_"))
    # The ssl module reads certificates from files alone.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "leaf.pem")
        file.write_bytes(leaf.pem)
        context.load_cert_chain(file)
    return context
