"""``scrapy crawl smtp`` as a user runs it: whole crawls in processes of their own."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from doubles.crawl import FREE, QUICK, Ended, finish, items, read_until, run, start
from doubles.dns import NameServer
from doubles.mailer import Mailer
from doubles.peer import fresh_ip

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = "127.0.0.1\n"
UNFIT: dict[str, tuple[Sequence[str], str]] = {
    "no list": ((), "no targets: give -a targets=FILE, or - for standard input"),
    "missing": (("-a", "targets=missing.txt"), "missing.txt: No such file or directory"),
    "empty": (("-a", "targets={empty}"), "empty.txt: no targets in it"),
    "only bad lines": (("-a", "targets={bad}"), "bad.txt: no targets in it (2 bad lines)"),
    "folder": (("-a", "targets={folder}"), "Is a directory"),
    "binary": (("-a", "targets={binary}"), "binary data, not a list of targets"),
    "endless lines": (("-a", "targets={long}"), "not a list of targets"),
    "strict": (("-a", "targets={mixed}", "-a", "strict=1"), "mixed.txt:2: "),
    "port 0": (("-a", "targets={here}", "-a", "port=0"), "port='0' is no port (1 to 65535)"),
    "tls": (("-a", "targets={here}", "-a", "tls=yes"), "tls='yes' is none of 0, 1, legacy"),
    "record": (("-a", "targets={here}", "-a", "record=some"), "record='some' is neither accepted nor all"),
    "strict value": (("-a", "targets={here}", "-a", "strict=x"), "strict='x' is neither 0 nor 1"),
    "shard": (("-a", "targets={here}", "-a", "shard=3/2"), "shard='3/2'"),
    "timeouts key": (
        ("-a", "targets={here}", "-s", 'SMTPSURVEY_TIMEOUTS={"conect": 3}'),
        "SMTPSURVEY_TIMEOUTS: there is no 'conect'; known are connect, greeting, reply, tls, total",
    ),
    "timeouts infinite": (
        ("-a", "targets={here}", "-s", 'SMTPSURVEY_TIMEOUTS={"connect": "inf"}'),
        "SMTPSURVEY_TIMEOUTS: ",
    ),
    "limits": (("-a", "targets={here}", "-s", 'SMTPSURVEY_LIMITS={"line": 0}'), "SMTPSURVEY_LIMITS: line=0"),
    "concurrency": (("-a", "targets={here}", "-s", "SMTPSURVEY_CONCURRENCY=many"), "SMTPSURVEY_CONCURRENCY"),
    "trust anchors": (("-a", "targets={here}", "-s", "SMTPSURVEY_CA_FILE={here}"), "SMTPSURVEY_CA_FILE: "),
    "dns server": (("-a", "targets={here}", "-s", "SMTPSURVEY_DNS_SERVERS=nowhere"), "SMTPSURVEY_DNS_SERVERS"),
    "helo": (("-a", "targets={here}", "-s", "SMTPSURVEY_HELO=me"), "SMTPSURVEY_HELO='me' is no fully qualified"),
    "contact": (("-a", "targets={here}", "-s", "SMTPSURVEY_CONTACT=me"), "SMTPSURVEY_CONTACT='me' is no URL"),
    "nobody": (("-a", "targets={abroad}"), "192.0.2.1 is not a loopback address; before you survey others, say who"),
    "processor": (
        ("-a", "targets={here}", "-s", "ITEM_PROCESSOR=scrapy.pipelines.ItemPipelineManager"),
        "ITEM_PROCESSOR must be smtpsurvey.processor.SurveyItemProcessor",
    ),
    "job of a pipe": (("-a", "targets=-", "-s", "JOBDIR={folder}/job"), "JOBDIR: a survey of standard input cannot be"),
    "job of no file": (("-a", "targets=missing.txt", "-s", "JOBDIR={folder}/job2"), "missing.txt: No such file"),
    "database": (("-a", "targets={here}", "-s", "SMTPSURVEY_SHARDS=nonsense"), "SMTPSURVEY_SHARDS"),
    "opt-out": (("-a", "targets={here}", "-s", "SMTPSURVEY_OPTOUT=missing.txt"), "missing.txt"),
    "rate": (("-a", "targets={here}", "-s", "SMTPSURVEY_RATE=fast"), "SMTPSURVEY_RATE must be a number"),
    "manifest": (("-a", "targets={here}", "-s", "SMTPSURVEY_MANIFEST={folder}/no/m.json"), "no/m.json"),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Run all the crawls that cannot be, two at a time."""
    folder = tmp_path_factory.mktemp("unfit")
    contents = {
        "empty": b"",
        "bad": b"!!\n??\n",
        "binary": random.Random(7).randbytes(100_000),
        "long": b"x" * 1_000_000 + b"\n" + b"y" * 1_000_000 + b"\n",
        "mixed": b"127.0.0.1\n!!\n127.0.0.2\n",
        "here": HERE.encode(),
        "abroad": b"127.0.0.1\n192.0.2.1",
    }
    names = {"folder": str(folder)}
    for name, content in contents.items():
        path = folder / f"{name}.txt"
        path.write_bytes(content)
        names[name] = str(path)

    def crawl(arguments: Sequence[str]) -> Ended:
        filled = [re.sub(r"\{([a-z]+)\}", lambda found: names[found[1]], argument) for argument in arguments]
        return run("crawl", "smtp", "-L", "ERROR", *QUICK, *filled)

    with ThreadPoolExecutor(2) as pool:
        futures = {name: pool.submit(crawl, arguments) for name, (arguments, _) in UNFIT.items()}
    return {name: _result(future) for name, future in futures.items()}


