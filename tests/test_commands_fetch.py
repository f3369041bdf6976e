"""``scrapy fetch smtp://…`` and the download handler in other people's projects."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from typing import TYPE_CHECKING, Self

import pytest
from doubles.crawl import items, run
from doubles.dns import NameServer
from doubles.mailer import Mailer
from doubles.peer import closed_port, fresh_ip

if TYPE_CHECKING:
    from pathlib import Path

QUIET = ("-L", "ERROR", "-s", "SMTPSURVEY_SHARDS=")
SPIDER = """
import scrapy

class Probe(scrapy.Spider):
    name = "probe"
    urls = ""

    async def start(self):
        for url in self.urls.split(","):
            yield scrapy.Request(url, callback=self.parse, errback=self.failed)

    def parse(self, response):
        seen = response.observation
        yield {"url": response.url, "status": response.status, "outcome": str(seen.outcome), "reason": seen.reason}

    def failed(self, failure):
        yield {"url": failure.request.url, "error": failure.type.__name__}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project of somebody else's: the add-on, and what startproject sets."""
    (tmp_path / "scrapy.cfg").write_text("[settings]\ndefault = theirs.settings\n")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/__init__.py").touch()
    (tmp_path / "theirs/settings.py").write_text(
        'SPIDER_MODULES = ["theirs.spiders"]\n'
        'ADDONS = {"smtpsurvey.addon.SmtpSurveyAddon": 100}\n'
        "ROBOTSTXT_OBEY = True\n"
        "RETRY_TIMES = 3\nRETRY_EXCEPTIONS = ['builtins.Exception']\nRETRY_HTTP_CODES = [200]\n"
        "RETRY_ENABLED = True\nSMTPSURVEY_SHARDS = []\n"
    )
    (tmp_path / "theirs/spiders").mkdir()
    (tmp_path / "theirs/spiders/__init__.py").touch()
    (tmp_path / "theirs/spiders/probe.py").write_text(SPIDER)
    return tmp_path


def test_fetch_prints_the_transcript() -> None:
    with Mailer(greeting=b"220-mx.test.example\x1b[31m\r\n220 ESMTP\r\n", ip=fresh_ip()) as mailer:
        done = run("fetch", f"smtp://{mailer.ip}:{mailer.port}", *QUIET)
        assert len(mailer.came) == 1
    assert done.status == 0, done.err
    assert done.err == ""
    assert done.out.splitlines() == [
        "< 220-mx.test.example\\x1b[31m",
        "< 220 ESMTP",
        "> EHLO",
        "< 250-mx.test.example",
        "< 250 SIZE 1000",
        "> QUIT",
        "< 221 Bye",
        "* ok",
    ]


def test_fetch_of_a_closed_port_is_an_observation() -> None:
    ip = fresh_ip()
    done = run("fetch", f"smtp://{ip}:{closed_port(ip)}", *QUIET)
    assert (done.status, done.out, done.err) == (0, "* refused\n", "")


def test_fetch_off_loopback_says_how_to_say_who_we_are_and_ends() -> None:
    done = run("fetch", "smtp://192.0.2.1", *QUIET)
    assert "192.0.2.1 is not a loopback address" in done.err
    assert done.out.strip() == ""


def test_fetch_of_a_reserved_address_is_excluded() -> None:
    identity = ("-s", "SMTPSURVEY_HELO=survey.test.example", "-s", "SMTPSURVEY_CONTACT=https://survey.test.example/")
    assert run("fetch", "smtp://192.0.2.1", *QUIET, *identity).out == "* excluded (reserved)\n"


def test_without_a_working_gate_nobody_is_probed() -> None:
    with Mailer(ip=fresh_ip()) as mailer:
        done = run("fetch", f"smtp://{mailer.ip}:{mailer.port}", *QUIET, "-s", "SMTPSURVEY_OPTOUT=missing.txt")
        assert mailer.came == []
    assert "missing.txt" in done.err


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:1/path", "smtp://127.0.0.1:1/?q", "smtp://127.0.0.1:0"])
def test_other_urls_are_refused(url: str) -> None:
    done = run("fetch", url, *QUIET)
    assert done.out.strip() == ""
    assert url in done.err


def test_a_request_of_any_spider_makes_one_connection(project: Path) -> None:
    feed, ip = project / "out.jsonl", fresh_ip()
    with Mailer(ip=fresh_ip()) as mailer, NameServer({}) as names:
        refused = f"smtp://{ip}:{closed_port(ip)}"
        here = f"smtp://{mailer.ip}:{mailer.port}"
        urls = f"{here},{refused},smtp://localhost:{mailer.port}/x,smtp://no-such.example"
        dns = ("-s", f"SMTPSURVEY_DNS_SERVERS=127.0.0.1:{names.port}")
        done = run("crawl", "probe", "-a", f"urls={urls}", "-O", feed, *dns, "-s", "RETRY_TIMES=0", cwd=project)
        assert len(mailer.came) == 1
    assert done.status == 0, done.err
    found = {item["url"]: item for item in items(feed)}
    assert found[here] == {"url": here, "status": 200, "outcome": "ok", "reason": None}
    assert found[refused] == {"url": refused, "status": 200, "outcome": "refused", "reason": None}
    assert found["smtp://no-such.example"]["error"] == "CannotResolveHostError"
    assert found[f"smtp://localhost:{mailer.port}/x"]["error"] == "NotSupported"


def test_neither_robots_txt_nor_a_retry_contacts_a_host_again(project: Path) -> None:
    """With the project's RETRY settings the way startproject leaves them."""
    with Counting() as server:
        url = f"smtp://{server.ip}:{server.server_address[1]}"
        settings = project / "theirs/settings.py"
        settings.write_text(settings.read_text().partition("RETRY_TIMES")[0] + "SMTPSURVEY_SHARDS = []\n")
        done = run("crawl", "probe", "-a", f"urls={url}", "-O", project / "out.jsonl", cwd=project)
        assert server.count == 1, done.err
    assert [item["outcome"] for item in items(project / "out.jsonl")] == ["closed"]


class Counting(socketserver.TCPServer):
    """Counts connections, and closes them."""

    def __init__(self) -> None:
        self.ip = fresh_ip()
        self.count = 0
        super().__init__((self.ip, 0), socketserver.BaseRequestHandler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def process_request(self, request: object, client_address: object) -> None:
        self.count += 1
        with contextlib.suppress(OSError):
            super().process_request(request, client_address)  # type: ignore[arg-type]  # passed on as it came

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


def test_other_schemes_are_scrapys() -> None:
    assert run("fetch", *QUIET).status == 2
