"""``scrapy crawl worker``: command files from a file, a pipe and a server, whatever that sends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from doubles.crawl import FREE, QUICK, Ended, finish, items, read_until, run, start
from doubles.hostileweb import hostile_web
from doubles.webserver import Answer, web_server
from doubles.zoneserver import ZoneServer
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from smtpsurvey.worker.executor import DEPTH

if TYPE_CHECKING:
    from pathlib import Path

ZONE = """
$TTL 60
a.example. A 8.8.8.8
 AAAA 2001:4860::8
 MX 10 mx.a.example.
mx.a.example. A 8.8.4.4
8.8.8.8.in-addr.arpa. PTR a.example.
"""
PLAIN = (("Content-Type", "text/plain"),)


def worker(folder: Path, text: str, *settings: str) -> tuple[list[dict[str, Any]], Ended]:
    """Execute a file; give the items and how it ended."""
    (folder / "jobs.txt").write_text(text)
    arguments = ("-a", "commands=jobs.txt", "-a", "survey=now", "-O", "out.jsonl", *QUICK, *FREE)
    given = [part for setting in settings for part in ("-s", setting)]
    ended = run("crawl", "worker", *arguments, *given, cwd=project(folder))
    assert ended.status == 0, ended.err
    assert "Traceback" not in ended.err, ended.err
    return items(folder / "out.jsonl"), ended


def project(folder: Path) -> Path:
    (folder / "scrapy.cfg").write_text("[settings]\ndefault = smtpsurvey.settings\n")
    return folder


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [item["text"] for item in found if item["kind"] == "log"]


def test_look_ups_are_those_of_the_spiders(tmp_path: Path) -> None:
    with ZoneServer(ZONE, ".") as server:
        found, _ = worker(
            tmp_path,
            "DNS-LOOKUP a.example\nIPV6-DNS-LOOKUP a.example\nDNS-REVERSE 8.8.8.8\nMX-LOOKUP a.example\n",
            f"SMTPSURVEY_DNS_SERVERS={server.address}",
        )
    by_source = {item["source"]: item for item in found}
    values = {source: item["records"][0]["value"] for source, item in by_source.items() if item["kind"] == "dns"}
    assert values == {"jobs.txt:1": "8.8.8.8", "jobs.txt:2": "2001:4860::8", "jobs.txt:3": "a.example."}
    (exchange,) = by_source["jobs.txt:4"]["exchanges"]
    assert (exchange["name"], exchange["addresses"]) == ("mx.a.example", ["8.8.4.4"])


def test_no_dns_server_that_works_costs_one_line_a_command(tmp_path: Path) -> None:
    text = "DNS-LOOKUP a.example\nDNS-LOOKUP b.example\nLOG on\n"
    found, ended = worker(tmp_path, text, "SMTPSURVEY_DNS_SERVERS=255.255.255.255")  # where no datagram may go
    assert texts(found) == ["on"]
    assert len(re.findall(r"jobs\.txt:[12]: DNS-LOOKUP: no DNS server works", ended.err)) == 2


def test_bad_lines_are_told_and_nothing_after_end_runs(tmp_path: Path) -> None:
    found, ended = worker(tmp_path, "START\nBOGUS\nLOG a\nSLEEP x\nEND\nLOG never\n")
    assert texts(found) == ["a"]
    assert found[0]["command"] == {"file": "jobs.txt", "line": 3}
    assert "ERROR: jobs.txt:2: 'BOGUS' is no command\n" in ended.err
    assert "ERROR: jobs.txt:4: 'x' is no number of seconds\n" in ended.err


def test_files_run_in_the_order_named_and_need_no_end(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("LOG b")
    (tmp_path / "a.txt").write_text("LOG a\nEND\n")
    arguments = ("-a", "commands=b.txt,a.txt", "-O", "out.jsonl", *QUICK)
    assert run("crawl", "worker", *arguments, cwd=project(tmp_path)).status == 0
    assert texts(items(tmp_path / "out.jsonl")) == ["b", "a"]


@pytest.mark.parametrize(("given", "said"), [("", "no commands: give"), ("none.txt", "none.txt: No such file")])
def test_what_cannot_be_executed_is_one_line(tmp_path: Path, given: str, said: str) -> None:
    ended = run("crawl", "worker", "-a", f"commands={given}", *QUICK, cwd=project(tmp_path))
    assert ended.status == 1
    assert said in ended.err


def test_a_server_cannot_kill_the_worker(tmp_path: Path) -> None:
    paths = ("stall", "endless", "announced", "bomb", "garbage", "noise", "loop", "file", "html", "missing", "busy")
    with hostile_web() as web:
        fetches = "".join(f"COMMAND-FETCH {web.url}/{path} {path}\n" for path in (*paths, "good"))
        found, ended = worker(
            tmp_path,
            f"{fetches}LOG lives\n",
            *("DOWNLOAD_TIMEOUT=1", "DOWNLOAD_MAXSIZE=1000000", "SMTPSURVEY_FETCH_PAUSES=0"),
        )
    assert texts(found) == ["from noise", "good", "lives"]
    said = dict(re.findall(r"ERROR: jobs\.txt:(\d+): COMMAND-FETCH: http://[^/]+/(.+)", ended.err))
    assert {number: reason.partition(": ")[2] for number, reason in said.items()} == {
        "1": said["1"].partition(": ")[2],
        "2": "refused: larger than 1,000,000 bytes",
        "3": "refused: larger than 1,000,000 bytes",
        "4": "refused: larger than 1,000,000 bytes",
        "5": said["5"].partition(": ")[2],
        "7": "refused: more than 5 redirects",
        "8": "refused: a redirect that leads to no http or https URL",
        "9": "refused: the answer is text/html, no command file",
        "10": "refused: status 404",
        "11": "status 503; given up after 2 tries",
    }
    assert re.match(r"stall: DownloadTimeout: .*; given up after 2 tries", said["1"])
    assert re.match(r"garbage: .*; given up after 2 tries", said["5"])
    assert web.sent < 100_000_000  # of the gigabyte
    asked = {path: web.asked.count(f"/{path}") for path in (*paths, "good")}
    assert asked == dict.fromkeys((*paths, "good"), 1) | {"stall": 2, "garbage": 2, "busy": 2, "loop": 6}
    assert [f"commands/noise:{line}: not UTF-8" in ended.err for line in (1, 2, 3)] == [True] * 3
    assert sorted(path.name for path in (tmp_path / "commands").iterdir()) == ["good", "noise"]


def test_a_file_that_has_not_changed_executes_nothing(tmp_path: Path) -> None:
    with web_server() as web:
        web.answers["/jobs"] = Answer(b"LOG once\n", headers=(*PLAIN, ("ETag", '"1"')))
        fetch = f"COMMAND-FETCH {web.url}/jobs jobs\nLOG then\n"
        first, _ = worker(tmp_path, fetch, "SMTPSURVEY_CONTACT=a@b.example", "SMTPSURVEY_HELO=b.example")
        web.answers["/jobs"] = Answer(status=304)
        second, ended = worker(tmp_path, fetch)
    assert (texts(first), texts(second)) == (["once", "then"], ["then"])
    assert "not modified" in ended.err
    asked = [request.headers for request in web.asked]
    assert [headers.get("If-None-Match") for headers in asked] == [None, '"1"']
    assert re.fullmatch(r"smtpsurvey/\S+ \(\+a@b\.example\)", asked[0]["User-Agent"])
    assert asked[0]["Accept-Encoding"] == "gzip"


def test_a_file_may_fetch_the_next_at_its_end_for_ever_but_not_nest_for_ever(tmp_path: Path) -> None:
    with web_server() as web:
        for number in range(DEPTH + 5):
            more = f"COMMAND-FETCH {web.url}/{number + 1} f{number + 1}\n"
            web.answers[f"/{number}"] = Answer(f"LOG {number}\n{more}END\nLOG never\n".encode(), headers=PLAIN)
        web.answers[f"/{DEPTH + 5}"] = Answer(b"LOG last\n", headers=PLAIN)
        web.answers["/nest"] = Answer(f"COMMAND-FETCH {web.url}/nest nest\nLOG out\n".encode(), headers=PLAIN)
        text = f"COMMAND-FETCH {web.url}/0 f0\nCOMMAND-FETCH {web.url}/nest nest\nLOG end\n"
        found, ended = worker(tmp_path, text)
    chain = [*map(str, range(DEPTH + 5)), "last"]
    assert texts(found) == [*chain, *["out"] * (DEPTH - 1), "end"]
    assert f"{DEPTH} files fetched one another" in ended.err


def test_pages_are_cut_and_redirects_recorded(tmp_path: Path) -> None:
    with ZoneServer(ZONE, ".") as server, hostile_web() as hostile, web_server() as web:
        web.answers["/long"] = Answer(b"x" * 1001)
        web.answers["/exact"] = Answer(b"\xff" + b"x" * 999)
        web.answers["/moved"] = Answer(status=301, headers=(("Location", "http://b.example/"),))
        (tmp_path / "optout").write_text("127.0.0.8\n")
        urls = [f"{web.url}/{path}" for path in ("long", "exact", "moved")]
        urls += [f"{hostile.url}/{path}" for path in ("endless", "bomb", "stall", "garbage")]
        urls += ["http://127.0.0.8/", "http://none.example/", "http://127.0.0.1:1/"]
        found, _ = worker(
            tmp_path,
            "".join(f"HTTP-FETCH {url}\n" for url in urls),
            *(f"SMTPSURVEY_DNS_SERVERS={server.address}", f"SMTPSURVEY_OPTOUT={tmp_path}/optout"),
            *("SMTPSURVEY_PAGE_SIZE=1000", "DOWNLOAD_TIMEOUT=1"),
        )
    seen = {item["url"]: (item["outcome"], item["status"], item["location"], item["truncated"]) for item in found}
    assert [seen[url] for url in urls] == [
        ("ok", 200, None, True),
        ("ok", 200, None, False),
        ("ok", 301, "http://b.example/", False),
        ("ok", 200, None, True),
        ("too_large", None, None, None),
        ("timeout", None, None, None),
        ("failed", None, None, None),
        ("excluded", None, None, None),
        ("no_name", None, None, None),
        ("refused", None, None, None),
    ]
    bodies = {item["url"]: item["body"] for item in found}
    assert bodies[urls[0]] == "x" * 1000
    assert bodies[urls[1]] == "\\xff" + "x" * 999
    assert hostile.sent < 50_000_000


def test_whose_an_address_is_and_who_opted_out(tmp_path: Path) -> None:
    writer = MMDBWriter(6, "test", ipv4_compatible=True)
    writer.insert_network(IPSet(["8.8.8.0/24"]), {"autonomous_system_number": 64500})
    writer.insert_network(IPSet(["9.9.9.0/24"]), {"autonomous_system_number": 64501})
    writer.to_db_file(str(tmp_path / "as.mmdb"))
    (tmp_path / "optout").write_text("AS64501 # asked us\n")
    found, _ = worker(
        tmp_path,
        "DEST-AS-CHECK 8.8.8.8\nDEST-AS-CHECK 9.9.9.9\nDEST-AS-CHECK 10.0.0.1\n",
        *(f"SMTPSURVEY_OPTOUT={tmp_path}/optout", f"SMTPSURVEY_AS_MAP={tmp_path}/as.mmdb"),
    )
    assert [(item["prefix"], item["asn"], item["opted_out"]) for item in found] == [
        ("8.8.8.0/24", 64500, False),
        ("9.9.9.0/24", 64501, True),
        (None, None, False),
    ]
    assert found[0]["reason"] is None
    assert re.fullmatch(r"AS64501 \(asked us; .*optout:1\)", found[1]["reason"])
    assert found[2]["reason"].startswith("reserved: 10.0.0.0/8")


def test_without_an_opt_out_list_nobody_knows(tmp_path: Path) -> None:
    (item,), _ = worker(tmp_path, "DEST-AS-CHECK 8.8.8.8\n")
    assert (item["asn"], item["opted_out"], item["reason"]) == (None, None, None)


def test_a_probe_that_must_not_be_is_an_item_too(tmp_path: Path) -> None:
    (item,), _ = worker(
        tmp_path, "SMTP-PROBE 10.0.0.1 mx.a.example\n", "SMTPSURVEY_HELO=a.example", "SMTPSURVEY_CONTACT=a@b.example"
    )
    assert (item["outcome"], item["reason"], item["name"]) == ("excluded", "reserved", "mx.a.example")
    assert item["source"] == "jobs.txt:1"


def test_nobody_is_probed_before_we_say_who_we_are(tmp_path: Path) -> None:
    found, ended = worker(tmp_path, "SMTP-PROBE 8.8.8.8\nHTTP-FETCH http://8.8.8.8/\nLOG on\n")
    assert texts(found) == ["on"]
    assert len(found) == 1
    assert "jobs.txt:1: SMTP-PROBE: 8.8.8.8 is not a loopback address" in ended.err
    assert "jobs.txt:2: HTTP-FETCH: 8.8.8.8 is not a loopback address" in ended.err


def interactive(folder: Path, *settings: str) -> subprocess.Popen[str]:
    given = [part for setting in settings for part in ("-s", setting)]
    arguments = ("-a", "commands=-", "-O", "out.jsonl", *QUICK, *given)
    process = start("crawl", "worker", *arguments, cwd=project(folder), stdin=subprocess.PIPE)
    say(process, "START")
    read_until(process, "stdin: start")
    return process


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def test_commands_come_interactively_and_the_status_port_tells(tmp_path: Path) -> None:
    process = interactive(tmp_path)
    say(process, "LOG hello")
    say(process, "SERVICE-THREAD 0")
    assert process.stderr is not None
    (port,) = next(found for line in process.stderr if (found := re.findall(r"status on 127\.0\.0\.1:(\d+)", line)))
    with socket.create_connection(("127.0.0.1", int(port)), 10) as sock, sock.makefile() as answer:
        facts = dict(line.rstrip().split(": ", 1) for line in answer)
    assert facts["running"] == "SERVICE-THREAD 0 (stdin:3)"
    assert (facts["done"], facts["LOG"], facts["in flight"], facts["errors"]) == ("3", "1", "0", "0")
    assert float(facts["memory"].removesuffix(" MB")) > 10
    assert re.fullmatch(r"[0-9.]+/s", facts["rate"])
    say(process, f"SERVICE-THREAD {port}")
    say(process, "HEARTBEAT-THREAD 3600")
    say(process, "END")
    ended = finish(process)
    assert ended.status == 0
    assert f"stdin:4: SERVICE-THREAD: 127.0.0.1:{port}: " in ended.err
    found = items(tmp_path / "out.jsonl")
    assert [item["kind"] for item in found] == ["log", "heartbeat"]
    assert found[1]["running"] == "HEARTBEAT-THREAD 3600 (stdin:5)"
    assert found[1]["done"] == 4
    assert found[1]["memory"] > 10_000_000


@pytest.mark.parametrize("line", ["# nothing to do", "SLEEP 3600", "COMMAND-FETCH http://127.0.0.1:1/ x"])
def test_an_interrupt_ends_it_whatever_it_waits_for(tmp_path: Path, line: str) -> None:
    process = interactive(tmp_path)
    say(process, line)
    say(process, "LOG later")
    process.send_signal(signal.SIGINT)
    assert "(shutdown)" in finish(process).err


def test_an_interrupt_does_not_wait_for_what_is_not_due(tmp_path: Path) -> None:
    process = interactive(tmp_path, "SMTPSURVEY_PREFIX_RATE=0.001")
    for line in ("SMTP-PROBE 127.0.0.2", "SLEEP 0", "SMTP-PROBE 127.0.0.3", "HTTP-FETCH http://127.0.0.4/"):
        say(process, line)
    say(process, "HEARTBEAT-THREAD 3600")
    read_until(process, "3 in flight")
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert "(shutdown)" in ended.err
    assert "Traceback" not in ended.err
    assert [item["ip"] for item in items(tmp_path / "out.jsonl") if "ip" in item] == ["127.0.0.2"]
