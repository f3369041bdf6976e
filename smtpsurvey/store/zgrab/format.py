"""The shape of zgrab2's results, as far as SMTP needs it: what is not here is not read, and not written."""

from __future__ import annotations

import msgspec

NOTHING = msgspec.Raw(b"null")
"""JSON that is not there: msgspec allows no union with ``Raw``."""


class Named(msgspec.Struct, omit_defaults=True):
    """A version or a cipher suite: its standard name and number."""

    name: str | None = None
    value: int | None = None
    hex: str | None = None


class Selected(msgspec.Struct, omit_defaults=True):
    """The TLS 1.3 extension that says which version it is (RFC 8446 section 4.2.1)."""

    selected_version: Named | None = None


class ServerHello(msgspec.Struct, omit_defaults=True):
    """What the server chose."""

    version: Named | None = None
    cipher_suite: Named | None = None
    supported_versions: Selected | None = None


class Encoded(msgspec.Struct, omit_defaults=True):
    """A certificate: DER in Base64, and what was read of it (written only)."""

    raw: bytes | None = None
    parsed: msgspec.Raw = NOTHING


class Validation(msgspec.Struct, omit_defaults=True):
    """zgrab2's verdict on the chain."""

    browser_trusted: bool | None = None
    browser_error: str | None = None
    matches_domain: bool | None = None


class Certificates(msgspec.Struct, omit_defaults=True):
    """The chain, its leaf apart."""

    certificate: Encoded | None = None
    chain: list[Encoded] | None = None
    validation: Validation | None = None


class Handshake(msgspec.Struct, omit_defaults=True):
    """The messages of a handshake that we use."""

    server_hello: ServerHello | None = None
    server_certificates: Certificates | None = None


class TlsLog(msgspec.Struct, omit_defaults=True):
    """The log of a handshake."""

    handshake_log: Handshake | None = None


class Result(msgspec.Struct, omit_defaults=True):
    """What the module ``smtp`` found: replies with codes and line ends."""

    banner: str = ""
    helo: str = ""
    ehlo: str = ""
    starttls: str = ""
    quit: str = ""
    implicit_tls: bool = False
    tls: TlsLog | None = None


class Scan(msgspec.Struct, omit_defaults=True):
    """The result of one module."""

    status: str
    protocol: str | None = None
    port: int | None = None
    timestamp: str | None = None
    result: msgspec.Raw = NOTHING
    error: str | None = None


class Line(msgspec.Struct, omit_defaults=True):
    """The results of all modules for one target."""

    ip: str = ""
    domain: str = ""
    data: dict[str, Scan] = {}
