"""The certificate that the tests' servers show."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class ServerCertificate(NamedTuple):
    """A self-signed certificate for ``mx.test.example``, with its key (PEM files)."""

    certificate: Path
    key: Path

    @property
    def sha256(self) -> str:
        """SHA-256 of the DER, in hex."""
        return sha256_of(self.certificate.read_text("ascii"))


def make_certificate(folder: Path) -> ServerCertificate:
    """Make key and certificate with openssl, not with the library that the survey reads them with."""
    made = ServerCertificate(folder / "cert.pem", folder / "key.pem")
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=mx.test.example"]
    argv += ["-addext", "subjectAltName=DNS:mx.test.example"]
    argv += ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    return made


def sha256_of(pem: str) -> str:
    """SHA-256, in hex, of a PEM certificate's DER."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
