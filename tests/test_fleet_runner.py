"""Lists that nodes fetch: once, again when they changed, and bounded whatever the server does."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from doubles.webserver import Answer, WebServer, web_server

from smtpsurvey.fleet import FleetError, runner
from smtpsurvey.fleet.runner import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebServer]:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with web_server() as server:
        yield server


def test_a_list_is_fetched_once_and_again_when_the_server_has_another(web: WebServer, tmp_path: Path) -> None:
    web.answers["/list"] = Answer(b"192.0.2.1\n", headers=(("ETag", '"1"'),))
    path = fetch(f"{web.url}/list", tmp_path)
    assert path.read_bytes() == b"192.0.2.1\n"
    assert "If-None-Match" not in web.asked[0].headers
    assert web.asked[0].headers["User-Agent"].startswith("smtpsurvey/")
    web.answers["/list"] = Answer(status=304)
    assert fetch(f"{web.url}/list", tmp_path) == path
    assert web.asked[1].headers["If-None-Match"] == '"1"'
    assert path.read_bytes() == b"192.0.2.1\n"
    web.answers["/list"] = Answer(b"192.0.2.2\n")
    assert fetch(f"{web.url}/list", tmp_path).read_bytes() == b"192.0.2.2\n"
    assert fetch(f"{web.url}/list", tmp_path) == path
    assert "If-None-Match" not in web.asked[3].headers  # the last had no tag


def test_credentials_come_from_netrc_or_a_token(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.answers["/list"] = Answer(b"192.0.2.1\n")
    monkeypatch.setenv("FLEET_TOKEN", "hush")
    fetch(f"{web.url}/list", tmp_path)
    assert web.asked[0].headers["Authorization"] == "Bearer hush"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password hidden\n")
    monkeypatch.delenv("FLEET_TOKEN")
    fetch(f"{web.url}/list", tmp_path)
    assert web.asked[1].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(b"<html>", headers=(("Content-Type", "text/html; charset=utf-8"),)), "a page of HTML"),
        (Answer(b"no", status=403), "HTTP status 403"),
        (Answer(b"no", status=500), "HTTP status 500"),
        (Answer(status=302, headers=(("Location", "/list"),)), "TooManyRedirects"),
        (Answer(b"x" * 2000), "larger than 1,000 bytes"),
    ],
)
def test_what_is_no_list_is_told_in_one_line(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, reason: str
) -> None:
    monkeypatch.setattr(runner, "MAX_LIST", 1000)
    web.answers["/list"] = answer
    with pytest.raises(FleetError, match=reason) as caught:
        fetch(f"{web.url}/list", tmp_path)
    assert "\n" not in str(caught.value)
    assert len(web.asked) <= 6


def test_a_server_that_stalls_or_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: WebServer
) -> None:
    monkeypatch.setattr(runner, "TIMEOUT", (1.0, 0.05))
    with pytest.raises(FleetError, match="cannot be fetched"):
        fetch("http://127.0.0.1:9/list", tmp_path)
    web.answers["/list"] = Answer(b"short", headers=(("Content-Length", "100"),))
    with pytest.raises(FleetError, match="cannot be fetched"):
        fetch(f"{web.url}/list", tmp_path)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix not in {".lock", ".part"}] == []


def test_the_argument_with_a_url_becomes_one_with_a_file(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    web.answers["/list"] = Answer(b"192.0.2.1\n")
    seen: list[list[str]] = []
    scrapyds = SimpleNamespace(main=lambda: seen.append(sys.argv[1:]))
    monkeypatch.setitem(sys.modules, "scrapyd.runner", scrapyds)
    monkeypatch.setattr(sys, "argv", ["runner", "crawl", "smtp", "-a", f"targets={web.url}/list", "-a", "port=25"])
    runner.main()
    ((crawl, smtp, a, targets, *rest),) = seen
    assert (crawl, smtp, a, rest) == ("crawl", "smtp", "-a", ["-a", "port=25"])
    assert (tmp_path / targets.removeprefix("targets=")).read_bytes() == b"192.0.2.1\n"
    monkeypatch.setattr(sys, "argv", ["runner", "crawl", "smtp", "-a", f"targets={web.url}/gone"])
    with pytest.raises(SystemExit, match=r"^fleet: the target list cannot be fetched \(HTTP status 404\)$"):
        runner.main()
    assert len(seen) == 1
