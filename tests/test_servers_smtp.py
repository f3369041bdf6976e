"""The survey of real mail servers: Postfix, Exim, Sendmail, OpenSMTPD, aiosmtpd, smtp-server and their odd moods."""

from __future__ import annotations

import re
import socket
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from servers.clients import ask_openssl, ask_smtplib
from servers.crawl import HELO, REPOSITORY, Item, schema_errors, start_crawl

if TYPE_CHECKING:
    from conftest import MailServers

NAME = "mx.test.example"


class Server(NamedTuple):
    """What one listener is known to be: its facts by its own manual and configuration, not by our code."""

    ip: str
    greeting: str  # a pattern for the whole text
    extensions: str = ""  # keywords in the order sent
    starttls: str | None = "ok"
    software: tuple[str, str | None] | None = None  # product, version
    port: int = 2525
    code: int = 220

    @property
    def key(self) -> tuple[str, int]:
        return self.ip, self.port

    @property
    def target(self) -> str:
        """The line of the targets file."""
        return f"[{self.ip}],,,{self.port}" if ":" in self.ip else f"{self.ip},{NAME},tag-{self.port},{self.port}"


POSTFIX_EXTENSIONS = "PIPELINING SIZE VRFY ETRN STARTTLS ENHANCEDSTATUSCODES 8BITMIME DSN SMTPUTF8 CHUNKING"
POSTFIX = Server("127.0.1.1", r"postfix\.test\.example ESMTP Postfix", POSTFIX_EXTENSIONS, software=("Postfix", None))
POSTFIX_IPV6 = POSTFIX._replace(ip="::1", port=2526)
POSTFIX_NAMELESS = POSTFIX._replace(ip="127.0.2.7", greeting=r"postfix\.test\.example")
POSTFIX_TLS_1_0 = POSTFIX._replace(ip="127.0.2.5", starttls="failed")
POSTFIX_BUSY = Server(
    "127.0.2.4",
    r"4\.7\.0 postfix\.test\.example Error: too many connections from 127\.0\.0\.1",
    starttls=None,
    software=("Postfix", None),
    code=421,
)
POSTSCREEN = POSTFIX._replace(
    ip="127.0.1.25",
    greeting=r"postscreen\.test\.example ESMTP please wait\npostfix\.test\.example ESMTP Postfix",
)
IMPLICIT_TLS = ("127.0.2.6", 2525)
SMTP_SINK = Server(
    "127.0.1.11",
    r"sink\.test\.example ESMTP",
    "PIPELINING 8BITMIME AUTH XCLIENT XFORWARD ENHANCEDSTATUSCODES DSN",
    starttls="not_offered",
    software=("smtp-sink", None),
)
EXIM = Server(
    "127.0.1.2",
    r"exim\.test\.example ESMTP Exim 4\.96 \w{3}, \d\d \w{3} \d{4} [\d:]{8} [+-]\d{4}",
    "SIZE 8BITMIME PIPELINING PIPECONNECT CHUNKING STARTTLS SMTPUTF8 HELP",
    software=("Exim", "4.96"),
)
EXIM_554 = Server("127.0.1.2", r"No SMTP service here", starttls=None, port=2554, code=554)
EXIM_421 = Server("127.0.1.2", r"Try later", starttls=None, port=2421, code=421)
EXIM_550 = Server(
    "127.0.1.2",
    r"554-go away\n554 Blocked - see http://bl\.test\.example",
    starttls=None,
    port=2550,
    code=550,
)
OPENSMTPD = Server(
    "127.0.1.3",
    r"opensmtpd\.test\.example ESMTP OpenSMTPD",
    "8BITMIME ENHANCEDSTATUSCODES SIZE DSN STARTTLS HELP",
    starttls="failed",
    software=("OpenSMTPD", None),
)
SENDMAIL = Server(
    "127.0.1.4",
    r"sendmail\.test\.example ESMTP Sendmail 8\.17\.1\.9/8\.17\.1\.9; \w{3}, \d\d? \w{3} \d{4} [\d:]{8} .+",
    "ENHANCEDSTATUSCODES PIPELINING EXPN VERB 8BITMIME SIZE DSN ETRN STARTTLS DELIVERBY HELP",
    software=("Sendmail", "8.17.1.9"),
)
AIOSMTPD = Server("127.0.1.6", r"\S+ Python SMTP 1\.4\.6", "8BITMIME STARTTLS HELP", software=("aiosmtpd", "1.4.6"))
SMTP_SERVER = Server(
    "127.0.1.8",
    r"node\.test\.example ESMTP",
    "PIPELINING 8BITMIME SMTPUTF8 AUTH STARTTLS",
    software=("smtp-server", None),
)

