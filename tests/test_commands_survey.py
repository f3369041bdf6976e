"""``scrapy survey``: the lab from start to report, in one process and in two, and what can go wrong."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent


def free_port() -> int:
    """Find a port that nobody listens on, on any address."""
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def survey(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    store = f"SMTPSURVEY_SHARDS=sqlite:///{folder}/s.sqlite3"
    places = ("--dir", str(folder / "run"), "--report", str(folder / "report"), "-s", store)
    command = [sys.executable, "-m", "scrapy", "survey", *places, *args]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("procs", ["1", "2"])
def test_the_lab_from_start_to_report(tmp_path: Path, procs: str) -> None:
    done = survey(tmp_path, "--hosts", "2500", "--port", str(free_port()), "--procs", procs)
    assert done.returncode == 0, done.stderr
    assert "40 of 40 live servers found" in done.stdout
    assert done.stdout.rstrip().endswith("report/index.html")
    assert "Survey lab: 2,500 targets (finished)" in done.stderr
    feed = [json.loads(line) for line in (tmp_path / "run" / "feed.jsonl").read_text().splitlines()]
    assert len({item["ip"] for item in feed}) == len(feed) == 40
    shares = json.loads((tmp_path / "report" / "tables" / "shares_product.json").read_text())
    assert json.dumps(shares).count('"hosts"') > 5
    assert len(list((tmp_path / "run").glob("manifest-*.json"))) == int(procs)


def test_a_port_that_somebody_uses_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = survey(tmp_path, "--hosts", "100", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"survey: port {port}: Address already in use; give another with --port\n"


def test_a_list_that_cannot_be_read_fails_in_every_process(tmp_path: Path) -> None:
    done = survey(tmp_path, "-a", f"targets={tmp_path}/missing.txt", "--procs", "2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "report").exists()
    assert "missing.txt: No such file or directory" in (tmp_path / "run" / "crawl-2.log").read_text()


def test_processes_share_the_rates(tmp_path: Path) -> None:
    targets = tmp_path / "targets.txt"
    targets.write_text("127.0.0.1\n127.0.0.2\n")
    args = ("-a", f"targets={targets}", "-a", "port=1", "-s", "SMTPSURVEY_RATE=100", "--procs", "2")
    done = survey(tmp_path, *args, "-s", "SMTPSURVEY_ALLOW=127.0.0.0/8")
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(tmp_path / "s.sqlite3")) as database:
        ((settings,),) = database.execute("SELECT settings FROM surveys")
    assert float(json.loads(settings)["SMTPSURVEY_RATE"]) == 50
    assert float(json.loads(settings)["SMTPSURVEY_PREFIX_RATE"]) == 1
    assert "Survey 2" in done.stderr


@pytest.mark.parametrize("args", [("--procs", "0"), ("extra",), ("-a", "nonsense")])
def test_wrong_arguments_are_refused(tmp_path: Path, args: tuple[str, ...]) -> None:
    assert survey(tmp_path, *args).returncode == 2