def _result(future: object) -> Ended:
    try:
        return future.result()  # type: ignore[attr-defined,no-any-return]  # a future
    except AssertionError as error:
        return Ended(-1, "", str(error))


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_is_one_clear_line_and_status_1(ended: dict[str, Ended], name: str) -> None:
    status, _, err = ended[name]
    assert status == 1, err
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if " ERROR: " in line]
    assert len(errors) == 1, err
    assert UNFIT[name][1] in errors[0]


def test_reserved_addresses_are_excluded_though_we_said_who_we_are(tmp_path: Path) -> None:
    targets, feed = tmp_path / "targets.txt", tmp_path / "out.jsonl"
    targets.write_text("192.0.2.1\n10.0.0.1\n")
    identity = ("-s", "SMTPSURVEY_HELO=survey.test.example", "-s", "SMTPSURVEY_CONTACT=https://survey.test.example/")
    done = run("crawl", "smtp", "-a", f"targets={targets}", "-a", "record=all", "-O", feed, *QUICK, *identity)
    assert done.status == 0, done.err
    assert [(i["ip"], i["outcome"], i["reason"]) for i in items(feed)] == [
        ("192.0.2.1", "excluded", "reserved"),
        ("10.0.0.1", "excluded", "reserved"),
    ]


def test_all_or_only_who_accepted_is_recorded(tmp_path: Path) -> None:
    targets = tmp_path / "targets.txt"
    with Mailer(ip=fresh_ip()) as mailer:
        targets.write_text(f"{mailer.ip}\n{fresh_ip()}\n")
        found = {}
        for record in ("accepted", "all"):
            feed = tmp_path / f"{record}.jsonl"
            args = (
                "-a",
                f"targets={targets}",
                "-a",
                f"port={mailer.port}",
                "-a",
                f"record={record}",
                "-a",
                "source=us",
            )
            done = run("crawl", "smtp", *args, "-O", feed, *QUICK, *FREE)
            assert done.status == 0, done.err
            assert "2 targets" in done.err
            found[record] = {i["ip"]: i["outcome"] for i in items(feed)}
            assert {i["source"] for i in items(feed)} == {"us"}
    assert found["accepted"] == {mailer.ip: "ok"}
    assert sorted(found["all"].values()) == ["ok", "refused"]


def test_two_shards_are_everything_once(tmp_path: Path) -> None:
    targets = tmp_path / "targets.txt"
    with Mailer() as mailer:
        targets.write_text("127.78.1.0/27\n")
        parts = []
        for shard in ("1/2", "2/2"):
            feed = tmp_path / f"{shard[0]}.jsonl"
            args = ("-a", f"targets={targets}", "-a", f"port={mailer.port}", "-a", f"shard={shard}")
            assert run("crawl", "smtp", *args, "-O", feed, *QUICK, *FREE).status == 0
            parts.append({item["ip"] for item in items(feed)})
    assert parts[0]
    assert parts[1]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 32
    assert sorted(mailer.came) == sorted(parts[0] | parts[1])


def test_ctrl_c_once_finishes_what_is_in_flight_and_shows_the_summary(tmp_path: Path) -> None:
    targets, feed = tmp_path / "targets.txt", tmp_path / "out.jsonl"
    with Mailer() as mailer:
        mailer.may_greet.clear()
        targets.write_text("127.78.2.0/24\n" * 100)
        args = ("-a", f"targets={targets}", "-a", f"port={mailer.port}", "-s", "SMTPSURVEY_CONCURRENCY=5")
        crawl = start("crawl", "smtp", *args, "-O", feed, *QUICK, *FREE)
        mailer.wait_for(5)
        crawl.send_signal(signal.SIGINT)
        read_until(crawl, "Closing spider")
        mailer.may_greet.set()
        done = finish(crawl)
    assert done.status == 0, done.err
    assert "Traceback" not in done.err
    came = len(mailer.came)
    assert 5 <= came <= 20  # of 25,600
    assert [item["outcome"] for item in items(feed)] == ["ok"] * came
    assert all(item["quit"]["code"] == 221 for item in items(feed))
    assert f"{came} targets (shutdown)" in done.err


