"""A real scrapyd with our scrapyd.conf: what the service ``fleet`` tells, takes, gives and refuses."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from doubles.jobs import left
from scrapyd.config import Config
from servers.scrapyd import USER, Fleet, Node
from surveys import item

from smtpsurvey.fleet.client import MissingError, NodeClient, NodeError
from smtpsurvey.fleet.config import read_fleet
from smtpsurvey.fleet.jobs import ITEMS, MANIFEST, STALE, TARGETS, State
from smtpsurvey.fleet.node import _guarded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNNER = """
import json, pathlib, sys
assert sys.argv[1:3] == ["capabilities", "--json"], sys.argv
pathlib.Path("asked").write_text(json.dumps(sys.argv))
if pathlib.Path("unfit").exists():
    sys.exit("smtp: port 25 cannot be reached")
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("node"), 1)
    (node,) = made.nodes
    config = node.folder / "scrapyd.conf"
    config.write_text(re.sub(r"^runner = .*$", "runner = fake_runner", config.read_text(), flags=re.MULTILINE))
    (node.folder / "fake_runner.py").write_text(RUNNER)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def node(fleet: Fleet) -> Iterator[Node]:
    """Give the node, without jobs of other tests."""
    (node,) = fleet.nodes
    yield node
    for path in (node.folder / "items").iterdir():
        shutil.rmtree(path)


@pytest.fixture
def client(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> NodeClient:
    monkeypatch.setenv("NETRC", str(fleet.folder / "netrc"))
    (config,) = read_fleet(fleet.toml)
    return NodeClient(config, "smtpsurvey")


def ask(node: Node, method: str, path: str, **more: Any) -> requests.Response:
    auth = (USER, node.password)
    return requests.request(method, f"http://{node.ip}:{node.port}/{path}", auth=auth, timeout=10, **more)


def states(client: NodeClient) -> dict[str, State]:
    return {job.name: job.state for job in client.report().jobs}


def test_targets_are_taken_whole_and_a_job_is_deleted(client: NodeClient, node: Node, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(gzip.compress(os.urandom(300_000)))  # more than twisted.web keeps in memory
    client.begin("job-1")
    client.put("job-1", TARGETS, tmp_path / "list")
    taken = node.folder / "items" / "job-1" / TARGETS
    assert taken.read_bytes() == (tmp_path / "list").read_bytes()
    assert [path.name for path in taken.parent.iterdir()] == [TARGETS]
    assert states(client) == {"job-1": State.FAILED}  # which never began
    client.delete("job-1")
    client.delete("job-1")
    assert states(client) == {}


def test_nothing_else_is_taken_or_given(client: NodeClient, node: Node, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    client.begin("job-2")
    for name in (ITEMS, MANIFEST, "settings.py", "..%2f..%2fscrapyd.conf", "../../scrapyd.conf"):
        with pytest.raises(NodeError, match=r"HTTP status 403|not there"):
            client.put("job-2", name, tmp_path / "file")
        with pytest.raises(MissingError):
            client.get("job-2", name, tmp_path / "got")
    for job in ("..", "%2e%2e", ".lists", "a%2fb", "x" * 101):
        assert ask(node, "PUT", f"fleet/{job}").status_code in {404, 405, 501}
        assert ask(node, "DELETE", f"fleet/{job}").status_code in {404, 405, 501}
    with pytest.raises(NodeError, match="HTTP status 403"):
        client.put("job-3", TARGETS, tmp_path / "file")  # it has no folder
    assert [path.name for path in (node.folder / "items").iterdir()] == ["job-2"]
    assert not list((node.folder / "items" / "job-2").iterdir())
    client.delete("job-2")


@pytest.mark.parametrize("auth", [None, (USER, "wrong"), ("other", "secret")])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "fleet/report.json"),
        ("POST", "fleet/selftest.json"),
        ("PUT", "fleet/job-1"),
        ("PUT", f"fleet/job-1/{TARGETS}"),
        ("GET", f"fleet/job-1/{ITEMS}"),
        ("DELETE", "fleet/job-1"),
    ],
)
def test_nobody_comes_in_without_credentials(node: Node, auth: tuple[str, str] | None, method: str, path: str) -> None:
    answer = requests.request(method, f"http://{node.ip}:{node.port}/{path}", auth=auth, timeout=10)
    assert answer.status_code == 401
    assert not list((node.folder / "items").iterdir())


