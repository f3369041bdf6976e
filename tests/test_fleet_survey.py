"""Surveys by real scrapyd nodes of a lab that counts how often each address is contacted."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from doubles.crawl import REPOSITORY
from doubles.webserver import Answer, web_server
from servers.scrapyd import Fleet, command_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SURVEY = "2026-11"
TIMEOUTS = json.dumps({"connect": 4, "greeting": 4, "reply": 4, "tls": 4, "total": 12})
LAB = Path(__file__).parent / "servers" / "counting_lab.py"
LONG = 600.0


class Lab:
    """A simulated Internet, and at its end the contacts that each of its servers had."""

    def __init__(self, folder: Path, hosts: int) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = int(free.getsockname()[1])
        self.hosts, self.targets, self.contacts = hosts, folder / "targets.txt", folder / "contacts.json"
        options = (f"--hosts={hosts}", "--live=0.2", "--nasty=0", f"--port={self.port}", f"--targets={self.targets}")
        self.process = subprocess.Popen(
            [sys.executable, LAB, self.contacts, "lab", *options],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        ready = re.search(r"(\d+) live", self.process.stdout.readline())
        assert ready is not None
        self.live = int(ready[1])

    def stop(self) -> Counter[str]:
        self.process.terminate()
        self.process.communicate(timeout=60)
        return Counter(json.loads(self.contacts.read_text()))


@contextmanager
def running(folder: Path, nodes: int, hosts: int) -> Iterator[tuple[Fleet, Lab]]:
    lab, fleet = Lab(folder, hosts), Fleet(folder, nodes)
    try:
        fleet.start()
        deployed = fleet.run("deploy")
        assert deployed.status == 0, deployed
        assert len(re.findall(r"^n\d +20\d{12}", deployed.out, re.MULTILINE)) == nodes
        yield fleet, lab
    finally:
        fleet.stop()
        lab.process.kill()
        lab.process.communicate()


def run_of(fleet: Fleet, lab: Lab, rate: int, *more: str) -> tuple[str, ...]:
    """The command line of a survey; every target becomes a row."""
    settings = {
        "SMTPSURVEY_SHARDS": f"sqlite:///{fleet.folder}/survey.sqlite3",
        "SMTPSURVEY_ALLOW": "127.0.0.0/8",
        "SMTPSURVEY_RATE": rate,
        "SMTPSURVEY_PREFIX_RATE": 0,
        "SMTPSURVEY_AS_RATE": 0,
        "SMTPSURVEY_TIMEOUTS": TIMEOUTS,
        "SMTPSURVEY_FLEET_GRACE": 3,
    }
    arguments = {"targets": lab.targets, "port": lab.port, "survey": SURVEY, "record": "all"}
    parts = [part for name, value in arguments.items() for part in ("-a", f"{name}={value}")]
    parts += [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]
    return ("run", "smtp", *parts, "--unchecked", "--dir", str(fleet.folder / "run"), *more)


def begun(fleet: Fleet, controller: subprocess.Popen[str], done: int) -> None:
    """Wait until so many targets are done."""
    until((fleet.folder / "survey.sqlite3").exists, controller)
    until(lambda: bool(rows_of(fleet, "SELECT 1 FROM sqlite_master WHERE name = 'fleet_jobs'")), controller)
    until(lambda: targets_done(fleet) > done, controller)


def rows_of(fleet: Fleet, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(fleet.folder / "survey.sqlite3")) as connection:
        return connection.execute(query).fetchall()


def check(fleet: Fleet, lab: Lab) -> Counter[str]:
    """One row a target, no more and no less; gives how often each server was contacted."""
    expected = {line.split(",")[0] for line in lab.targets.read_text().split()}
    assert len(expected) == lab.hosts
    rows = [str(row[0]) for row in rows_of(fleet, "SELECT ip FROM observations_00")]
    assert len(rows) == len(set(rows)) == lab.hosts
    assert set(rows) == expected
    assert rows_of(fleet, "SELECT count(*) FROM surveys WHERE finished IS NOT NULL") == [(1,)]
    assert rows_of(fleet, "SELECT count(*) FROM observations_00 WHERE outcome = 'ok'") == [(lab.live,)]
    assert not list((fleet.folder / "run").iterdir())
    contacts = lab.stop()
    assert len(contacts) == lab.live
    return contacts


def until(condition: Callable[[], bool], controller: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        try:
            controller.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(controller.communicate())


def targets_done(fleet: Fleet) -> int:
    """Count what the running jobs of all nodes and the store say is done."""
    done = 0
    for node in fleet.nodes:
        for manifest in node.folder.glob("items/*/manifest.json"):
            try:
                done += sum(json.loads(manifest.read_bytes())["counts"]["outcomes"].values())
            except FileNotFoundError:
                continue  # it was collected just now
    return done + sum(
        int(str(count)) for (count,) in rows_of(fleet, "SELECT coalesce(sum(targets), 0) FROM fleet_jobs")
    )


def survive(folder: Path, nodes: int, hosts: int, rate: int, shards: int) -> None:
    """Kill a node with its jobs and then the controller in the middle of a survey, and take it up."""
    with running(folder, nodes, hosts) as (fleet, lab):
        arguments = run_of(fleet, lab, rate, "--shards", str(shards))
        controller = fleet.command(*arguments)
        begun(fleet, controller, hosts // 4)
        victim = fleet.nodes[-1]
        assert list(victim.folder.glob("items/*/manifest.json"))
        victim.kill()
        until(lambda: targets_done(fleet) > hosts // 3, controller)
        controller.send_signal(signal.SIGKILL)
        controller.communicate()
        lines = list(command_lines())
        said = fleet.run(*arguments, seconds=LONG)
        assert said.status == 0, said
        assert f"{hosts:,} targets in {shards} shards, all imported" in said.err
        assert "n1" not in said.err
        assert f"{victim.name}: Connection refused" in said.err
        contacts = check(fleet, lab)
        assert max(contacts.values()) <= 2
        assert contacts.total() < 2 * lab.live
        secrets = [node.password for node in fleet.nodes]
        told = [said.out, said.err, fleet.logs(), *lines]
        assert not [secret for secret in secrets for text in told if secret in text]
        assert any("fleet.stats.FiledStatsCollector" in line for line in lines)  # jobs were among them


def test_a_survey_survives_the_death_of_a_node_and_of_its_controller(tmp_path: Path) -> None:
    survive(tmp_path, nodes=2, hosts=400, rate=200, shards=4)


@pytest.mark.soak
def test_a_large_survey_survives_the_death_of_a_node_and_of_its_controller(tmp_path: Path) -> None:
    survive(tmp_path, nodes=4, hosts=40_000, rate=1000, shards=16)


@pytest.mark.soak
def test_jobs_outlive_their_scrapyd_and_nothing_is_done_twice(tmp_path: Path) -> None:
    with running(tmp_path, nodes=2, hosts=2000) as (fleet, lab):
        arguments = run_of(fleet, lab, 200, "--shards", "4")
        controller = fleet.command(*arguments)
        begun(fleet, controller, 200)
        victim = fleet.nodes[0]
        victim.kill(jobs=False)
        victim.start()
        out, err = controller.communicate(timeout=LONG)
        assert controller.returncode == 0, (out, err)
        assert "2,000 targets in 4 shards, all imported" in err
        assert set(check(fleet, lab).values()) == {1}


@pytest.mark.soak
def test_a_survey_that_was_stopped_goes_on_and_nodes_fetch_its_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_TOKEN", "hush-4f2a")
    with web_server() as web, running(tmp_path, nodes=1, hosts=1000) as (fleet, lab):
        web.answers["/list.txt"] = Answer(lab.targets.read_bytes(), headers=(("ETag", '"1"'),))
        arguments = [
            part.replace(f"targets={lab.targets}", f"targets={web.url}/list.txt")
            for part in run_of(fleet, lab, 100, "--shards", "4")
        ]
        controller = fleet.command(*arguments)
        begun(fleet, controller, 100)
        said = fleet.run("stop", *arguments[2:-2][arguments[2:-2].index("-s") :][:2], "--survey", SURVEY)
        assert (said.status, said.err) == (0, f"fleet: survey {SURVEY}: told to stop\n")
        _, err = controller.communicate(timeout=60)
        assert controller.returncode == 1
        assert "fleet: stopped; the same run goes on" in err
        said = fleet.run(*arguments, seconds=LONG)
        assert said.status == 0, said
        assert max(check(fleet, lab).values()) <= 2
        assert {asked.headers["Authorization"] for asked in web.asked} == {"Bearer hush-4f2a"}
        assert "hush-4f2a" not in fleet.logs() + said.err
