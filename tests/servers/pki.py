"""Certificates good and bad, made with openssl, for servers that show one each."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# "openssl ca", for it alone can give any dates in OpenSSL 3.0.
CONFIGURATION = """\
[req]
distinguished_name = nothing
[nothing]
[ca]
dir = {folder}
database = $dir/index.txt
new_certs_dir = $dir
rand_serial = yes
policy = anything
unique_subject = no
email_in_dn = no
copy_extensions = copy
default_md = sha256
[anything]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign
[leaf]
basicConstraints = CA:FALSE
[pointing]
basicConstraints = CA:FALSE
authorityInfoAccess = caIssuers;URI:http://ca.test.example/intermediate.der
"""
KINDS = {
    "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsa-1024": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
    "ecdsa": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "ed25519": ("-algorithm", "ED25519"),
}
PAST, START, END = "20200101000000Z", "20250101000000Z", "20990101000000Z"


class Pki:
    """A folder of keys and certificates (PEM, by name)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._configuration = folder / "ca.cnf"
        self._configuration.write_text(CONFIGURATION.format(folder=folder), "ascii")
        (folder / "index.txt").touch()
        for kind, options in KINDS.items():
            _openssl("genpkey", *options, "-out", self.key(kind))

    def key(self, kind: str) -> Path:
        return self.folder / f"{kind}.key"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def authority(self, name: str, issuer: str | None = None) -> None:
        """Make an authority, which signs itself without an issuer; its key has its name."""
        _openssl("genpkey", *KINDS["rsa"], "-out", self.key(name))
        self._sign(name, self._request(name, name), issuer or name, ("-extensions", "authority"))

    def leaf(
        self,
        name: str,
        kind: str = "rsa",
        *,
        issuer: str = "intermediate",
        names: str = "DNS:mx.test.example",
        options: Sequence[str] = ("-extensions", "leaf"),
        dates: tuple[str, str] = (START, END),
    ) -> None:
        """Make a server's certificate; an issuer with the leaf's own name is itself."""
        request = self._request(name, kind, "-addext", f"subjectAltName={names}")
        self._sign(name, request, kind if issuer == name else issuer, options, dates)

    def chain(self, name: str, kind: str, *certificates: str) -> Path:
        """Write the file that a server wants: the key, and then the certificates in this order."""
        path = self.folder / f"{name}.chain"
        parts = [self.key(kind), *map(self.certificate, certificates)]
        path.write_text("".join(part.read_text("ascii") for part in parts), "ascii")
        path.chmod(0o644)
        return path

    def staple(self, name: str, issuer: str) -> Path:
        """Make an OCSP response (DER) for a certificate, by its issuer itself."""
        path = self.folder / f"{name}.ocsp"
        argv = ["-index", self.folder / "index.txt", "-rsigner", self.certificate(issuer), "-rkey", self.key(issuer)]
        argv += ["-CA", self.certificate(issuer), "-issuer", self.certificate(issuer), "-cert", self.certificate(name)]
        _openssl("ocsp", *argv, "-ndays", "7", "-respout", path)
        return path

    def _request(self, name: str, kind: str, *options: str) -> Path:
        request = self.folder / f"{name}.csr"
        subject = f"/CN={name}.test.example"
        config = ("-config", self._configuration)
        _openssl("req", "-new", *config, "-key", self.key(kind), "-subj", subject, *options, "-out", request)
        return request

    def _sign(
        self, name: str, request: Path, issuer: str, options: Sequence[str], dates: tuple[str, str] = (START, END)
    ) -> None:
        argv = ["-config", self._configuration, "-name", "ca", "-batch", "-notext", "-keyfile", self.key(issuer)]
        itself = issuer in {name, *KINDS}
        argv += ["-selfsign"] if itself else ["-cert", self.certificate(issuer)]
        argv += ["-in", request, "-out", self.certificate(name), "-startdate", dates[0], "-enddate", dates[1]]
        _openssl("ca", *argv, *options)


def _openssl(*argv: str | Path) -> None:
    done = subprocess.run(["openssl", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
