"""``scrapy crawl mta_sts`` as a user starts it: policies of a local HTTPS server with a CA of its own."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from doubles.crawl import FREE, LONG, QUICK, REPOSITORY, SCRAPY, Ended, items, read_until, run
from doubles.policyhost import Hosted, PolicyServer, policy_server
from doubles.zoneserver import ZoneServer
from servers.namespace import Namespace
from servers.pki import PAST, START, Pki

from smtpsurvey.extensions.checkpoint import read_checkpoint
from smtpsurvey.outcomes import MtaSts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORIGIN = "sts.example"
HOST, PLAIN, NOBODY = "127.77.1.1", "127.77.1.2", "127.77.1.3"
CONTACT = "https://survey.test.example/"
IDENTITY = ("-s", "SMTPSURVEY_HELO=survey.test.example", "-s", f"SMTPSURVEY_CONTACT={CONTACT}")
QUIET = ("-L", "WARNING", *IDENTITY, *FREE)
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.sts.example\r\nmx: *.mail.sts.example\r\nmax_age: 604800\r\n"
TEXT = {"Content-Type": "text/plain; charset=utf-8"}
HOSTED = ("valid", "wrongmx", "testing", "expired", "othername", "stranger", "redirect", "oversize", "chunks")
HOSTED += ("missing", "html", "broken", "bad", "nomx", "reserved", "refused", "plain")
ZONE = (
    f"$ORIGIN {ORIGIN}.\n$TTL 60\n"
    + "".join(f'_mta-sts.{name} TXT "v=STSv1; id=20261125;"\n' for name in (*HOSTED, "nohost"))
    + "".join(f"mta-sts.{name} A {HOST}\n" for name in HOSTED[:-3])
    + f"""\
valid MX 10 mx1\n MX 20 MX2.mail
wrongmx MX 10 mx1\n MX 20 a.b.mail
testing MX 10 mx1
_smtp._tls.valid TXT "v=TLSRPTv1; rua=mailto:tls@sts.example,https://sts.example/r"
_smtp._tls.wrongmx TXT "v=TLSRPTv1; rua=tls@sts.example"
mta-sts.reserved A 10.0.0.1
mta-sts.refused A {NOBODY}
mta-sts.plain A {PLAIN}
_mta-sts.two TXT "v=STSv1; id=1"\n TXT "v=STSv1; id=2"
_mta-sts.noid TXT "v=STSv1;"
_mta-sts.none TXT "v=spf1 -all"
"""
)
LISTED = (*HOSTED, "nohost", "two", "noid", "none", "nothing")


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    namespace = Namespace("mta-sts")
    yield namespace
    namespace.close()


def hosts(pki: Pki) -> dict[str, Hosted]:
    """Make what each policy host shows and says."""
    pki.authority("root")
    pki.authority("foreign")
    every = ",".join(f"DNS:mta-sts.{name}.{ORIGIN}" for name in HOSTED if name != "othername")
    pki.leaf("good", "ecdsa", issuer="root", names=every)
    pki.leaf("expired", "ecdsa", issuer="root", names=f"DNS:mta-sts.expired.{ORIGIN}", dates=(PAST, START))
    pki.leaf("stranger", "ecdsa", issuer="foreign", names=f"DNS:mta-sts.stranger.{ORIGIN}")
    chains = {name: pki.chain(name, "ecdsa", name) for name in ("good", "expired", "stranger")}
    said = {name: Hosted(chains.get(name, chains["good"]), POLICY, headers=TEXT) for name in HOSTED}
    aside = {"Location": f"https://mta-sts.valid.{ORIGIN}/elsewhere"}
    said["redirect"] = said["redirect"]._replace(status=301, headers=TEXT | aside)
    large = POLICY + b"x: " + b"y" * 65_536 + b"\n"
    said["oversize"] = said["oversize"]._replace(body=large)
    said["chunks"] = said["chunks"]._replace(body=large, headers=TEXT | {"Transfer-Encoding": "chunked"})
    said["missing"] = said["missing"]._replace(status=404)
    said["html"] = said["html"]._replace(headers={"Content-Type": "text/html"})
    said["broken"] = said["broken"]._replace(cut=20)
    said["bad"] = said["bad"]._replace(body=b"mode: enforce\n")
    said["testing"] = said["testing"]._replace(body=POLICY.replace(b"enforce", b"testing"))
    return {f"mta-sts.{name}.{ORIGIN}": hosted for name, hosted in said.items()}


def crawl(namespace: Namespace, *arguments: str | Path) -> Ended:
    done = subprocess.run(
        namespace.command(SCRAPY, "crawl", "mta_sts", *map(str, arguments)),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Found:
    """What a crawl of all these domains gave."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        pki = Pki(folder / "pki")
        with namespace.inside():
            zone = ZoneServer(ZONE, ORIGIN)
            policies = policy_server((HOST, 443), hosts(pki))
            plain = socket.create_server((PLAIN, 443))
            with zone, policies as self.server, closing(plain):
                talker = Thread(target=_talk, args=(plain,))
                talker.start()
                self.ended = self._crawl(namespace, folder, zone.address, pki)
                talker.join()
        self.asked = zone.asked
        self.store = folder / "store.sqlite3"
        self.items = {item["domain"]: item for item in items(folder / "out.jsonl")}

    @staticmethod
    def _crawl(namespace: Namespace, folder: Path, dns: str, pki: Pki) -> Ended:
        (folder / "domains.txt").write_text("".join(f"{name}.{ORIGIN}\n" for name in LISTED) + "no name\n")
        settings = ("-s", f"SMTPSURVEY_DNS_SERVERS={dns}", "-s", "SMTPSURVEY_ALLOW=127.0.0.0/8")
        trust = ("-s", f"SMTPSURVEY_CA_FILE={pki.certificate('root')}", "-s", f"JOBDIR={folder / 'job'}")
        settings += ("-a", "survey=now", "-s", f"SMTPSURVEY_SHARDS=sqlite:///{folder}/store.sqlite3")
        arguments = ("-a", f"domains={folder}/domains.txt", "-O", folder / "out.jsonl")
        return crawl(namespace, *QUIET, *settings, *trust, *arguments)

    def of(self, name: str) -> dict[str, Any]:
        return self.items[f"{name}.{ORIGIN}"]


