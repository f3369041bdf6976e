"""How the controller speaks to a node, and that credentials show nowhere."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from doubles.webserver import Answer, WebServer, web_server

from smtpsurvey.fleet.client import AuthError, NodeClient, NodeError
from smtpsurvey.fleet.config import NodeConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPORT = (
    b'{"node":"x","slots":2,"busy":1,"folder":"/f","free":1,"versions":["1"],"jobs":[{"name":"j","state":"running"}]}'
)
SECRET = "hush-hush"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebServer]:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("SCRAPYD_USERNAME", raising=False)
    monkeypatch.delenv("SCRAPYD_PASSWORD", raising=False)
    with web_server() as server:
        yield server


def client_of(web: WebServer) -> NodeClient:
    return NodeClient(NodeConfig("n1", web.url), "project")


def sent(web: WebServer) -> str:
    """Give the credentials of the last request."""
    return base64.b64decode(web.asked[-1].headers["Authorization"].removeprefix("Basic ")).decode()


def test_a_report_is_read(web: WebServer) -> None:
    web.answers["/fleet/report.json"] = Answer(REPORT)
    report = client_of(web).report("0123456789ab")
    assert (report.slots, report.jobs[0].name, report.jobs[0].state) == (2, "j", "running")
    assert web.asked[0].path == "/fleet/report.json?project=project&run=0123456789ab"
    assert "Authorization" not in web.asked[0].headers


def test_credentials_come_from_the_environment_and_rather_from_netrc(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.answers["/fleet/report.json"] = Answer(REPORT)
    monkeypatch.setenv("SCRAPYD_USERNAME", "us\N{LATIN SMALL LETTER E WITH ACUTE}r")
    monkeypatch.setenv("SCRAPYD_PASSWORD", SECRET)
    client_of(web).report()
    assert sent(web) == f"us\N{LATIN SMALL LETTER E WITH ACUTE}r:{SECRET}"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password better\n")
    client_of(web).report()
    assert sent(web) == "other:better"


def test_wrong_credentials_and_none_give_one_clear_line(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.answers["/fleet/report.json"] = Answer(status=401)
    where = r"\(netrc, or SCRAPYD_USERNAME and SCRAPYD_PASSWORD\)$"
    with pytest.raises(AuthError, match=f"^n1: no credentials {where}"):
        client_of(web).report()
    monkeypatch.setenv("SCRAPYD_USERNAME", "user")
    monkeypatch.setenv("SCRAPYD_PASSWORD", SECRET)
    with pytest.raises(AuthError, match=f"^n1: wrong credentials {where}") as caught:
        client_of(web).report()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404), "is not there: does scrapyd run with our deploy/scrapyd.conf?"),
        (Answer(status=500), "HTTP status 500"),
        (Answer(status=302, headers=(("Location", "http://192.0.2.1/"),)), "HTTP status 302"),
        (Answer(b"<html>"), "an answer that we do not understand"),
        (Answer(b"{}"), "an answer that we do not understand"),
        (Answer(REPORT.replace(b"running", b"dancing")), "an answer that we do not understand"),
        (Answer(b"x" * (16 * 1024 * 1024 + 1)), "an answer of 16,777,217 bytes"),
    ],
)
def test_answers_that_are_none_give_one_clear_line(web: WebServer, answer: Answer, reason: str) -> None:
    web.answers["/fleet/report.json"] = answer
    with pytest.raises(NodeError) as caught:
        client_of(web).report()
    assert str(caught.value).startswith("n1: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(web.asked) == 1  # no redirect was followed


def test_a_node_that_is_not_there_is_told() -> None:
    with pytest.raises(NodeError, match=r"^n1: Connection refused$"):
        NodeClient(NodeConfig("n1", "http://127.0.0.1:9"), "project").report()


def test_what_scrapyd_refuses_is_told_with_its_reason(web: WebServer) -> None:
    web.answers["/schedule.json"] = Answer(b'{"status": "error", "message": "Traceback:\\nspider not found\\n"}')
    with pytest.raises(NodeError, match=r"^n1: schedule.json: spider not found$"):
        client_of(web).schedule("job", {"A": "1"}, {"targets": "t"})
    assert web.asked[0].body == b"project=project&spider=smtp&jobid=job&targets=t&setting=A%3D1"
    web.answers["/cancel.json"] = Answer(b'{"status": "error"}')
    with pytest.raises(NodeError, match=r"^n1: cancel.json: no reason given$"):
        client_of(web).cancel("job")


def test_a_file_that_breaks_off_is_told(web: WebServer, tmp_path: Path) -> None:
    web.answers["/fleet/job/items.jl.gz"] = Answer(b"half", headers=(("Content-Length", "100"),))
    with pytest.raises(NodeError, match=r"^n1: items.jl.gz broke off \("):
        client_of(web).get("job", "items.jl.gz", tmp_path / "items")