def test_a_job_that_is_done_contacts_nobody_again_and_shows_the_same(tmp_path: Path) -> None:
    targets = tmp_path / "targets.txt"
    with Mailer() as mailer:
        targets.write_text("127.78.10.0/29\n")
        args = ("-a", f"targets={targets}", "-a", f"port={mailer.port}", "-s", f"JOBDIR={tmp_path / 'job'}")
        for _ in range(2):
            done = run("crawl", "smtp", *args, *QUICK, *FREE)
            assert done.status == 0, done.err
            assert "8 targets (finished)" in done.err
        assert len(mailer.came) == 8
        other = run("crawl", "smtp", *args, "-a", "record=all", *QUICK, *FREE)
    assert other.status == 1
    assert "belongs to another survey: its record is accepted, not all" in other.err


def test_ctrl_c_twice_stops_now(tmp_path: Path) -> None:
    targets = tmp_path / "targets.txt"
    with Mailer() as mailer:
        mailer.may_greet.clear()
        targets.write_text("127.78.3.0/30\n")
        crawl = start("crawl", "smtp", "-a", f"targets={targets}", "-a", f"port={mailer.port}", *QUICK, *FREE)
        mailer.wait_for(4)
        crawl.send_signal(signal.SIGINT)
        read_until(crawl, "SIGINT")
        crawl.send_signal(signal.SIGINT)
        done = finish(crawl)  # while the servers still say nothing
    assert "Traceback" not in done.err


def test_standard_input_is_probed_while_it_comes(tmp_path: Path) -> None:
    feed = tmp_path / "out.jsonl"
    with Mailer() as mailer:
        args = ("-a", "targets=-", "-a", f"port={mailer.port}", "-o", f"{feed}:jsonlines")
        crawl = start("crawl", "smtp", *args, *QUICK, *FREE, stdin=subprocess.PIPE)
        assert crawl.stdin is not None
        crawl.stdin.write("127.78.4.1\n127.78.4.2\n")
        crawl.stdin.flush()
        mailer.wait_for(2)  # while the pipe stays open
        crawl.stdin.write("127.78.4.3")
        crawl.stdin.close()
        crawl.stdin = None
        done = finish(crawl)
    assert done.status == 0, done.err
    assert {item["ip"] for item in items(feed)} == {"127.78.4.1", "127.78.4.2", "127.78.4.3"}
    assert {item["source"] for item in items(feed)} == {"stdin"}


def test_ctrl_c_ends_a_survey_that_waits_for_its_pipe() -> None:
    with Mailer() as mailer:
        args = ("-a", "targets=-", "-a", f"port={mailer.port}")
        crawl = start("crawl", "smtp", *args, *QUICK, *FREE, stdin=subprocess.PIPE)
        assert crawl.stdin is not None
        crawl.stdin.write("127.78.5.1\n")
        crawl.stdin.flush()
        mailer.wait_for(1)
        crawl.send_signal(signal.SIGINT)
        crawl.wait(20)
        done = finish(crawl)
    assert done.status == 0, done.err
    assert "Traceback" not in done.err


def test_host_names_are_looked_up(tmp_path: Path) -> None:
    targets, feed = tmp_path / "targets.txt", tmp_path / "out.jsonl"
    with Mailer() as mailer, NameServer({"mx.test.example.": ["127.78.6.1", "127.78.6.2"]}) as dns:
        targets.write_text("mx.test.example,,t1\nnone.test.example\n")
        args = ("-a", f"targets={targets}", "-a", f"port={mailer.port}")
        server = ("-s", f"SMTPSURVEY_DNS_SERVERS=127.0.0.1:{dns.port}")
        us = ("-s", "SMTPSURVEY_HELO=survey.example.org", "-s", "SMTPSURVEY_CONTACT=https://survey.example.org/")
        done = run("crawl", "smtp", *args, *server, *us, "-O", feed, *QUICK, *FREE)
    assert done.status == 0, done.err
    assert {(i["ip"], i["name"], i["tag"]) for i in items(feed)} == {
        ("127.78.6.1", "mx.test.example", "t1"),
        ("127.78.6.2", "mx.test.example", "t1"),
    }
    assert "targets.txt:2: no such name: none.test.example" in done.err


