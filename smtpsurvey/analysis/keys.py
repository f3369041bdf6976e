"""The keys of a survey's certificates: which are weak, which are shared.

What a modulus alone can tell, the library badkeys tells, from data that it comes with; its block lists of compromised
keys (Debian's of 2008, CVE-2008-0166, among them) are looked at where the user has them. Nothing here uses the network.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import attrs
import badkeys
from cryptography.hazmat import asn1
from OpenSSL import crypto

from smtpsurvey.analysis.batch_gcd import common_factors
from smtpsurvey.analysis.table import Table, ranked, share
from smtpsurvey.outcomes import KeyWeakness
from smtpsurvey.smtp.certificate import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BITS = 16_384
"""Of a modulus that is looked at; OpenSSL itself does not use longer ones."""
_RSA = (crypto.TYPE_RSA, 912)  # and EVP_PKEY_RSA_PSS, for which pyOpenSSL has no name
# Below 112 bits of security (NIST SP 800-57 part 1, table 2).
_MIN_BITS = dict.fromkeys(_RSA, 2048) | {crypto.TYPE_DSA: 2048, crypto.TYPE_EC: 224}
# Names of badkeys' checks; its warnings of unusual sizes and exponents are no weaknesses.
_CHECKS = {
    "fermat": KeyWeakness.CLOSE_PRIMES,
    "roca": KeyWeakness.ROCA,
    "sharedprimes": KeyWeakness.KNOWN_FACTOR,
    "smallfactors": KeyWeakness.SMALL_FACTOR,
    "smalld": KeyWeakness.SMALL_PRIVATE_EXPONENT,
    "rsainvalid": KeyWeakness.EXPONENT,
    "rsapoly": KeyWeakness.SPARSE,
    "rsabias": KeyWeakness.BIASED,
    "pattern": KeyWeakness.PATTERN,
    "dsasparse": KeyWeakness.SPARSE,
    "blocklist": KeyWeakness.LISTED,
}
_COUNTS = ("certificates", "names", "hosts", "issuing", "ases")
_LISTED = 10  # ASes that are named
_VANITY = "vanity"  # badkeys' word for a modulus that was made to begin with a text, which costs it nothing


@asn1.sequence
class _PublicKeyInfo:
    """SubjectPublicKeyInfo (RFC 5280 section 4.1)."""

    algorithm: asn1.TLV
    key: asn1.BitString


@asn1.sequence
class _RsaPublicKey:
    """RSAPublicKey (RFC 8017 appendix A.1.1)."""

    modulus: int
    exponent: int


@attrs.define(eq=False)
class Key:
    """One public key, and where it was seen.

    ``subject`` is the first by the alphabet of those that have it. ``weaknesses`` have a detail each: of a listed key
    the name of the list. ``hosts`` and ``ases`` are those that showed it in a leaf; ``issuing`` are hosts that sent it
    in another certificate of their chain. ``names`` are different pairs of subject and DNS names.
    """

    fingerprint: str
    kind: str
    subject: str | None = None
    modulus: int | None = None
    weaknesses: dict[KeyWeakness, str | None] = attrs.Factory(dict)
    factors: tuple[int, ...] = ()
    certificates: int = 0
    names: set[int] = attrs.Factory(set)
    hosts: int = 0
    issuing: int = 0
    ases: set[int] = attrs.Factory(set)

    @property
    def shared(self) -> bool:
        """Whether several leaves have it that are for other names, or hosts of several ASes."""
        return self.hosts > 0 and (len(self.names) > 1 or len(self.ases) > 1)


class Keys:
    """All keys of a survey. ``unreadable`` counts certificates without a key that could be read."""

    def __init__(self, *, blocklist: bool) -> None:
        """Start without any; ``blocklist`` says whether badkeys' block lists are there."""
        self._checks = [name for name in _CHECKS if blocklist or name != "blocklist"]
        self._keys: dict[str, Key] = {}
        self.unreadable = 0

    def __iter__(self) -> Iterator[Key]:
        """Give the keys, in the order of their first certificates."""
        return iter(self._keys.values())

    def __len__(self) -> int:
        """How many different keys there are."""
        return len(self._keys)

    def add(self, der: bytes, leaf: Mapping[int | None, int], issuing: int = 0) -> None:
        """Take a certificate: hosts by AS (``None``: unknown) whose leaf it is; ``issuing`` hosts sent it besides."""
        loaded = _load(der)
        if loaded is None:
            self.unreadable += 1
            return
        info = crypto.dump_publickey(crypto.FILETYPE_ASN1, loaded)
        fingerprint = hashlib.sha256(info).hexdigest()
        read = describe(der)
        key = self._keys.get(fingerprint)
        if key is None:
            key = self._keys[fingerprint] = self._examine(loaded, info, Key(fingerprint, ""))
            key.kind = read.key or f"{'rsa' if loaded.type() in _RSA else 'other'}-{loaded.bits()}"
        key.subject = min(filter(None, (key.subject, read.subject)), default=None)
        key.certificates += 1
        if leaf:
            key.names.add(hash((read.subject, *(read.names or ()))))
            key.hosts += sum(leaf.values())
            key.ases.update(asn for asn in leaf if asn is not None)
        key.issuing += issuing

    def find_common_factors(self) -> None:
        """Compare all moduli with one another, those with a small factor, which are broken keys, left out."""
        sound = [key for key in self if key.modulus and KeyWeakness.SMALL_FACTOR not in key.weaknesses]
        shared = common_factors(key.modulus for key in sound if key.modulus)
        for key in sound:
            key.factors = shared.get(key.modulus or 0, ())
            if key.factors:
                key.weaknesses[KeyWeakness.COMMON_FACTOR] = None

    def _examine(self, loaded: crypto.PKey, info: bytes, key: Key) -> Key:
        results: dict[str, Any] = {}
        if loaded.type() in _RSA:
            read = asn1.decode_der(_RsaPublicKey, asn1.decode_der(_PublicKeyInfo, info).key.as_bytes())
            if 1 < read.modulus.bit_length() <= MAX_BITS and read.modulus > 0:
                key.modulus = read.modulus
                results = badkeys.checkrsa(read.modulus, read.exponent, self._checks)
        else:
            pem = crypto.dump_publickey(crypto.FILETYPE_PEM, loaded).decode("ascii")
            results = badkeys.checkpubkey(pem, self._checks)["results"]
        if loaded.bits() < _MIN_BITS.get(loaded.type(), 0):
            key.weaknesses[KeyWeakness.SMALL] = None
        for name, found in results.items():
            if found.get("subtest") != _VANITY:
                key.weaknesses[_CHECKS[name]] = found.get("subtest")
        return key


