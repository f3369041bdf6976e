"""The lab's certificates, verified by OpenSSL and not by us."""

from __future__ import annotations

import functools
import hashlib
import ssl

import pytest

from smtpsurvey.lab.certificates import EXPIRED, INCOMPLETE, SELF_SIGNED, TRUSTED, Leaf, Pool, make_pool, server_context

DOMAINS = tuple(f"d{number}.example" for number in range(6))


@functools.cache
def pool() -> Pool:
    return make_pool(DOMAINS, rsa_leaves=1)


def handshake(leaf: Leaf, name: str, highest: str = "TLSv1.3") -> ssl.SSLObject:
    """Shake hands in memory, the client trusting the lab's root."""
    context = ssl.create_default_context(cadata=pool().ca_pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context(leaf, highest).wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_certificate_of_each_domain_is_trusted_and_matches(domain: str, version: str) -> None:
    leaf = pool().trusted[domain]
    client = handshake(leaf, f"mx.{domain}", version)
    certificate = client.getpeercert(binary_form=True)
    assert certificate is not None
    assert hashlib.sha256(certificate).hexdigest() == leaf.sha256
    assert client.version() == version
    assert leaf.matches(f"mx.{domain}")
    assert leaf.matches(domain)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(SELF_SIGNED, "self-signed"), (EXPIRED, "expired"), (INCOMPLETE, "unable to get local issuer")],
)
def test_odd_certificate_fails_for_its_own_reason(kind: str, words: str) -> None:
    leaf = next(leaf for leaf in pool().others if leaf.kind == kind)
    with pytest.raises(ssl.SSLCertVerificationError, match=words):
        handshake(leaf, leaf.names[0].replace("*", "mx"))


def test_name_of_another_does_not_match() -> None:
    leaf = next(leaf for leaf in pool().others if leaf.kind == TRUSTED)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(leaf, "mx.d1.example")
    assert leaf.matches("mx.d1.example") is False
    assert pool().trusted["d1.example"].matches("a.mx.d1.example") is False
    assert leaf.matches(None) is None


def test_old_server_refuses_a_client_of_today() -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported protocol"):
        handshake(pool().trusted["d1.example"], "mx.d1.example", "TLSv1")
