"""Everything that a survey says to a server, written down by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.crawl import HELO, start_crawl
from servers.responder import sessions, start_responder

if TYPE_CHECKING:
    from pathlib import Path

    from servers.certificate import ServerCertificate
    from servers.namespace import Namespace

TARGETS = ["127.0.1.1", "127.0.1.2,mx.test.example", "::1"]
SETTINGS = {"SMTPSURVEY_ALLOW": "127.0.0.0/8,::1/128"}
EHLO, STARTTLS, QUIT = f"EHLO {HELO}\r\n", "STARTTLS\r\n", "QUIT\r\n"


@pytest.mark.parametrize(
    ("offered", "asked", "plain", "encrypted"),
    [
        (True, "1", [EHLO, STARTTLS], [EHLO, QUIT]),
        (True, "0", [EHLO, QUIT], []),
        (False, "1", [EHLO, QUIT], []),
    ],
    ids=["starttls", "starttls not asked", "starttls not offered"],
)
def test_nothing_is_said_but_ehlo_starttls_and_quit(
    alone: Namespace,
    certificate: ServerCertificate,
    tmp_path: Path,
    *,
    offered: bool,
    asked: str,
    plain: list[str],
    encrypted: list[str],
) -> None:
    responder = start_responder(alone, tmp_path, tls=certificate if offered else None)
    try:
        items = start_crawl(alone, tmp_path, TARGETS, SETTINGS, arguments=("-a", f"tls={asked}")).finish()
    finally:
        responder.stop()
    assert [item["outcome"] for item in items] == ["ok"] * len(TARGETS)
    crawled = sessions(tmp_path)
    assert sorted(session["address"] for session in crawled) == ["127.0.1.1", "127.0.1.2", "::1"]
    assert [(session["commands"], session["tls_commands"]) for session in crawled] == [(plain, encrypted)] * 3
