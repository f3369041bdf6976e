import hashlib
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import crypto
from servers.pki import Pki as MadePki

from smtpsurvey.outcomes import TrustError
from smtpsurvey.smtp import certificate as certificate_module
from smtpsurvey.smtp.certificate import ChainFacts, Examiner, describe, matches_name

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
NAME = "mx.example.org"
NAMES = x509.SubjectAlternativeName([x509.DNSName(NAME)])


class Issuer(NamedTuple):
    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def der(self) -> bytes:
        return der(self.certificate)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def build(
    subject: x509.Name,
    public: CertificatePublicKeyTypes,
    issuer: x509.Name,
    signer: CertificateIssuerPrivateKeyTypes,
    *extensions: x509.ExtensionType,
    since: datetime = NOW - DAY,
    until: datetime = NOW + DAY,
) -> x509.Certificate:
    builder = x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), since, until)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else SHA256())


def authority(
    common_name: str, above: Issuer | None = None, key: CertificateIssuerPrivateKeyTypes | None = None
) -> Issuer:
    key = key or ec_key()
    issuer, signer = (above.certificate.subject, above.key) if above else (name(common_name), key)
    is_ca = x509.BasicConstraints(ca=True, path_length=None)
    return Issuer(build(name(common_name), key.public_key(), issuer, signer, is_ca), key)


def issue(by: Issuer, *extensions: x509.ExtensionType, **kwargs: datetime) -> bytes:
    """Make a leaf, its DER."""
    subject = x509.Name([])
    issuer = by.certificate.subject
    return der(build(subject, ec_key().public_key(), issuer, by.key, *(extensions or (NAMES,)), **kwargs))


def self_signed(*names: x509.GeneralName, subject: x509.Name | None = None) -> bytes:
    key, subject = ec_key(), subject or name(NAME)
    extensions = [x509.SubjectAlternativeName(names)] if names else []
    return der(build(subject, key.public_key(), subject, key, *extensions))


class Pki(NamedTuple):
    """A root that is trusted, an intermediate of it, a root of somebody's own, and who judges."""

    root: Issuer
    intermediate: Issuer
    private: Issuer
    ca_file: Path
    examiner: Examiner


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    root = authority("Root")
    ca_file = tmp_path_factory.mktemp("pki") / "ca.pem"
    ca_file.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    return Pki(root, authority("Intermediate", root), authority("Private"), ca_file, Examiner(str(ca_file)))


def names_of(facts: ChainFacts) -> list[str] | None:
    return facts.certificate.names


