"""``scrapy citizen``: the page, the opt-outs, the look before the start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from doubles.zoneserver import ZoneServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDENTITY = ("-s", "SMTPSURVEY_HELO=survey.example.org", "-s", "SMTPSURVEY_CONTACT=https://survey.example.org/")


def citizen(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scrapy", "citizen", *args],
        check=False,
        cwd=cwd,
        env=os.environ | {"SCRAPY_SETTINGS_MODULE": "smtpsurvey.settings", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )


class Tags(HTMLParser):
    """Checks that every element that is opened is closed, and keeps what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self.seen.add(tag)
        if tag not in {"meta", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_says_who_what_whence_and_how_to_stop_it(tmp_path: Path) -> None:
    done = citizen(
        *("page", "--range", "192.0.2.0/28", "--range", "2001:db8::/64", "--mail", "stop@example.org"),
        *("--form", "https://survey.example.org/stop", *IDENTITY, "-s", "SMTPSURVEY_AS_RATE=0"),
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    tags = Tags()
    tags.feed(done.stdout)
    assert tags.open == []
    assert tags.seen.isdisjoint({"script", "img", "link", "iframe"})
    text = re.sub(r"<[^>]+>", "", done.stdout)
    for said in (
        "survey.example.org",
        "192.0.2.0/28",
        "2001:db8::/64",
        "stop@example.org",
        "STARTTLS",
        "opt-out: 192.0.2.0/24",
    ):
        assert said in text
    assert "at most: 500 in all, 2 in one /24 (IPv4) or /48 (IPv6)." in text


def test_a_page_needs_an_identity_ranges_and_an_address_for_opt_outs(tmp_path: Path) -> None:
    done = citizen("page", "--range", "192.0.2.0/28", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "SMTPSURVEY_HELO" in done.stderr
    assert "--range" in citizen("page", *IDENTITY, cwd=tmp_path).stderr
    assert "--mail" in citizen("page", "--range", "192.0.2.0/28", *IDENTITY, cwd=tmp_path).stderr
    wrong = citizen("page", "--range", "192.0.2", "--mail", "a@b.example", *IDENTITY, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "192.0.2" in wrong.stderr


def test_a_contact_with_markup_stays_text(tmp_path: Path) -> None:
    evil = 'SMTPSURVEY_CONTACT=https://x/"><script>alert(1)</script>'
    done = citizen(
        *("page", "--range", "192.0.2.0/28", "--mail", "a@b.example", "--out", "p.html"),
        *("-s", "SMTPSURVEY_HELO=survey.example.org", "-s", evil),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "<script" not in (tmp_path / "p.html").read_text()


def test_opt_outs_go_from_a_mail_into_the_list(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("From: a@b.example\nSubject: \x1b[31m=cmd\n\nopt-out: 192.0.2.1\nopt-out: ???\n")
    shown = citizen("optout", "mail", cwd=tmp_path)
    assert re.fullmatch(r"192\.0\.2\.1  # a@b\.example, \[31m=cmd, since \d{4}-\d\d-\d\d\n", shown.stdout)
    assert shown.stderr.startswith("mail: '???' is no AS")
    for expected in (shown.stdout, ""):
        done = citizen("optout", "mail", "--append", "list", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, expected)
    assert (tmp_path / "list").read_text() == shown.stdout
    missing = citizen("optout", "nothing", cwd=tmp_path)
    assert (missing.returncode, missing.stderr) == (1, "citizen: nothing: No such file or directory\n")


ZONE = """\
. 60 SOA ns. h. 1 1 1 1 60
. 60 NS ns.
survey.test.example. 60 A 127.0.0.1
1.0.0.127.in-addr.arpa. 60 PTR Survey.test.example.
mail.test.example. 60 MX 10 mx.test.example.
"""


class Page(BaseHTTPRequestHandler):
    """Serves a page that names the host, and a bare one elsewhere."""

    def do_GET(self) -> None:
        body = b"We are SURVEY.test.example." if self.path == "/" else b"Hello."
        self.send_response(200 if self.path != "/gone" else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:  # type: ignore[override]  # nothing is logged
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def check(cwd: Path, dns: str, contact: str, *more: str) -> tuple[int, dict[str, str]]:
    """Run the check; give the exit status, and what it says of each thing, after ``ok`` or ``BAD``."""
    (cwd / "optout.txt").write_text("192.0.2.1\n")
    named = ("SMTPSURVEY_HELO=survey.test.example", f"SMTPSURVEY_CONTACT={contact}")
    settings = (*named, f"SMTPSURVEY_DNS_SERVERS={dns}", "SMTPSURVEY_OPTOUT=optout.txt")
    given = [part for setting in settings for part in ("-s", setting)]
    done = citizen("check", *given, *more, cwd=cwd)
    assert done.stderr == ""
    # Columns: ok or BAD, what was looked at, what was found.
    rows = [re.fullmatch(r"(ok|BAD) +(.+?)(?: {2,}.*)?", line.rstrip()) for line in done.stdout.splitlines()[1:]]
    return done.returncode, {row[2]: row[1] for row in rows if row}


def test_a_survey_that_is_who_it_says_may_start(tmp_path: Path, web: str) -> None:
    with ZoneServer(ZONE, ".") as server:
        status, found = check(tmp_path, server.address, f"{web}/", "--address", "127.0.0.1")
    assert (status, set(found.values())) == (0, {"ok"})
    assert {"identity", "PTR of 127.0.0.1", "contact", "SMTPSURVEY_RATE", "opt-outs"} <= found.keys()


def test_what_is_wrong_is_told(tmp_path: Path, web: str) -> None:
    with ZoneServer(ZONE, ".") as server:
        status, found = check(
            *(tmp_path, server.address, f"{web}/other", "--address", "127.0.0.2"),
            *("-s", "SMTPSURVEY_PREFIX_RATE=0", "-s", "SMTPSURVEY_OPTOUT=none.txt"),
        )
        assert status == 1
        bad = {what for what, verdict in found.items() if verdict == "BAD"}
        assert bad == {
            "PTR of 127.0.0.2",
            "survey.test.example has 127.0.0.2",
            "contact",
            "SMTPSURVEY_PREFIX_RATE",
            "opt-outs",
        }
        assert check(tmp_path, server.address, f"{web}/gone")[1]["contact"] == "BAD"
        assert check(tmp_path, server.address, "http://127.0.0.1:9/")[1]["contact"] == "BAD"
        assert check(tmp_path, server.address, "a@mail.test.example")[1]["contact"] == "ok"
        assert check(tmp_path, server.address, "a@nowhere.test.example")[1]["contact"] == "BAD"
    assert citizen("check", cwd=tmp_path).returncode == 1
