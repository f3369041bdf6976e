"""Stapled OCSP responses: what one says of the leaf's certificate, its own signature not verified."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import ocsp

from smtpsurvey.outcomes import Staple

_STATUS = {
    ocsp.OCSPCertStatus.GOOD: Staple.GOOD,
    ocsp.OCSPCertStatus.REVOKED: Staple.REVOKED,
    ocsp.OCSPCertStatus.UNKNOWN: Staple.UNKNOWN,
}


def read_staple(response: bytes, now: float) -> Staple:
    """Read a response (RFC 6960 section 4.2, DER) at a time in seconds since the epoch."""
    try:
        read = next(iter(ocsp.load_der_ocsp_response(response).responses))
        status, until = read.certificate_status, read.next_update_utc
    except (ValueError, UnsupportedAlgorithm, StopIteration):
        return Staple.UNREADABLE
    if until is not None and until < datetime.fromtimestamp(now, UTC):
        return Staple.EXPIRED
    return _STATUS[status]