def _talk(listener: socket.socket) -> None:
    """Answer the one connection in plain text."""
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        while connection.recv(4096):
            pass


@pytest.fixture(scope="module")
def found(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return Found(namespace, tmp_path_factory.mktemp("mta-sts"))


def test_every_domain_has_one_item_and_the_job_is_done(found: Found, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert found.ended.status == 0, found.ended.err
    assert set(found.items) == {*(f"{name}.{ORIGIN}" for name in LISTED), "no name"}
    job = next(tmp_path_factory.getbasetemp().glob("mta-sts*/job/checkpoint.json"))
    assert read_checkpoint(job).mark.open == []


def test_a_valid_policy_is_told_with_what_it_covers(found: Found) -> None:
    item = found.of("valid")
    assert {name: item[name] for name in ("kind", "outcome", "reason", "id", "mode", "max_age", "patterns")} == {
        "kind": "mta_sts",
        "outcome": "ok",
        "reason": None,
        "id": "20261125",
        "mode": "enforce",
        "max_age": 604_800,
        "patterns": ["mx1.sts.example", "*.mail.sts.example"],
    }
    assert item["exchanges"] == {"mx1.sts.example": True, "mx2.mail.sts.example": True}
    assert item["covered"] is True


def test_an_exchange_that_no_pattern_covers_is_told(found: Found) -> None:
    item = found.of("wrongmx")
    assert item["outcome"] == "ok"
    assert item["exchanges"] == {"mx1.sts.example": True, "a.b.mail.sts.example": False}
    assert item["covered"] is False


def test_a_policy_on_trial_is_told_by_its_mode(found: Found) -> None:
    assert (found.of("testing")["outcome"], found.of("testing")["mode"]) == ("ok", "testing")


def test_without_exchanges_nothing_is_said_of_them(found: Found) -> None:
    assert (found.of("nomx")["outcome"], found.of("nomx")["exchanges"], found.of("nomx")["covered"]) == (
        "ok",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("expired", "certificate", "certificate verify failed"),
        ("stranger", "certificate", "certificate verify failed"),
        ("othername", "certificate", "for other names"),
        ("redirect", "redirect", "301"),
        ("oversize", "oversize", None),
        ("chunks", "oversize", None),
        ("missing", "status", "404"),
        ("html", "content_type", "text/html"),
        ("broken", "broken", None),
        ("bad", "bad_policy", "version is not STSv1"),
        ("reserved", "excluded", "reserved"),
        ("refused", "unreachable", None),
        ("plain", "tls", None),
        ("nohost", "no_address", "nxdomain"),
        ("two", "bad_record", "several records"),
        ("noid", "bad_record", None),
        ("none", "none", None),
        ("nothing", "none", None),
    ],
)
def test_no_policy_has_a_cause(found: Found, name: str, outcome: str, reason: str | None) -> None:
    item = found.of(name)
    assert item["outcome"] == outcome
    assert outcome in set(MtaSts)
    assert reason is None or item["reason"] == reason
    assert (item["mode"], item["max_age"], item["patterns"], item["exchanges"], item["covered"]) == (None,) * 5


def test_where_reports_are_wanted_is_told(found: Found) -> None:
    assert (found.of("valid")["tlsrpt"], found.of("valid")["reports"]) == (
        "ok",
        ["mailto:tls@sts.example", "https://sts.example/r"],
    )
    assert (found.of("wrongmx")["tlsrpt"], found.of("wrongmx")["reports"]) == ("bad_record", None)
    assert (found.of("none")["tlsrpt"], found.of("none")["reports"]) == ("none", None)


def test_policy_hosts_are_asked_for_the_policy_alone_and_told_by_whom(found: Found) -> None:
    server: PolicyServer = found.server
    assert {(path, agent) for _, path, agent in server.asked} == {
        ("/.well-known/mta-sts.txt", f"smtpsurvey (+{CONTACT})")
    }
    assert len(server.asked) == len({host for host, *_ in server.asked})


def test_what_is_no_name_is_not_asked_for(found: Found) -> None:
    assert found.items["no name"]["outcome"] == "bad_name"
    assert not any("no name" in question for question in found.asked)


def test_every_item_is_a_row(found: Found) -> None:
    with closing(sqlite3.connect(found.store)) as store:
        store.row_factory = sqlite3.Row
        rows = {row["domain"]: dict(row) for row in store.execute("select * from mta_sts")}
    assert rows.keys() == found.items.keys()
    for domain, item in found.items.items():
        for name in ("survey", "outcome", "reason", "id", "mode", "max_age", "covered", "tlsrpt", "time", "source"):
            assert rows[domain][name] == item[name], name
        for name in ("patterns", "exchanges", "reports"):
            assert json.loads(rows[domain][name] or "null") == item[name], name


def test_what_is_in_flight_ends_when_the_crawl_is_told_to_stop(namespace: Namespace, tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    names = ("valid", "testing", "nomx")
    (tmp_path / "domains.txt").write_text("".join(f"{name}.{ORIGIN}\n" for name in names))
    with namespace.inside(), ZoneServer(ZONE, ORIGIN) as zone, policy_server((HOST, 443), hosts(pki)) as server:
        server.open.clear()
        settings = ("-s", f"SMTPSURVEY_DNS_SERVERS={zone.address}", "-s", "SMTPSURVEY_DNS_RATE=8", *QUICK)
        trust = ("-s", f"SMTPSURVEY_CA_FILE={pki.certificate('root')}")
        arguments = ("-a", f"domains={tmp_path}/domains.txt", "-O", tmp_path / "out.jsonl")
        argv = ["crawl", "mta_sts", *arguments, *IDENTITY, *FREE, *settings, *trust]
        crawling = subprocess.Popen(namespace.command(SCRAPY, *argv), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        server.wait_until_asked()
        crawling.send_signal(signal.SIGINT)
        read_until(crawling, "Closing spider")
        server.open.set()
        _, log = crawling.communicate(timeout=LONG)
    assert "Traceback" not in log
    found = {item["domain"]: item["outcome"] for item in items(tmp_path / "out.jsonl")}
    assert found == {f"{name}.{ORIGIN}": "ok" for name in names}


def test_nobody_is_asked_for_a_survey_without_identity(namespace: Namespace, tmp_path: Path) -> None:
    zone = '_mta-sts.a TXT "v=STSv1; id=1;"\nmta-sts.a A 192.0.2.1\n'
    (tmp_path / "domains.txt").write_text(f"a.{ORIGIN}\n")
    with namespace.inside(), ZoneServer(f"$ORIGIN {ORIGIN}.\n$TTL 60\n{zone}", ORIGIN) as server:
        settings = ("-s", f"SMTPSURVEY_DNS_SERVERS={server.address}", *QUICK)
        ended = crawl(namespace, "-a", f"domains={tmp_path}/domains.txt", *settings)
    assert ended.status == 1
    assert "192.0.2.1 is not a loopback address; before you survey others, say who you are" in ended.err
    assert "Traceback" not in ended.err


def test_trust_anchors_that_are_none_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for path, message in ((tmp_path / "empty.pem", "no certificate in it"), (tmp_path / "no", "No such file")):
        ended = run(
            "crawl",
            "mta_sts",
            "-a",
            "domains=-",
            *QUIET,
            "-s",
            "SMTPSURVEY_SHARDS=",
            "-s",
            f"SMTPSURVEY_CA_FILE={path}",
        )
        assert ended.status == 1
        assert f"SMTPSURVEY_CA_FILE: {path}: {message}" in ended.err
        assert "Traceback" not in ended.err
