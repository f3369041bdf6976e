"""Whole surveys whose crawls and databases are killed: what is stored is what an undisturbed survey stores."""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from doubles.crawl import QUICK, finish, run, start
from servers.lab import Lab, Stored, Survey, moments, running_lab
from servers.mariadb import PASSWORD, MariaDb, running

from smtpsurvey.extensions.checkpoint import FILE
from smtpsurvey.store.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TARGETS, TABLES = 6_000, 4
ALL, ACCEPTED = ("-a", "record=all"), ("-a", "record=accepted")
AWAY, BACK = "; rows for it go by way of ", " is back, and has its "
RECORDED = frozenset(("ok", "not_smtp", "silent", "too_slow", "oversize", "closed", "reset"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[MariaDb]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(tmp_path_factory.mktemp(name))) for name in ("first", "second")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab"), TARGETS) as lab:
        yield lab


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return undisturbed_survey(lab, tmp_path_factory.mktemp("undisturbed"))


def undisturbed_survey(lab: Lab, folder: Path) -> Stored:
    """Survey everything, and record it."""
    survey = Survey(lab, folder / "job", [sqlite(folder)], 1, *ALL)
    survey.run_to_the_end()
    stored = survey.stored()
    assert len(stored.rows) == lab.hosts
    assert sum(row["outcome"] in RECORDED for row in stored.rows) == lab.live
    return stored


def urls(servers: Sequence[MariaDb]) -> list[str]:
    return [server.url() for server in servers]


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'survey.sqlite3'}"


def only_accepted(everything: Stored) -> Stored:
    """Give what a survey stores that counts the targets that did not accept."""
    tallies = type(everything.tallies)(
        (row["survey"], row["source"], row["outcome"], row["reason"])
        for row in everything.rows
        if row["outcome"] not in RECORDED
    )
    rows = [row for row in everything.rows if row["outcome"] in RECORDED]
    return Stored(rows, everything.certificates, tallies)


def check(survey: Survey, expected: Stored) -> None:
    """See that every target is there once, with the values that it should have, and that all was quiet."""
    stored = survey.stored()
    assert [row["ip"] for row in stored.rows] == [row["ip"] for row in expected.rows]
    different = [pair for pair in zip(stored.rows, expected.rows, strict=True) if pair[0] != pair[1]]
    assert different == []
    assert stored.tallies == expected.tallies
    assert stored.certificates == expected.certificates
    survey.verify()
    assert list((survey.folder / "spool").iterdir()) == []
    logs = survey.logs()
    assert "Traceback" not in logs
    assert " ERROR: " not in logs
    assert PASSWORD not in logs


def kill_crawls(survey: Survey, seed: int, times: int) -> None:
    """Kill it at random moments, and take it up each time."""
    for done, seconds in moments(seed, survey.lab.hosts, times):
        survey.start()
        survey.run_until(done, seconds)
        survey.kill()
    survey.run_to_the_end()


def kill_servers(survey: Survey, servers: Sequence[MariaDb], times: int) -> None:
    """Kill each server so many times during one crawl, one after the other, and start them when rows are spooled."""
    step = survey.lab.hosts // (12 * times)
    survey.start()
    for number in range(1, times + 1):
        for place, server in enumerate(servers, 1):
            assert survey.run_until(survey.done() + step)
            server.kill()
            assert survey.run_until_said(AWAY, (number - 1) * len(servers) + place)
        assert survey.run_until(survey.done() + step)
        for server in servers:
            server.start()
        assert survey.run_until_said(BACK, number * len(servers))
    survey.finish()
    survey.lab.surveys += 1


def check_warnings(survey: Survey, times: int) -> None:
    """See that each server was said to be away and back so many times, and nothing else."""
    seen = [line.partition(" WARNING: Store: ")[2] for line in survey.logs().splitlines() if " WARNING: " in line]
    for name in Shards(survey.urls).names:
        assert sum(line.startswith(f"{name}: ") and AWAY in line for line in seen) == times, seen
        assert sum(line.startswith(f"{name}{BACK}") for line in seen) == times, seen
    assert len(seen) == 2 * times * len(survey.urls)