def key_weaknesses(keys: Keys) -> Table:
    """Weak keys by weakness, and those without; a key with several is in several rows."""
    counts: dict[str | None, list[int]] = {}
    for key in keys:
        for weakness in key.weaknesses or (None,):
            row = counts.setdefault(weakness, [0, 0, 0])
            for at, number in enumerate((1, key.certificates, key.hosts)):
                row[at] += number
    ordered = ranked({weakness: row[0] for weakness, row in counts.items()})
    rows = tuple((weakness, *counts[weakness], share(count, len(keys))) for weakness, count in ordered)
    return Table("key_weaknesses", ("weakness",), ("keys", "certificates", "hosts", "share_of_keys"), rows)


def weak_keys(keys: Keys) -> Table:
    """Every weak key: SHA-256 of its SubjectPublicKeyInfo, why it is weak, and the first of its subjects."""
    weak = sorted((key for key in keys if key.weaknesses), key=_order)
    rows = tuple(
        (key.fingerprint, key.kind, " ".join(map(_reason, key.weaknesses.items())), key.subject, *_counts(key))
        for key in weak
    )
    return Table("weak_keys", ("fingerprint", "key", "weaknesses", "subject"), _COUNTS, rows)


def shared_keys(keys: Keys) -> Table:
    """Every key that leaves for different names have, or hosts of several ASes."""
    shared = sorted((key for key in keys if key.shared), key=_order)
    rows = tuple((key.fingerprint, key.kind, key.subject, _listed(key.ases), *_counts(key)) for key in shared)
    return Table("shared_keys", ("fingerprint", "key", "subject", "asns"), _COUNTS, rows)


def shared_factors(keys: Keys) -> Table:
    """Every factor that keys have in common, one row a key; of the factor itself, which is a secret, only a hash."""
    pairs = sorted(
        ((hashlib.sha256(b"%x" % factor).hexdigest()[:16], key) for key in keys for factor in key.factors),
        key=lambda pair: (pair[0], _order(pair[1])),
    )
    rows = tuple((factor, key.fingerprint, key.kind, key.subject, *_counts(key)) for factor, key in pairs)
    return Table("shared_factors", ("factor", "fingerprint", "key", "subject"), _COUNTS, rows)


def tables(keys: Keys) -> tuple[Table, ...]:
    """Make all tables."""
    return key_weaknesses(keys), weak_keys(keys), shared_keys(keys), shared_factors(keys)


def _order(key: Key) -> tuple[int, str]:
    return -key.hosts, key.fingerprint


def _counts(key: Key) -> tuple[int, ...]:
    return key.certificates, len(key.names), key.hosts, key.issuing, len(key.ases)


def _reason(weakness: tuple[KeyWeakness, str | None]) -> str:
    name, detail = weakness
    return f"{name}:{detail}" if detail else name


def _listed(ases: set[int]) -> str:
    first = " ".join(map(str, sorted(ases)[:_LISTED]))
    return f"{first} …" if len(ases) > _LISTED else first


def _load(der: bytes) -> crypto.PKey | None:
    try:
        return crypto.load_certificate(crypto.FILETYPE_ASN1, der).get_pubkey()
    except (crypto.Error, ValueError):
        return None
