"""RSA keys without waiting: primes by their number, and certificates around any modulus."""

from __future__ import annotations

import random
from functools import cache
from hashlib import shake_256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat import asn1

OFFSETS = Path(__file__).with_name("prime-offsets.txt")
_TEMPLATE_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")  # rsaEncryption, NULL
_SIGNED_BY = bytes.fromhex("300d06092a864886f70d01010b0500")  # sha256WithRSAEncryption, NULL


@asn1.sequence
class RsaPublicKey:
    modulus: int
    exponent: int


@cache
def _offsets() -> list[int]:
    return list(map(int, OFFSETS.read_text("ascii").split()))


def prime(number: int) -> int:
    """Give a prime of 1,024 bits: the first one after a hash of its number, how far is in the file."""
    start = int.from_bytes(shake_256(number.to_bytes(4, "big")).digest(128), "big") | 3 << 1022
    return start + _offsets()[number]


def primes() -> int:
    """How many primes there are."""
    return len(_offsets())


def certificate(modulus: int, exponent: int = 65537, subject: str = "mx.test.example", serial: int = 1) -> bytes:
    """Make a certificate (DER) of a key that nobody needs to have; its signature is none."""
    key = asn1.encode_der(RsaPublicKey(modulus=modulus, exponent=exponent))
    name = x509.Name.from_rfc4514_string(f"CN={subject}").public_bytes()
    dates = _tlv(0x30, _tlv(0x17, b"260101000000Z"), _tlv(0x17, b"270101000000Z"))
    info = _tlv(0x30, _TEMPLATE_ALGORITHM, _tlv(0x03, b"\0" + key))
    version = _tlv(0xA0, asn1.encode_der(2))
    to_sign = _tlv(0x30, version, asn1.encode_der(serial), _SIGNED_BY, name, dates, name, info)
    return _tlv(0x30, to_sign, _SIGNED_BY, _tlv(0x03, b"\0" + random.Random(serial).randbytes(256)))


def _tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    length = len(body)
    if length < 128:
        return bytes([tag, length]) + body
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + body
