"""Real mail servers whose greeting no longer names them: each is named by its behaviour, and surely never wrongly."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from conftest import CACHE
from servers import exim, libraries, postfix, sendmail
from servers.crawl import Item, schema_errors, start_crawl
from servers.daemon import Daemon
from servers.exim import start_exim
from servers.libraries import start_smtp_server
from servers.namespace import Namespace
from servers.opensmtpd import start_opensmtpd
from servers.postfix import start_postfix
from servers.sendmail import start_sendmail

from smtpsurvey.classify import Classifier, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.certificate import ServerCertificate

# Each server's own setting for the greeting.
SETTINGS = (
    (postfix, "MAIN", "myhostname =", "smtpd_banner = $myhostname ESMTP\nmyhostname ="),
    (exim, "CONFIGURATION", "never_users =", "smtp_banner = $primary_hostname ESMTP\nnever_users ="),
    (
        sendmail,
        "CONFIGURATION",
        "FEATURE(`nocanonify')",
        "define(`confSMTP_LOGIN_MSG', `$j')dnl\nFEATURE(`nocanonify')",
    ),
    (libraries, "NODE_SERVER", "banner: ''", "banner: 'ready'"),
)
AIOSMTPD = """\
import asyncio, ssl
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP

context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain({certificate}, {key})

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Sink(), ident="ESMTP", tls_context=context), "127.0.1.6", 2525)
    await server.serve_forever()

