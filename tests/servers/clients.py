"""Second opinions on a server: the standard library's SMTP client, and OpenSSL's."""

from __future__ import annotations

import re
import smtplib
import ssl
from typing import TYPE_CHECKING, NamedTuple

from servers.certificate import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def _text(reply: tuple[int, bytes]) -> tuple[int, str]:
    code, text = reply
    return code, text.decode("utf-8", "backslashreplace")