def test_what_a_certificate_says(pki: Pki) -> None:
    key = ec_key()
    leaf = build(name(NAME), key.public_key(), pki.root.certificate.subject, pki.root.key, NAMES)
    facts = pki.examiner.chain((der(leaf), pki.root.der))
    said = facts.certificate
    assert (said.subject, said.issuer, said.names, said.key) == (f"CN={NAME}", "CN=Root", [NAME], "ecdsa-p256")
    assert (said.not_before, said.not_after) == tuple(f"{day:%Y-%m-%dT%H:%M:%SZ}" for day in (NOW - DAY, NOW + DAY))
    assert facts.hashes == tuple(hashlib.sha256(one).hexdigest() for one in (der(leaf), pki.root.der))
    assert said.sha256 == facts.hashes[0] == leaf.fingerprint(SHA256()).hex()
    assert facts.leaf == leaf
    assert (facts.trusted, facts.trust_error) == (True, None)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (rsa.generate_private_key(65537, 2048), "rsa-2048"),
        (rsa.generate_private_key(65537, 3072), "rsa-3072"),
        (ec.generate_private_key(ec.SECP256R1()), "ecdsa-p256"),
        (ec.generate_private_key(ec.SECP384R1()), "ecdsa-p384"),
        (ec.generate_private_key(ec.SECP521R1()), "ecdsa-p521"),
        (ec.generate_private_key(ec.BrainpoolP256R1()), "ecdsa-brainpoolP256r1"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
        (ed448.Ed448PrivateKey.generate(), "ed448"),
        (dsa.generate_private_key(2048), "dsa-2048"),
        (x25519.X25519PrivateKey.generate(), "x25519"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_kinds_of_keys(pki: Pki, key: rsa.RSAPrivateKey, shown: str) -> None:
    leaf = build(name(NAME), key.public_key(), pki.root.certificate.subject, pki.root.key, NAMES)
    facts = pki.examiner.chain((der(leaf),))
    assert (facts.certificate.key, facts.trusted) == (shown, True)


def test_a_root_may_sign_with_ed25519(tmp_path: Path) -> None:
    root = authority("Root", key=ed25519.Ed25519PrivateKey.generate())
    (tmp_path / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    assert Examiner(str(tmp_path / "ca.pem")).chain((issue(root),)).trusted


def test_each_reason_not_to_trust(pki: Pki) -> None:
    root, intermediate, private = pki.root, pki.intermediate, pki.private
    below = authority("Below", private)
    with_pointer = (NAMES, _pointer(AuthorityInformationAccessOID.CA_ISSUERS))
    only_ocsp = (NAMES, _pointer(AuthorityInformationAccessOID.OCSP))
    chains: list[tuple[tuple[bytes, ...], str | None]] = [
        ((issue(root),), None),
        ((issue(root), root.der), None),
        ((issue(intermediate), intermediate.der), None),
        ((issue(intermediate), intermediate.der, root.der), None),
        ((issue(intermediate), root.der, intermediate.der), None),  # out of order, as many servers send it
        ((issue(intermediate), intermediate.der, private.der), None),  # with one too many
        ((root.der,), None),
        ((self_signed(),), TrustError.SELF_SIGNED),
        ((self_signed(), root.der), TrustError.SELF_SIGNED),
        ((private.der,), TrustError.SELF_SIGNED),
        ((issue(private),), TrustError.UNKNOWN_ISSUER),
        ((issue(private), private.der), TrustError.UNKNOWN_ISSUER),
        ((issue(below), below.der), TrustError.UNKNOWN_ISSUER),
        ((issue(below), below.der, private.der), TrustError.UNKNOWN_ISSUER),
        ((issue(intermediate),), TrustError.UNKNOWN_ISSUER),  # nothing says that it is not somebody's own
        ((issue(intermediate, *only_ocsp),), TrustError.UNKNOWN_ISSUER),
        ((issue(intermediate, *with_pointer),), TrustError.INCOMPLETE_CHAIN),
        ((issue(intermediate, *with_pointer), intermediate.der), None),
        ((issue(below, *with_pointer), below.der), TrustError.UNKNOWN_ISSUER),  # sent all that it had to
        ((issue(root, until=NOW - timedelta(hours=1)),), TrustError.EXPIRED),
        ((issue(root, since=NOW + timedelta(hours=1)),), TrustError.NOT_YET_VALID),
        ((issue(Issuer(root.certificate, ec_key())),), "other:certificate signature failure"),
        ((issue(private, *with_pointer, until=NOW - timedelta(hours=1)),), TrustError.INCOMPLETE_CHAIN),
        ((b"", root.der), "other:unreadable certificate"),
        ((b"\x30\x03\x02\x01\x00",), "other:unreadable certificate"),
        ((issue(root), b"unreadable"), "other:unreadable certificate"),
    ]
    for chain, error in chains:
        facts = pki.examiner.chain(chain)
        assert (facts.trusted, facts.trust_error) == (error is None, error), len(chain)


def _pointer(method: x509.ObjectIdentifier) -> x509.AuthorityInformationAccess:
    there = x509.UniformResourceIdentifier("http://ca.example/ca.der")
    return x509.AuthorityInformationAccess([x509.AccessDescription(method, there)])


def signed_anew(certificate: bytes, by: Issuer, digest: str) -> bytes:
    """Sign what the certificate library refuses to sign."""
    signed = crypto.load_certificate(crypto.FILETYPE_ASN1, certificate)
    with pytest.deprecated_call():
        signed.sign(crypto.PKey.from_cryptography_key(by.key), digest)
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, signed)


def test_a_chain_with_a_weak_key_or_signature_is_weak(pki: Pki) -> None:
    short = rsa.generate_private_key(65537, 1024)
    leaf = build(name(NAME), short.public_key(), pki.root.certificate.subject, pki.root.key, NAMES)
    weak_ca = authority("Weak", pki.root, short)
    for chain in ((der(leaf),), (issue(weak_ca), weak_ca.der), (signed_anew(issue(pki.root), pki.root, "sha1"),)):
        facts = pki.examiner.chain(chain)
        assert (facts.trusted, facts.trust_error) == (False, TrustError.WEAK)


def test_an_anchor_is_trusted_however_it_is_signed(tmp_path: Path) -> None:
    root = authority("Old root", key=rsa.generate_private_key(65537, 1024))
    (tmp_path / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    assert Examiner(str(tmp_path / "ca.pem")).chain((issue(root),)).trusted


@pytest.mark.parametrize(
    "content", [None, b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_anchors_that_cannot_be_read_are_an_error_that_names_the_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ca\.pem: no certificates in PEM form"):
        Examiner(str(path))


def test_a_verdict_holds_for_an_hour(pki: Pki) -> None:
    clock = [1000.0]
    examiner = Examiner(str(pki.ca_file), lambda: clock[0])
    chain = (issue(pki.root),)
    first = examiner.chain(chain)
    clock[0] += 3599
    assert examiner.chain(chain) is first
    assert examiner.chain((*chain, pki.root.der)) is not first
    clock[0] += 1
    second = examiner.chain(chain)
    assert second is not first
    clock[0] += 3599
    assert examiner.chain(chain) is second


def test_verdicts_are_kept_boundedly(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_module, "_CACHE_SIZE", 2)
    examiner = Examiner(str(pki.ca_file))
    chains = [(issue(pki.root),) for _ in range(3)]
    kept = [examiner.chain(chain) for chain in chains]
    assert examiner.chain(chains[2]) is kept[2]
    assert examiner.chain(chains[0]) is not kept[0]


@pytest.mark.parametrize(
    ("names", "asked", "fits"),
    [
        (["mx.example.org"], "mx.example.org", True),
        (["mx.example.org"], "MX.Example.ORG", True),
        (["MX.example.org"], "mx.example.org", True),
        (["mx.example.org"], "mx.example.org.", True),
        (["mx.example.org"], "mx2.example.org", False),
        (["mx.example.org"], "example.org", False),
        (["a.example", "mx.example.org"], "mx.example.org", True),
        (["*.example.org"], "mx.example.org", True),
        (["*.example.org"], "a.mx.example.org", False),
        (["*.example.org"], "example.org", False),
        (["*.org"], "example.org", False),
        (["m*.example.org"], "mx.example.org", False),
        (["xn--bcher-kva.example"], "xn--bcher-kva.example", True),
        (["xn--bcher-kva.example"], "bücher.example", True),
        (["*.xn--bcher-kva.example"], "mx.xn--bcher-kva.example", True),
        (["mx.example.org\0.evil.example"], "mx.example.org", False),
        (["a_b.example.org"], "a_b.example.org", True),
        # One name that is none, as many servers have, hides no other.
        (["192.0.2.1", "mx.example.org"], "mx.example.org", True),
        (["*.*.example", "", "..", "mx.example.org"], "mx.example.org", True),
        (["192.0.2.1"], "192.0.2.1", False),
        ([], "mx.example.org", False),
        (["mx.example.org"], "", False),
        (["mx.example.org"], "no name", False),
        (["mx.example.org"], "x" * 300, False),
    ],
)
def test_whether_a_certificate_is_for_a_name(pki: Pki, names: list[str], asked: str, *, fits: bool) -> None:
    facts = pki.examiner.chain((self_signed(*map(x509.DNSName, names)),))
    assert facts.certificate.names == names
    assert matches_name(facts.leaf, asked) is fits


def test_the_subject_is_no_name_and_an_address_is_none(pki: Pki) -> None:
    facts = pki.examiner.chain((self_signed(),))
    assert (facts.certificate.subject, facts.certificate.names) == (f"CN={NAME}", [])
    assert matches_name(facts.leaf, NAME) is False
    mail = pki.examiner.chain((self_signed(x509.RFC822Name("postmaster@example.org"), x509.DNSName(NAME)),))
    assert mail.certificate.names == [NAME]


def test_no_name_and_no_certificate(pki: Pki) -> None:
    facts = pki.examiner.chain((self_signed(x509.DNSName(NAME)),))
    assert matches_name(facts.leaf, None) is None
    unreadable = pki.examiner.chain((b"unreadable",))
    assert unreadable.leaf is None
    assert matches_name(None, None) is None
    assert matches_name(None, NAME) is False


def test_an_unreadable_certificate_has_only_its_hash(pki: Pki) -> None:
    said = pki.examiner.chain((b"unreadable",)).certificate
    assert said.sha256 == hashlib.sha256(b"unreadable").hexdigest()
    assert (said.subject, said.issuer, said.names, said.not_before, said.not_after, said.key) == (None,) * 6


def test_a_thousand_names_are_kept_and_all_of_them_count(pki: Pki) -> None:
    names = [f"host-{number}.example" for number in range(1001)]
    facts = pki.examiner.chain((self_signed(*map(x509.DNSName, names)),))
    assert facts.certificate.names == names[:1000]
    assert matches_name(facts.leaf, names[1000]) is True


@pytest.mark.parametrize(
    ("common_name", "shown"),
    [
        ("a\0b", r"CN=a\00b"),
        ("a\nb\x1b[2J", "CN=a\nb\x1b[2J"),
        ("x,CN=mx.example.org", r"CN=x\,CN=mx.example.org"),
        ("Größe", "CN=Größe"),
    ],
)
def test_a_subject_is_kept_as_it_is_and_cannot_fake_another_field(pki: Pki, common_name: str, shown: str) -> None:
    assert pki.examiner.chain((self_signed(subject=name(common_name)),)).certificate.subject == shown


def patched(certificate: bytes, old: bytes, new: bytes) -> bytes:
    assert certificate.count(old) >= 1
    assert len(old) == len(new)
    return certificate.replace(old, new)


SAN, IAN = bytes.fromhex("0603551d11"), bytes.fromhex("0603551d12")  # the extensions' object identifiers


def test_an_extension_that_comes_twice(pki: Pki) -> None:
    other = x509.IssuerAlternativeName([x509.DNSName("other.example")])
    twice = patched(issue(pki.root, NAMES, other), IAN, SAN)
    facts = pki.examiner.chain((twice,))
    assert (facts.certificate.names, facts.certificate.key) == (None, "ecdsa-p256")
    assert matches_name(facts.leaf, NAME) is False


def test_names_of_kinds_that_nobody_reads(pki: Pki) -> None:
    x400 = patched(self_signed(x509.DNSName(NAME)), b"\x82\x0e" + NAME.encode(), b"\xa3\x0e" + NAME.encode())
    assert pki.examiner.chain((x400,)).certificate.names is None
    assert pki.examiner.chain((x400,)).certificate.subject == f"CN={NAME}"
    assert matches_name(pki.examiner.chain((x400,)).leaf, NAME) is False


def test_texts_in_another_encoding_than_they_say(pki: Pki) -> None:
    latin = patched(self_signed(x509.DNSName(NAME)), NAME.encode(), b"m\xfc.example.org")
    facts = pki.examiner.chain((latin,))
    said = facts.certificate
    assert (said.subject, said.issuer, said.names, said.key) == (None, None, None, "ecdsa-p256")
    assert matches_name(facts.leaf, NAME) is False


def test_a_pointer_to_the_issuer_that_cannot_be_read_is_none(pki: Pki) -> None:
    pointer = _pointer(AuthorityInformationAccessOID.CA_ISSUERS)
    leaf = issue(pki.private, NAMES, pointer)
    assert pki.examiner.chain((leaf,)).trust_error == TrustError.INCOMPLETE_CHAIN
    odd = patched(leaf, b"\x82\x0e" + NAME.encode(), b"\xa3\x0e" + NAME.encode())
    assert pki.examiner.chain((odd,)).trust_error == TrustError.UNKNOWN_ISSUER


def test_a_key_of_a_kind_that_does_not_exist(pki: Pki) -> None:
    id_ec = bytes.fromhex("06072a8648ce3d0201")
    odd = signed_anew(patched(issue(pki.root), id_ec, id_ec[:-1] + b"\x7f"), pki.root, "sha256")
    facts = pki.examiner.chain((odd,))
    assert (facts.certificate.names, facts.certificate.key) == ([NAME], None)
    assert (facts.trusted, facts.trust_error) == (False, "other:unspecified certificate verification error")


def test_a_version_that_does_not_exist(pki: Pki) -> None:
    odd = patched(self_signed(), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")
    assert pki.examiner.chain((odd,)).certificate.subject is None


@pytest.fixture(scope="module")
def leaf(pki: Pki) -> bytes:
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.DirectoryName(name("x"))])
    pointer = _pointer(AuthorityInformationAccessOID.CA_ISSUERS)
    above = pki.intermediate
    return der(build(name(NAME), ec_key().public_key(), above.certificate.subject, above.key, names, pointer))


@settings(deadline=None, derandomize=True, max_examples=300)
@given(changes=st.dictionaries(st.integers(0, 600), st.integers(0, 255), max_size=4), cut=st.integers(0, 9))
def test_a_certificate_with_any_bytes_changed_raises_nothing(
    pki: Pki, leaf: bytes, changes: dict[int, int], cut: int
) -> None:
    changed = bytearray(leaf)
    for position, value in changes.items():
        changed[position % len(changed)] = value
    with warnings.catch_warnings(action="error"):
        facts = pki.examiner.chain((bytes(changed[: len(changed) - cut]), pki.intermediate.der))
        assert facts.trusted == (facts.trust_error is None)
        assert matches_name(facts.leaf, NAME) in (True, False)


SIGNERS = {
    "rsa-sha256": (rsa.generate_private_key(65537, 2048), SHA256(), None),
    "rsa-pss-sha256": (rsa.generate_private_key(65537, 2048), SHA256(), PSS(MGF1(SHA256()), 32)),
    "ecdsa-sha384": (ec.generate_private_key(ec.SECP384R1()), SHA384(), None),
    "dsa-sha256": (dsa.generate_private_key(2048), SHA256(), None),
    "ed25519": (ed25519.Ed25519PrivateKey.generate(), None, None),
    "ed448": (ed448.Ed448PrivateKey.generate(), None, None),
}


def signed_by(signer: Any, digest: Any, padding: Any, *, own: bool) -> bytes:
    """Make a certificate of one name, signed by this key, of the same key or of another."""
    public = (signer if own else ec_key()).public_key()
    builder = x509.CertificateBuilder(name(NAME), name(NAME), public, 1, NOW - DAY, NOW + DAY)
    return der(builder.sign(signer, digest, rsa_padding=padding))


@pytest.mark.parametrize("shown", SIGNERS)
def test_what_signed_it_and_whether_that_is_itself(shown: str) -> None:
    own, other = (describe(signed_by(*SIGNERS[shown], own=own)) for own in (True, False))
    assert (own.signature, own.self_signed) == (shown, True)
    assert (other.signature, other.self_signed) == (shown, False)  # the same name does not make it so


@pytest.mark.parametrize("digest", ["sha1", "md5"])
def test_old_digests_are_verified_too(tmp_path: Path, digest: str) -> None:
    made = MadePki(tmp_path / "pki")
    made.leaf("own", issuer="own", options=("-extensions", "leaf", "-md", digest))
    own = ssl.PEM_cert_to_DER_cert(made.certificate("own").read_text("ascii"))
    damaged = own[:-1] + bytes([own[-1] ^ 1])
    for der_, true in ((own, True), (damaged, False)):
        said = describe(der_)
        assert (said.signature, said.self_signed) == (f"rsa-{digest}", true)


def test_a_certificate_of_another_issuer_is_not_self_signed(pki: Pki) -> None:
    said = pki.examiner.chain((issue(pki.root),)).certificate
    assert (said.signature, said.self_signed) == ("ecdsa-sha256", False)


def test_a_signature_that_the_library_does_not_know_is_an_oid() -> None:
    known, unknown = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x7f"
    said = describe(signed_by(ec_key(), SHA256(), None, own=True).replace(known, unknown))
    assert said.subject == f"CN={NAME}"
    assert said.signature == "1.2.840.10045.4.3.127"
    assert said.self_signed is None