def test_who_we_are_is_checked_before_any_name_is_looked_up(tmp_path: Path) -> None:
    targets = tmp_path / "targets.txt"
    with NameServer({}) as dns:
        targets.write_text("mx.test.example\n192.0.2.1\n")
        server = ("-s", f"SMTPSURVEY_DNS_SERVERS=127.0.0.1:{dns.port}")
        done = run("crawl", "smtp", "-L", "ERROR", "-a", f"targets={targets}", *server, *QUICK)
    assert done.status == 1
    assert dns.asked == []


def test_closespider_itemcount_ends_the_survey(tmp_path: Path) -> None:
    targets, feed = tmp_path / "targets.txt", tmp_path / "out.jsonl"
    with Mailer() as mailer:
        targets.write_text("127.78.7.0/24\n" * 4)
        args = ("-a", f"targets={targets}", "-a", f"port={mailer.port}", "-O", feed)
        done = run(
            "crawl", "smtp", *args, *QUICK, *FREE, "-s", "CLOSESPIDER_ITEMCOUNT=10", "-s", "SMTPSURVEY_CONCURRENCY=4"
        )
    assert done.status == 0, done.err
    assert "(closespider_itemcount)" in done.err
    assert 10 <= len(items(feed)) <= 30


def test_file_names_that_are_not_utf_8_are_labels_all_the_same(tmp_path: Path) -> None:
    feed = tmp_path / "out.jsonl"
    targets = Path(os.fsdecode(os.fsencode(tmp_path) + b"/list-\xff.txt"))
    with Mailer() as mailer:
        targets.write_text("127.78.8.1\n")
        done = run("crawl", "smtp", "-a", f"targets={targets}", "-a", f"port={mailer.port}", "-O", feed, *QUICK, *FREE)
    assert done.status == 0
    assert "Traceback" not in done.err
    (item,) = items(feed)
    assert item["source"].startswith("list-")


def test_an_error_of_a_hook_ends_the_survey_with_status_1_and_keeps_what_was_seen(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(
        "class Hook:\n"
        "    async def admit(self, target):\n"
        "        if target.ip.endswith('.7'):\n"
        "            raise ValueError('broken hook')\n"
    )
    (tmp_path / "scrapy.cfg").write_text("[settings]\ndefault = project\n")
    (tmp_path / "project.py").write_text(
        "SPIDER_MODULES = ['smtpsurvey.spiders']\nADDONS = {'smtpsurvey.addon.SmtpSurveyAddon': 100}\n"
        "COMMANDS_MODULE = 'smtpsurvey.commands'\nITEM_PIPELINES = {'hooks.Hook': 150}\n"
    )
    targets, feed = tmp_path / "targets.txt", tmp_path / "out.jsonl"
    with Mailer() as mailer:
        targets.write_text("127.78.9.1\n127.78.9.7\n")
        args = ("-a", f"targets={targets}", "-a", f"port={mailer.port}", "-O", feed)
        done = run("crawl", "smtp", *args, *QUICK, cwd=tmp_path)
    assert done.status == 1, done.err
    assert "broken hook" in done.err
    assert [item["ip"] for item in items(feed)] == ["127.78.9.1"]


def test_a_hook_after_the_rate_limit_is_asked_too(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(
        "from smtpsurvey.admission import Exclude\n"
        "class Hook:\n"
        "    def admit(self, target):\n"
        "        if target.ip.endswith('.3'):\n"
        "            raise Exclude('mine')\n"
        "class Slow:\n"
        "    def process_item(self, item):\n"
        "        from twisted.internet import reactor\n"
        "        from twisted.internet.task import deferLater\n"
        "        return deferLater(reactor, 0.01, lambda: item)\n"
    )
    (tmp_path / "scrapy.cfg").write_text("[settings]\ndefault = project\n")
    (tmp_path / "project.py").write_text(
        "SPIDER_MODULES = ['smtpsurvey.spiders']\nADDONS = {'smtpsurvey.addon.SmtpSurveyAddon': 100}\n"
        "COMMANDS_MODULE = 'smtpsurvey.commands'\nITEM_PIPELINES = {'hooks.Hook': 250, 'hooks.Slow': 400}\n"
    )
    targets, feed = tmp_path / "targets.txt", tmp_path / "out.jsonl"
    with Mailer() as mailer:
        targets.write_text("127.78.9.1\n127.78.9.2\n127.78.9.3\n")
        args = ("-a", f"targets={targets}", "-a", f"port={mailer.port}", "-a", "record=all", "-O", feed)
        done = run("crawl", "smtp", *args, *QUICK, "-s", "SMTPSURVEY_PREFIX_RATE=20", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "Traceback" not in done.err
    assert {(i["ip"], i["outcome"], i["reason"]) for i in items(feed)} == {
        ("127.78.9.1", "ok", None),
        ("127.78.9.2", "ok", None),
        ("127.78.9.3", "excluded", "mine"),
    }
