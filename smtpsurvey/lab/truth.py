"""The truth about a lab: one JSON object a host that listens, and the list of targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from smtpsurvey.lab.hosts import Host

_OLD_TLS = ("TLSv1", "TLSv1.1")


def truth_of(host: Host, port: int) -> dict[str, Any]:
    """Say what a survey must find at a host; a fact that is absent is left open.

    The survey is taken to offer TLS 1.2 and 1.3, as today's clients do: a server older than that
    answers with the alert protocol_version.
    """
    behaviour, product = host.behaviour, host.product
    code, text = _reply(host.wire.greeting)
    facts: dict[str, Any] = {
        "ip": host.ip,
        "port": port,
        "name": host.name,
        "behaviour": behaviour.name,
        "vendor": product.vendor,
        "product": product.product,
        "version": host.version,
        "shows_version": product.shows_version,
        "hidden": host.hidden,
        "named": behaviour.named and not host.hidden,
        "outcome": "ok",
        "greeting_code": code,
        "greeting": text,
        "starttls": "not_offered",
        "interrupted": None,
        "tls_version": None,
        "tls_error": None,
        "certificate_sha256": None,
    }
    if host.leaf is not None:
        facts |= _tls(host)
    facts |= behaviour.expect
    if "interrupted" not in behaviour.expect and facts["starttls"] == "failed":
        del facts["interrupted"]
    if facts["starttls"] not in ("ok", "failed"):
        facts["tls_error"] = None
    if facts["starttls"] != "ok":
        facts["tls_version"] = facts["certificate_sha256"] = None
        facts.pop("trusted", None)
        facts.pop("matches_name", None)
    return facts


def _tls(host: Host) -> dict[str, Any]:
    leaf = host.leaf
    if leaf is None or host.tls_version in _OLD_TLS:
        return {"starttls": "failed", "tls_error": "protocol_version"}
    return {
        "starttls": "ok",
        "tls_version": host.tls_version,
        "certificate_sha256": leaf.sha256,
        "trusted": leaf.kind == "trusted",
        "matches_name": leaf.matches(host.name),
    }


def _reply(wire: bytes) -> tuple[int | None, str]:
    r"""Give code and text of a reply, its bytes that are not UTF-8 as ``\xNN``."""
    lines = wire.rstrip(b"\r\n").split(b"\n")
    code = int(lines[0][:3]) if lines[0][:3].isdigit() else None
    return code, b"\n".join(line.rstrip(b"\r")[4:] for line in lines).decode("utf-8", "backslashreplace")


def write_truth(file: Path, hosts: Iterable[Host], port: int) -> None:
    """Write the truth as JSON lines."""
    encoder = msgspec.json.Encoder()
    with file.open("wb") as lines:
        lines.writelines(encoder.encode(truth_of(host, port)) + b"\n" for host in hosts)


def write_targets(file: Path, targets: Iterable[tuple[str, str | None]]) -> None:
    """Write the targets, ``ip,name`` or ``ip`` a line."""
    with file.open("w", encoding="ascii") as lines:
        lines.writelines(f"{ip},{name}\n" if name else f"{ip}\n" for ip, name in targets)