asyncio.run(main())
"""
# Address, greeting, product. OpenSMTPD has no setting for its greeting.
HIDDEN = {
    "127.0.1.1": ("postfix.test.example ESMTP", "Postfix"),
    "127.0.1.2": ("exim.test.example ESMTP", "Exim"),
    "127.0.1.3": ("opensmtpd.test.example ESMTP OpenSMTPD", "OpenSMTPD"),
    "127.0.1.4": ("sendmail.test.example ESMTP", "Sendmail"),
    "127.0.1.6": (None, "aiosmtpd"),
    "127.0.1.8": ("node.test.example ESMTP ready", "smtp-server"),
}
OPENSMTPD = "127.0.1.3"
# smtp-server's own greeting does not name it.
OWN_GREETINGS = {
    "127.0.1.1": "mx.example.com ESMTP Postfix",
    "127.0.1.2": "mx.example.com ESMTP Exim 4.96 Wed, 25 Nov 2026 02:37:00 +0000",
    "127.0.1.3": "mx.example.com ESMTP OpenSMTPD",
    "127.0.1.4": "mx.example.com ESMTP Sendmail 8.17.1.9/8.17.1.9; Wed, 25 Nov 2026 02:37:00 GMT",
    "127.0.1.6": "mx.example.com Python SMTP 1.4.6",
}
GREETINGS = ("mx.example.com", "mx.example.com ESMTP", "exim.example.com ready", "Welcome", "")


@pytest.fixture(scope="module")
def items(
    server_folder: Path, certificate: ServerCertificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Item]]:
    """Survey the servers, each configured not to say what it is."""
    folder = server_folder / "hidden"
    folder.mkdir()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for module, name, old, new in SETTINGS:
            assert old in getattr(module, name)
            patch.setattr(module, name, getattr(module, name).replace(old, new, 1))
        namespace = Namespace("hidden")
        stack.callback(namespace.close)
        (node_modules,) = (CACHE / "npm").glob("smtp-server@*/node_modules")
        daemons = (
            start_postfix(namespace, folder / "postfix", certificate),
            start_exim(namespace, folder / "exim", certificate, CACHE / "exim"),
            start_opensmtpd(namespace, folder / "opensmtpd", certificate, CACHE / "opensmtpd"),
            start_sendmail(namespace, folder / "sendmail", certificate, CACHE / "sendmail"),
            start_hidden_aiosmtpd(namespace, folder, certificate),
            start_smtp_server(namespace, folder, certificate, node_modules),
        )
        for daemon in daemons:
            stack.callback(daemon.stop)
        for daemon, ip in zip(daemons, HIDDEN, strict=True):
            daemon.wait_until_listening(ip, 2525)
        crawl = start_crawl(
            namespace,
            tmp_path_factory.mktemp("hidden"),
            [f"{ip},mx.test.example,,2525" for ip in HIDDEN],
            {"SMTPSURVEY_ALLOW": "127.0.0.0/8"},
        )
        yield {item["ip"]: item for item in crawl.finish()}


def start_hidden_aiosmtpd(namespace: Namespace, folder: Path, tls: ServerCertificate) -> Daemon:
    script = folder / "server.py"
    names = {"certificate": tls.certificate, "key": tls.key}
    script.write_text(AIOSMTPD.format(**{name: json.dumps(str(path)) for name, path in names.items()}), "utf-8")
    return Daemon(namespace, [sys.executable, script], folder / "aiosmtpd.log")


def transcript(item: Item, greeting: str) -> Transcript:
    tls = (item.get("tls") or {}).get("ehlo") or {}
    return Transcript(
        greeting,
        item["ehlo"]["text"].partition("\n")[0],
        " ".join(item["ehlo"]["extensions"]),
        (item.get("starttls_reply") or {}).get("text", ""),
        (item.get("quit") or {}).get("text", ""),
        " ".join(tls.get("extensions") or ()),
    )


@pytest.mark.parametrize("ip", [ip for ip in HIDDEN if ip != OPENSMTPD])
def test_a_server_that_hides_is_named_by_its_behaviour(items: dict[str, Item], ip: str) -> None:
    greeting, product = HIDDEN[ip]
    software = items[ip]["software"]
    assert greeting is None or items[ip]["greeting"]["text"] == greeting
    assert (software["product"], software.get("version")) == (product, None)
    assert software["evidence"] != "greeting"
    assert software["certainty"] == "likely"


def test_opensmtpd_cannot_hide_and_is_certain(items: dict[str, Item]) -> None:
    assert items[OPENSMTPD]["greeting"]["text"] == HIDDEN[OPENSMTPD][0]
    assert items[OPENSMTPD]["software"]["certainty"] == "certain"


@pytest.mark.parametrize("greeting", GREETINGS)
@pytest.mark.parametrize("ip", HIDDEN)
def test_whatever_the_greeting_is_replaced_by_the_behaviour_names_it(
    items: dict[str, Item], ip: str, greeting: str
) -> None:
    verdict = BUILTIN.classify(transcript(items[ip], greeting))
    assert verdict is not None
    assert (verdict.product, verdict.certainty, verdict.claims) == (HIDDEN[ip][1], "likely", None)


@pytest.mark.parametrize("ip", [ip for ip in HIDDEN if ip != OPENSMTPD])
def test_a_server_that_claims_to_be_another_is_disputed_and_both_claims_are_kept(
    items: dict[str, Item], ip: str
) -> None:
    verdict = BUILTIN.classify(transcript(items[ip], "mx.example.com ESMTP OpenSMTPD"))
    assert verdict is not None
    assert (verdict.product, verdict.certainty) == ("OpenSMTPD", "disputed")
    assert verdict.claims == {"greeting": "OpenSMTPD", "behaviour": HIDDEN[ip][1]}


@pytest.mark.parametrize("ip", OWN_GREETINGS)
def test_a_server_that_names_itself_is_certain(items: dict[str, Item], ip: str) -> None:
    verdict = BUILTIN.classify(transcript(items[ip], OWN_GREETINGS[ip]))
    assert verdict is not None
    assert (verdict.product, verdict.certainty, verdict.claims) == (HIDDEN[ip][1], "certain", None)


def test_every_item_validates_against_the_published_schema(items: dict[str, Item]) -> None:
    assert schema_errors(items.values()) == []


BUILTIN = Classifier.load(["builtin"])
