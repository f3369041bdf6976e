"""Weak keys of every kind, planted among sound ones: all are found, and no other."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from math import prod
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from gmpy2 import invert, is_prime, next_prime
from rsakeys import certificate, prime, primes

from smtpsurvey.analysis.keys import MAX_BITS, Keys, key_weaknesses, shared_factors, shared_keys, tables, weak_keys
from smtpsurvey.outcomes import KeyWeakness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

EACH = 20
ALL = 2000
SMALL_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 641, 65537)
# What the library of CVE-2017-15361 makes: k * M + (65537 ** a mod M), M the product of the first 126 primes.
PRIMORIAL = prod(number for number in range(702) if is_prime(number))
RSA = tuple[int, int]


class Supply:
    """Primes, each given out once, and a source of chance that is always the same."""

    def __init__(self) -> None:
        self.random = random.Random(2008)
        self._numbers: Iterator[int] = iter(range(primes()))

    def prime(self) -> int:
        return prime(next(self._numbers))

    def small(self) -> list[RSA]:
        def half() -> int:
            return int(next_prime(self.random.getrandbits(512) | 3 << 510))

        return [(half() * half(), 65537) for _ in range(EACH)]

    def sound(self, count: int = EACH) -> list[RSA]:
        return [(self.prime() * self.prime(), 65537) for _ in range(count)]

    def common_factor(self) -> list[RSA]:
        """Seven pairs, a triangle of three primes in three keys, and three keys of one prime."""
        shared = [self.prime() for _ in range(7)]
        moduli = [one * self.prime() for one in shared for _ in range(2)]
        a, b, c, d = (self.prime() for _ in range(4))
        moduli += [a * b, b * c, a * c] + [d * self.prime() for _ in range(3)]
        return [(modulus, 65537) for modulus in moduli]

    def close_primes(self) -> list[RSA]:
        return [(first * int(next_prime(first)), 65537) for first in (self.prime() for _ in range(EACH))]

    def roca(self) -> list[RSA]:
        return [(self._infineon() * self._infineon(), 65537) for _ in range(EACH)]

    def _infineon(self) -> int:
        tail = pow(65537, self.random.getrandbits(200), PRIMORIAL)
        factor = (3 << 1022) // PRIMORIAL + 1 + self.random.getrandbits(40)
        while not is_prime(factor * PRIMORIAL + tail):
            factor += 1
        return factor * PRIMORIAL + tail

    def small_factor(self) -> list[RSA]:
        return [(small * self.prime() * self.prime(), 65537) for small in SMALL_PRIMES]

    def small_private_exponent(self) -> list[RSA]:
        made = []
        for _ in range(EACH):
            p, q = self.prime(), self.prime()
            private = int(next_prime(self.random.getrandbits(480)))
            made.append((p * q, int(invert(private, (p - 1) * (q - 1)))))
        return made

    def exponent(self) -> list[RSA]:
        return [(modulus, 1) for modulus, _ in self.sound()]

    def sparse(self) -> list[RSA]:
        return [(self._nautilus() * self._nautilus(), 65537) for _ in range(EACH)]

    def _nautilus(self) -> int:
        """A prime with a few bits in each 128."""
        while True:
            start = sum(self.random.randrange(1, 8) << 128 * at for at in range(1, 9))
            found = int(next_prime(start))
            if found - start < 4000:
                return found

    def biased(self) -> list[RSA]:
        """Moduli of whose bits five in six are ones, as far as one prime can bring that about."""
        made = []
        for _ in range(EACH):
            p = self.prime()
            high, low = (self._ones(bits) for bits in (500, 480))
            q = (high << 1548) // p >> 524 << 524 | int(low * invert(p, 1 << 480) % (1 << 480))
            while not is_prime(q):
                q += 1 << 480
            made.append((p * q, 65537))
        return made

    def _ones(self, bits: int) -> int:
        return sum((self.random.random() < 5 / 6) << at for at in range(1, bits - 1)) | 1 << bits - 1 | 1

    def pattern(self) -> list[RSA]:
        made = []
        for number in range(EACH):
            p, first = self.prime(), self.random.getrandbits(64) | 1 << 63
            wanted = int.from_bytes(first.to_bytes(8, "big") + bytes([number + 65]) * 20, "big") << 2048 - 224
            made.append((p * int(next_prime(wanted // p)), 65537))
        return made


@pytest.fixture
def known() -> Supply:
    return Supply()


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Give what makes a block list in badkeys' format, where badkeys looks for it in this test."""

    def make(moduli: list[int]) -> None:
        digests = sorted(hashlib.sha256(m.to_bytes((m.bit_length() + 7) // 8, "big")).digest()[:15] for m in moduli)
        (tmp_path / "blocklist.dat").write_bytes(b"".join(digest + b"\2" for digest in digests))
        meta = {"bkformat": 0, "blocklists": [{"id": 2, "name": "debianweak"}]}
        (tmp_path / "badkeysdata.json").write_text(json.dumps(meta))

    block = sys.modules["badkeys.allkeys.block"]
    monkeypatch.setattr(block, "_cachedir", lambda: str(tmp_path))
    monkeypatch.setattr(block, "_blmeta", False)
    monkeypatch.setattr(block, "_bldata", False)
    return make


def test_of_2000_keys_the_20_weak_ones_of_each_kind_are_found_and_no_other(
    known: Supply, lists: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {
        KeyWeakness.SMALL: known.small(),
        KeyWeakness.LISTED: known.sound(),
        KeyWeakness.COMMON_FACTOR: known.common_factor(),
        KeyWeakness.KNOWN_FACTOR: known.sound(),
        KeyWeakness.CLOSE_PRIMES: known.close_primes(),
        KeyWeakness.ROCA: known.roca(),
        KeyWeakness.SMALL_FACTOR: known.small_factor(),
        KeyWeakness.SMALL_PRIVATE_EXPONENT: known.small_private_exponent(),
        KeyWeakness.EXPONENT: known.exponent(),
        KeyWeakness.SPARSE: known.sparse(),
        KeyWeakness.BIASED: known.biased(),
        KeyWeakness.PATTERN: known.pattern(),
    }
    assert set(planted) == set(KeyWeakness)
    assert {len(rsa) for rsa in planted.values()} == {EACH}
    lists([modulus for modulus, _ in planted[KeyWeakness.LISTED]])
    earlier = prod(modulus for modulus, _ in planted[KeyWeakness.KNOWN_FACTOR])
    monkeypatch.setitem(sys.modules["badkeys.rsakeys.sharedprimes"]._moduli, 2048, earlier)
    shared, spread = known.sound(), known.sound()
    sound = known.sound(ALL - EACH * (len(planted) + 2))

    keys = Keys(blocklist=True)
    serial = 0
    for modulus, exponent in [*sound, *(pair for pairs in planted.values() for pair in pairs), *shared, *spread]:
        serial += 1
        keys.add(certificate(modulus, exponent, f"mx{serial}.example", serial), {64500: 1})
    for modulus, exponent in shared:
        serial += 1
        keys.add(certificate(modulus, exponent, f"mx{serial}.example", serial), {64500: 1})
    for number, (modulus, exponent) in enumerate(spread, serial - EACH - EACH + 1):
        serial += 1
        keys.add(certificate(modulus, exponent, f"mx{number}.example", serial), {64501: 1, None: 1})
    keys.find_common_factors()

    assert len(keys) == ALL
    assert keys.unreadable == 0
    found: dict[KeyWeakness, set[int | None]] = {weakness: set() for weakness in KeyWeakness}
    for key in keys:
        for weakness in key.weaknesses:
            found[weakness].add(key.modulus)
    assert found == {weakness: {modulus for modulus, _ in rsa} for weakness, rsa in planted.items()}
    assert {key.modulus for key in keys if len(key.names) > 1} == {modulus for modulus, _ in shared}
    assert {key.modulus for key in keys if len(key.ases) > 1} == {modulus for modulus, _ in spread}
    assert len(shared_keys(keys).rows) == 2 * EACH
    assert len(shared_factors(keys).rows) == 14 + 6 + 3
    assert len(weak_keys(keys).rows) == len(planted) * EACH
    rows = {row[0]: row[1:] for row in key_weaknesses(keys).rows}
    assert rows.pop(None)[0] == ALL - len(planted) * EACH
    assert {weakness: row[0] for weakness, row in rows.items()} == dict.fromkeys(KeyWeakness, EACH)


def signed(key: CertificateIssuerPrivateKeyTypes, digest: SHA256 | None = None) -> bytes:
    builder = x509.CertificateBuilder().serial_number(1).public_key(key.public_key())
    name = x509.Name.from_rfc4514_string("CN=mx.test.example")
    builder = builder.subject_name(name).issuer_name(name).not_valid_before(DAY).not_valid_after(DAY)
    return builder.sign(key, digest).public_bytes(Encoding.DER)


DAY = x509.load_der_x509_certificate(certificate(prime(0) * prime(1))).not_valid_before_utc


def test_keys_of_other_kinds_are_small_or_not(lists: Callable[[list[int]], None]) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    lists([curve.public_key().public_numbers().x])
    keys = Keys(blocklist=True)
    keys.add(signed(dsa.generate_private_key(1024), SHA256()), {})
    keys.add(signed(ed25519.Ed25519PrivateKey.generate()), {})
    keys.add(signed(curve, SHA256()), {})
    keys.add(signed(ec.generate_private_key(ec.SECP192R1()), SHA256()), {})
    keys.find_common_factors()
    assert [(key.kind, key.weaknesses) for key in keys] == [
        ("dsa-1024", {KeyWeakness.SMALL: None}),
        ("ed25519", {}),
        ("ecdsa-p256", {KeyWeakness.LISTED: "debianweak"}),
        ("ecdsa-secp192r1", {KeyWeakness.SMALL: None}),
    ]


def test_the_reason_of_a_listed_key_names_the_list(lists: Callable[[list[int]], None]) -> None:
    modulus = prime(0) * prime(1)
    lists([modulus])
    keys = Keys(blocklist=True)
    keys.add(certificate(modulus), {64500: 2, 64501: 1}, issuing=4)
    ((fingerprint, *row),) = weak_keys(keys).rows
    assert len(str(fingerprint)) == 64
    assert row == ["rsa-2048", "listed:debianweak", "CN=mx.test.example", 1, 1, 3, 4, 2]


def test_without_a_block_list_none_is_looked_for() -> None:
    keys = Keys(blocklist=False)
    keys.add(certificate(prime(0) * prime(1)), {None: 1})
    assert [key.weaknesses for key in keys] == [{}]
    assert key_weaknesses(keys).rows == ((None, 1, 1, 1, 1.0),)


def test_a_key_that_only_issuers_have_is_not_shared() -> None:
    keys = Keys(blocklist=False)
    for serial, name in enumerate(("root.example", "cross.example"), 1):
        keys.add(certificate(prime(0) * prime(1), subject=name, serial=serial), {}, issuing=7)
    assert [(key.certificates, key.hosts, key.issuing, key.shared) for key in keys] == [(2, 0, 14, False)]


def test_two_keys_of_one_modulus_have_different_exponents_and_share_nothing() -> None:
    keys = Keys(blocklist=False)
    keys.add(certificate(prime(0) * prime(1), 3), {None: 1})
    keys.add(certificate(prime(0) * prime(1), 65537), {None: 1})
    keys.add(certificate(prime(0) * prime(2), 65537), {None: 1})
    keys.find_common_factors()
    assert [key.factors for key in keys] == [(prime(0),)] * 3


def test_hosts_of_many_ases_are_named_up_to_ten() -> None:
    keys = Keys(blocklist=False)
    keys.add(certificate(prime(0) * prime(1)), dict.fromkeys(range(12, 0, -1), 1))
    ((*_, asns, certificates, names, hosts, issuing, ases),) = shared_keys(keys).rows
    assert asns == "1 2 3 4 5 6 7 8 9 10 …"
    assert (certificates, names, hosts, issuing, ases) == (1, 1, 12, 0, 12)


@pytest.mark.parametrize(
    "der",
    [b"", b"\x30\x00", certificate(prime(0) * prime(1)).replace(b"\x30\x82\x01\x0a", b"\x30\x82\x01\x0b")],
    ids=["empty", "no certificate", "broken key"],
)
def test_what_has_no_key_that_can_be_read_is_counted(der: bytes) -> None:
    keys = Keys(blocklist=False)
    keys.add(der, {None: 1})
    keys.find_common_factors()
    assert (len(keys), keys.unreadable) == (0, 1)
    assert [table.rows for table in tables(keys)] == [(), (), (), ()]


@pytest.mark.parametrize("modulus", [1, (1 << MAX_BITS) + 1], ids=["one", "long"])
def test_moduli_that_none_can_use_are_not_looked_at(modulus: int) -> None:
    keys = Keys(blocklist=False)
    keys.add(certificate(modulus), {None: 1})
    keys.find_common_factors()
    assert [key.modulus for key in keys] == [None]
