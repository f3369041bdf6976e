"""Signed zones (DNSSEC), signed with dnspython."""

from __future__ import annotations

import dns.dnssec
import dns.name
import dns.zone
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def signed(origin: str, text: str) -> tuple[str, str]:
    """Sign a zone; give it as a master file, and the DS record of its key."""
    name = dns.name.from_text(origin)
    zone = dns.zone.from_text(text, origin)
    key = Ed25519PrivateKey.generate()
    public = dns.dnssec.make_dnskey(key.public_key(), "ED25519", flags=257)
    with zone.writer() as writer:
        dns.dnssec.sign_zone(zone, writer, [(key, public)], add_dnskey=True, dnskey_ttl=60, lifetime=86_400)
    return zone.to_text(), f"{origin}. DS {dns.dnssec.make_ds(name, public, 'SHA256')}"