def kill_crawls_and_servers(survey: Survey, servers: Sequence[MariaDb], seed: int, times: int) -> None:
    """Kill crawls at random moments, with rows spooled for one server or being replayed to it."""
    away: MariaDb | None = None
    for number, (done, seconds) in enumerate(moments(seed, survey.lab.hosts, times)):
        survey.start()
        survey.run_until(done)
        if away is None:
            away = servers[number // 2 % len(servers)]
            away.kill()
        else:
            away.start()
            away = None
        survey.run_until(done, 2 * seconds)
        survey.kill()
    if away is not None:
        away.start()
    survey.run_to_the_end()


def test_crawls_killed_at_random_moments_leave_one_row_a_target_in_two_servers(
    lab: Lab, undisturbed: Stored, servers: Sequence[MariaDb], tmp_path: Path
) -> None:
    survey = Survey(lab, tmp_path / "job", urls(servers), TABLES, *ALL)
    kill_crawls(survey, seed=1, times=3)
    check(survey, undisturbed)


def test_crawls_killed_or_ended_by_ctrl_c_count_once_what_they_do_not_record(
    lab: Lab, undisturbed: Stored, tmp_path: Path
) -> None:
    survey = Survey(lab, tmp_path / "job", [sqlite(tmp_path)], TABLES, *ACCEPTED)
    survey.start()
    assert survey.run_until(1)
    survey.signal(signal.SIGINT)
    survey.finish()
    kill_crawls(survey, seed=2, times=2)
    check(survey, only_accepted(undisturbed))


def test_servers_killed_and_started_again_are_said_to_be_away_and_back_and_lack_nothing(
    lab: Lab, undisturbed: Stored, servers: Sequence[MariaDb], tmp_path: Path
) -> None:
    survey = Survey(lab, tmp_path / "job", urls(servers), TABLES, *ACCEPTED, "-s", "SMTPSURVEY_RATE=600")
    kill_servers(survey, servers, times=2)
    check(survey, only_accepted(undisturbed))
    check_warnings(survey, times=2)


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[Lab, Stored]]:
    """Make the lab of a long test, and what an undisturbed survey finds in it."""
    with running_lab(tmp_path, 50_000) as lab:
        yield lab, undisturbed_survey(lab, tmp_path)


@pytest.mark.soak
def test_crawls_killed_20_times_leave_one_row_a_target_in_32_tables(
    large: tuple[Lab, Stored], servers: Sequence[MariaDb], tmp_path: Path
) -> None:
    lab, undisturbed = large
    survey = Survey(lab, tmp_path / "killed", urls(servers), 16, *ALL)
    kill_crawls(survey, seed=3, times=20)
    check(survey, undisturbed)


@pytest.mark.soak
def test_servers_killed_5_times_each_are_said_to_be_away_and_back_and_lack_nothing(
    large: tuple[Lab, Stored], servers: Sequence[MariaDb], tmp_path: Path
) -> None:
    lab, undisturbed = large
    survey = Survey(lab, tmp_path / "killed", urls(servers), 16, *ALL, "-s", "SMTPSURVEY_RATE=1000")
    kill_servers(survey, servers, times=5)
    check(survey, undisturbed)
    check_warnings(survey, times=5)


@pytest.mark.soak
def test_crawls_killed_20_times_while_each_server_is_killed_5_times_leave_one_row_a_target(
    large: tuple[Lab, Stored], servers: Sequence[MariaDb], tmp_path: Path
) -> None:
    lab, undisturbed = large
    survey = Survey(lab, tmp_path / "killed", urls(servers), 16, *ACCEPTED)
    kill_crawls_and_servers(survey, servers, seed=4, times=20)
    check(survey, only_accepted(undisturbed))


def test_the_folder_of_another_survey_or_other_targets_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    targets, copy, job = (tmp_path / name for name in ("targets.txt", "copy.txt", "job"))
    for file in (targets, copy):
        file.write_text("127.0.0.1\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["crawl", "smtp", "-s", f"JOBDIR={job}", "-a", "survey=2026-11", "-a", f"targets={targets}"]
    command += ["-a", f"port={port}", *QUICK]
    assert run(*command).status == 0
    before = (job / FILE).read_bytes()
    others = [start(*command, "-a", "survey=2026-12"), start(*command, "-a", f"targets={copy}")]
    ended = [finish(crawl) for crawl in others]
    targets.write_text("127.0.0.2\n")
    ended.append(run(*command))
    whys = (
        "its survey is 2026-11, not 2026-12;",
        f"its targets is {targets}, not {copy};",
        "its content of the targets file is ",
    )
    for (status, _, log), why in zip(ended, whys, strict=True):
        errors = [line for line in log.splitlines() if " ERROR: " in line]
        assert status == 1
        assert len(errors) == 1, log
        assert f"JOBDIR {job} belongs to another survey: {why}" in errors[0]
        assert "Traceback" not in log
    assert (job / FILE).read_bytes() == before