TALKING = {
    "postfix": POSTFIX,
    "postfix-ipv6": POSTFIX_IPV6,
    "postfix-nameless": POSTFIX_NAMELESS,
    "postfix-tls-1.0": POSTFIX_TLS_1_0,
    "postscreen": POSTSCREEN,
    "smtp-sink": SMTP_SINK,
    "exim": EXIM,
    "opensmtpd": OPENSMTPD,
    "sendmail": SENDMAIL,
    "aiosmtpd": AIOSMTPD,
    "smtp-server": SMTP_SERVER,
}
REFUSING = {"postfix-busy": POSTFIX_BUSY, "exim-554": EXIM_554, "exim-421": EXIM_421, "exim-550": EXIM_550}
ENCRYPTING = {name: server for name, server in TALKING.items() if server.starttls == "ok"}
SHOWING_CERTIFICATES = {
    name: TALKING[name] for name in ("postfix", "exim", "opensmtpd", "sendmail", "aiosmtpd", "smtp-server")
}


def each(servers: dict[str, Server]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", servers.values(), ids=servers)


@pytest.fixture(scope="module")
def items(mail_servers: MailServers, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Item]:
    """Crawl every server in one run, while another client has Postfix's only place for one."""
    servers = [*TALKING.values(), *REFUSING.values()]
    targets = [server.target for server in servers] + [f"{IMPLICIT_TLS[0]},{NAME},,{IMPLICIT_TLS[1]}"]
    with mail_servers.namespace.inside():
        first_client = socket.create_connection(POSTFIX_BUSY.key, timeout=10)
    with first_client:
        assert first_client.recv(4) == b"220 "
        found = start_crawl(
            mail_servers.namespace,
            tmp_path_factory.mktemp("crawl"),
            targets,
            {
                "SMTPSURVEY_ALLOW": "127.0.0.0/8,::1/128",
                "SMTPSURVEY_TIMEOUTS": {"connect": 5, "greeting": 6, "reply": 10, "tls": 10, "total": 30},
            },
            arguments=("-a", "survey=real"),
        ).finish()
    by_address = {(item["ip"], item["port"]): item for item in found}
    assert len(by_address) == len(found) == len(targets)
    return by_address


@each({**TALKING, **REFUSING})
def test_every_server_is_ok_and_its_greeting_is_kept_whole(items: dict[tuple[str, int], Item], server: Server) -> None:
    item = items[server.key]
    assert item["outcome"] == "ok"
    assert item["greeting"]["code"] == server.code
    assert re.fullmatch(server.greeting, item["greeting"]["text"])


@each(TALKING)
def test_the_extensions_come_in_the_order_sent(items: dict[tuple[str, int], Item], server: Server) -> None:
    ehlo = items[server.key]["ehlo"]
    assert ehlo["code"] == 250
    assert list(ehlo["extensions"]) == server.extensions.split()


@each({**TALKING, **REFUSING})
def test_starttls_ends_as_the_server_makes_it_end(items: dict[tuple[str, int], Item], server: Server) -> None:
    assert items[server.key].get("starttls") == server.starttls


@each({name: server for name, server in {**TALKING, **REFUSING}.items() if server is not POSTFIX_NAMELESS})
def test_product_and_version_are_what_the_server_shows(items: dict[tuple[str, int], Item], server: Server) -> None:
    software = items[server.key].get("software")
    assert (software and (software["product"], software.get("version"))) == server.software


def test_a_postfix_that_hides_its_name_is_known_by_something_else(items: dict[tuple[str, int], Item]) -> None:
    software = items[POSTFIX_NAMELESS.key]["software"]
    assert software["product"] == "Postfix"
    assert software["evidence"] != "greeting"


@each(ENCRYPTING)
def test_the_handshake_shows_version_chain_and_names(
    items: dict[tuple[str, int], Item], mail_servers: MailServers, server: Server
) -> None:
    tls = items[server.key]["tls"]
    assert tls["version"] == "TLSv1.3"
    assert tls["chain"] == [mail_servers.tls.sha256]
    assert tls["certificate"]["sha256"] == mail_servers.tls.sha256
    assert tls["certificate"]["names"] == [NAME]
    assert tls["certificate"]["key"] == "rsa-2048"
    assert (tls["trusted"], tls["trust_error"]) == (False, "self_signed")
    assert tls.get("matches_name") == (None if server is POSTFIX_IPV6 else True)
    assert tls.get("error") is None


@each({name: server for name, server in TALKING.items() if server.starttls in ("ok", "not_offered")})
def test_every_reply_is_what_smtplib_gets(
    items: dict[tuple[str, int], Item], mail_servers: MailServers, server: Server
) -> None:
    seen = ask_smtplib(mail_servers.namespace, server.ip, server.port, HELO, tls=server.starttls == "ok")
    item = items[server.key]
    assert _reply(item["greeting"]) == _timeless(seen.greeting)
    assert _reply(item["ehlo"]) == _timeless(seen.ehlo)
    assert _reply(item.get("starttls_reply")) == _timeless(seen.starttls)
    assert _reply(item["quit"]) == _timeless(seen.quit)
    tls = item.get("tls") or {}
    assert _reply(tls.get("ehlo")) == _timeless(seen.tls_ehlo)
    assert tls.get("version") == seen.tls_version


@each({"postfix-tls-1.0": POSTFIX_TLS_1_0, "opensmtpd": OPENSMTPD})
def test_a_failing_handshake_spoils_neither_greeting_nor_ehlo(
    items: dict[tuple[str, int], Item], mail_servers: MailServers, server: Server
) -> None:
    seen = ask_smtplib(mail_servers.namespace, server.ip, server.port, HELO, tls=False)
    item = items[server.key]
    assert _reply(item["greeting"]) == seen.greeting
    assert _reply(item["ehlo"]) == seen.ehlo
    assert item["starttls_reply"]["code"] == 220
    assert item["tls"].get("ehlo") is None
    assert item["tls"].get("version") is None


@each(SHOWING_CERTIFICATES)
def test_the_certificates_are_those_that_openssl_shows(
    items: dict[tuple[str, int], Item], mail_servers: MailServers, server: Server
) -> None:
    shown = ask_openssl(mail_servers.namespace, server.ip, server.port)
    assert items[server.key]["tls"]["chain"] == shown == [mail_servers.tls.sha256]


def test_opensmtpd_fails_after_its_certificate_which_is_kept(
    items: dict[tuple[str, int], Item], mail_servers: MailServers
) -> None:
    tls = items[OPENSMTPD.key]["tls"]
    assert tls["error"].startswith("alert:internal_error")
    assert tls["certificate"]["sha256"] == mail_servers.tls.sha256


def test_a_server_of_tls_1_0_alone_fails_by_its_protocol_version(
    items: dict[tuple[str, int], Item], mail_servers: MailServers
) -> None:
    assert items[POSTFIX_TLS_1_0.key]["tls"]["error"] == "protocol_version"
    old = ("-tls1", "-cipher", "ALL:@SECLEVEL=0")
    assert ask_openssl(mail_servers.namespace, *POSTFIX_TLS_1_0.key, old) == [mail_servers.tls.sha256]


def test_a_server_that_waits_for_tls_at_once_is_silent(items: dict[tuple[str, int], Item]) -> None:
    item = items[IMPLICIT_TLS]
    assert item["outcome"] == "silent"
    assert item.get("greeting") is None
    assert 6 <= item["duration"] < 8


def test_postscreens_second_line_is_waited_for(items: dict[tuple[str, int], Item]) -> None:
    assert items[POSTSCREEN.key]["duration"] > 3


@each({**TALKING, **REFUSING})
def test_the_item_says_which_target_it_was(items: dict[tuple[str, int], Item], server: Server) -> None:
    item = items[server.key]
    given = (None, None) if ":" in server.ip else (NAME, f"tag-{server.port}")
    assert (item.get("name"), item.get("tag")) == given
    assert item["survey"] == "real"


def test_every_item_validates_against_the_published_schema(items: dict[tuple[str, int], Item]) -> None:
    assert schema_errors(items.values()) == []


@pytest.mark.parametrize(
    "change", [{"outcome": "fine"}, {"ip": "256.1.1.1"}, {"starttls": False}, {"extra": 1}], ids=str
)
def test_the_published_schema_refuses_what_is_no_item(
    items: dict[tuple[str, int], Item], change: dict[str, object]
) -> None:
    assert schema_errors([items[POSTFIX.key] | change]) != []


def test_scrapy_fetch_prints_the_transcript(mail_servers: MailServers) -> None:
    argv = [sys.executable, "-m", "scrapy", "fetch", "smtp://127.0.1.1:2525", "--nolog"]
    argv += ["-s", "SMTPSURVEY_ALLOW=127.0.0.0/8", "-s", f"SMTPSURVEY_HELO={HELO}"]
    fetched = mail_servers.namespace.run("env", "-C", REPOSITORY, *argv)
    assert fetched.returncode == 0, fetched.stderr
    lines = [line.strip() for line in fetched.stdout.splitlines()]
    assert any(line.endswith("220 postfix.test.example ESMTP Postfix") for line in lines)
    assert any("250-PIPELINING" in line for line in lines)
    assert any(line.endswith("221 2.0.0 Bye") for line in lines)


def _reply(item: Item | None) -> tuple[int, str] | None:
    return None if item is None else _timeless((item["code"], item["text"]))


def _timeless(reply: tuple[int, str] | None) -> tuple[int, str] | None:
    """Cut the time of day out of a greeting: the two clients came one after the other."""
    return reply and (reply[0], re.sub(r"\d\d:\d\d:\d\d", "TIME", reply[1]))
