"""Second opinions on a server: the standard library's SMTP client, and OpenSSL's."""

from __future__ import annotations

import re
import smtplib
import ssl
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from servers.certificate import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from servers.namespace import Namespace

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)
CLIENT_TIME = 10


class Replies(NamedTuple):
    """What smtplib saw: each reply as (code, text), ``None`` where it did not get that far."""

    greeting: tuple[int, str]
    ehlo: tuple[int, str]
    starttls: tuple[int, str] | None
    tls_ehlo: tuple[int, str] | None
    tls_version: str | None
    quit: tuple[int, str]


def ask_smtplib(namespace: Namespace, ip: str, port: int, helo: str, *, tls: bool) -> Replies:
    """Hold the whole conversation with smtplib."""
    client = smtplib.SMTP(local_hostname=helo, timeout=CLIENT_TIME)
    with namespace.inside():
        greeting = _text(client.connect(ip, port))
    ehlo = _text(client.ehlo())
    starttls = tls_ehlo = version = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client._host = "mx.test.example"  # smtplib's name for SNI, which connect() does not set
        starttls = _text(client.starttls(context=context))
        tls_ehlo = _text(client.ehlo())
        assert isinstance(client.sock, ssl.SSLSocket)
        version = client.sock.version()
    return Replies(greeting, ehlo, starttls, tls_ehlo, version, _text(client.quit()))


def ask_openssl(namespace: Namespace, ip: str, port: int, options: Sequence[str] = ()) -> list[str]:
    """Return the SHA-256 of each certificate that ``openssl s_client -starttls smtp`` shows."""
    address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
    argv = ["openssl", "s_client", "-starttls", "smtp", "-showcerts", "-connect", address, *options]
    shown = namespace.run(*argv, stdin="QUIT\n", timeout=CLIENT_TIME)
    return [sha256_of(pem) for pem in PEM.findall(shown.stdout)]


class Handshake(NamedTuple):
    """What ``openssl s_client`` saw: SHA-256 of the chain; version, cipher, group as it names them; the verify code."""

    chain: list[str]
    version: str
    cipher: str
    group: str | None
    verified: int
    leaf: str
    staple: str


def shake_hands(namespace: Namespace, ip: str, port: int, options: Sequence[str | Path] = ()) -> Handshake | None:
    """Use STARTTLS with openssl; ``None`` where no session came of it."""
    argv = ["openssl", "s_client", "-starttls", "smtp", "-showcerts", "-status", "-connect", f"{ip}:{port}", *options]
    shown = namespace.run(*argv, stdin="QUIT\n", timeout=CLIENT_TIME).stdout
    agreed = re.search(r"^New, .+, Cipher is (\S+)$", shown, re.MULTILINE)
    assert agreed is not None, shown
    version, verified = (
        re.search(r"^    Protocol  : (\S+)$|^New, (TLSv1\.3),", shown, re.MULTILINE),
        re.findall(r"Verify return code: (\d+)", shown),
    )
    if agreed[1] == "(NONE)":
        return None
    assert version is not None, shown
    group = re.search(r"^Server Temp Key: (?:ECDH, )?(\w+)", shown, re.MULTILINE)
    staple = re.search(r"^OCSP response: (no .*)$|^    Cert Status: (\w+)$", shown, re.MULTILINE)
    pems = PEM.findall(shown.partition("Certificate chain")[2])  # a staple shows one too
    return Handshake(
        [sha256_of(pem) for pem in pems],
        version[1] or version[2],
        agreed[1],
        group and group[1],
        int(verified[0]),
        pems[0],
        "" if staple is None else staple[1] or staple[2] or "",
    )


def fits(leaf: str, name: str) -> bool:
    """Ask openssl whether a certificate (PEM) is valid for a host name."""
    argv = ["openssl", "x509", "-noout", "-checkhost", name]
    done = subprocess.run(argv, input=leaf, capture_output=True, text=True, check=True)
    return "does match" in done.stdout


def _text(reply: tuple[int, bytes]) -> tuple[int, str]:
    code, text = reply
    return code, text.decode("utf-8", "backslashreplace")