def test_what_a_job_found_is_told_and_given(client: NodeClient, node: Node, tmp_path: Path) -> None:
    folder = left(node.folder / "items" / "job-4", [item(1), item(2, outcome="local_error")], {"refused/-/list": 3})
    (job,) = client.report().jobs
    assert (job.state, job.survey, job.targets, job.done, job.live, job.errors) == (
        State.FINISHED,
        "2026-11",
        9,
        5,
        1,
        1,
    )
    client.get("job-4", ITEMS, tmp_path / "items")
    assert (tmp_path / "items").read_bytes() == (folder / ITEMS).read_bytes()
    part = ask(node, "GET", f"fleet/job-4/{ITEMS}", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, (folder / ITEMS).read_bytes()[2:6])
    client.delete("job-4")


def test_the_state_of_a_job_is_that_of_its_manifest(client: NodeClient, node: Node) -> None:
    items = node.folder / "items"
    left(items / "finished", [], {})
    left(items / "stopped", [], {}, reason="shutdown")
    left(items / "broken", [], {}, reason="start_error")
    left(items / "orphan", [], {}, reason=None)  # its scrapyd died, it did not
    stale = left(items / "stale", [], {}, reason=None) / MANIFEST
    long_ago = time.time() - STALE - 1
    os.utime(stale, (long_ago, long_ago))
    left(items / "garbage", [], {})
    (items / "garbage" / MANIFEST).write_bytes(b"{")
    assert states(client) == {
        "broken": State.FAILED,
        "finished": State.FINISHED,
        "garbage": State.FAILED,
        "orphan": State.RUNNING,
        "stale": State.FAILED,
        "stopped": State.STOPPED,
    }
    assert client.report().busy == 1  # the orphan has a slot
    assert [job.name for job in client.report("sta").jobs] == ["stale"]
    client.delete("orphan")  # which is needed still
    assert "orphan" in states(client)
    (items / "orphan" / MANIFEST).unlink()
    for name in states(client):
        client.delete(name)
    assert states(client) == {}


def test_a_node_tests_itself(client: NodeClient, node: Node) -> None:
    assert client.self_test({"SMTPSURVEY_HELO": "a.example"}).passed
    assert '"-s", "SMTPSURVEY_HELO=a.example"' in (node.folder / "asked").read_text()
    (node.folder / "unfit").touch()
    test = client.self_test({})
    (node.folder / "unfit").unlink()
    assert (test.passed, test.said) == (False, "smtp: port 25 cannot be reached")


def test_what_scrapyd_does_not_have_is_told_in_one_line(client: NodeClient) -> None:
    with pytest.raises(NodeError, match=r"^n1: schedule.json: project 'smtpsurvey' not found$"):
        client.schedule("job-5", {}, {})
    with pytest.raises(NodeError, match=r"^n1: addversion.json: egg is not a ZIP file"):
        client.deploy("1", b"no egg")
    assert client.report().versions == []


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::", "node.example"])
def test_off_loopback_scrapyd_does_not_start_without_credentials(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCRAPYD_USERNAME", "SCRAPYD_PASSWORD", "SCRAPYD_BIND_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f"bind_address {address} needs username and password"):
        _guarded(Config({"bind_address": address}))
    with pytest.raises(ValueError, match="needs username and password"):
        _guarded(Config({"bind_address": address, "username": "x"}))
    _guarded(Config({"bind_address": address, "username": "x", "password": "y"}))
    _guarded(Config({"bind_address": "127.0.0.1"}))
    monkeypatch.setenv("SCRAPYD_BIND_ADDRESS", address)
    with pytest.raises(ValueError, match="needs username and password"):
        _guarded(Config({}))


def test_the_log_of_a_node_has_no_password(node: Node) -> None:
    assert "fleet/report.json" in node.log()
    assert node.password not in node.log()
