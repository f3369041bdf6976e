"""``scrapy crawl mx`` as a user starts it, against dnspython's own resolver, and from domains to servers."""

from __future__ import annotations

import gzip
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from doubles.crawl import FREE, REPOSITORY, SCRAPY, items, run, start
from doubles.mailer import Mailer
from doubles.mailzone import BAD, LINES, ORIGIN, Mail, Oracle, mail_zone
from doubles.zoneserver import ZoneServer
from servers.dns import dns
from servers.namespace import Namespace

from smtpsurvey.extensions.checkpoint import read_checkpoint
from smtpsurvey.outcomes import MxFlag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 100 * len(LINES)
FEW = 5 * len(LINES)
NOWHERE = "127.0.0.1:9"
IDENTITY = ("-s", "SMTPSURVEY_HELO=survey.test.example", "-s", "SMTPSURVEY_CONTACT=a@test.example")
QUIET = ("-s", "SMTPSURVEY_SHARDS=", "-L", "WARNING")
# A quarter of the queries that a name server of ours gets in a burst would not fit into its socket.
ASKED_SLOWLY = ("-s", "SMTPSURVEY_DNS_RATE=0", "-s", "SMTPSURVEY_DNS_CONCURRENCY=20")
LOSS = """
table inet loss {
  chain in {
    type filter hook input priority 0; policy accept;
    udp sport 5354 numgen random mod 100 < 5 counter drop
    udp dport 5354 numgen random mod 100 < 5 counter drop
  }
}
"""


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    namespace = Namespace("mx")
    yield namespace
    namespace.close()


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory, namespace: Namespace) -> Iterator[str]:
    """Serve thousands of domains; give the resolver's address with port."""
    with dns(namespace, tmp_path_factory.mktemp("dns"), {ORIGIN: mail_zone(COUNT)[0]}) as server:
        yield server


def asking(server: str) -> tuple[str, ...]:
    return (*QUIET, "-s", f"SMTPSURVEY_DNS_SERVERS={server}")


def crawl_mx(namespace: Namespace, folder: Path, names: list[str], server: str, *more: str) -> dict[str, Mail]:
    """Look up the names inside the namespace; give what came of each."""
    (folder / "domains.txt").write_text("\n".join(names))
    arguments = ("-a", f"domains={folder}/domains.txt", "-O", folder / "mx.jsonl", "-s", "SMTPSURVEY_DNS_RATE=0")
    done = subprocess.run(
        namespace.command(SCRAPY, "crawl", "mx", *arguments, *asking(server), *more),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = items(folder / "mx.jsonl")
    assert len(found) == len(names)
    return {item["domain"]: mail_of(item) for item in found}


def compare(namespace: Namespace, folder: Path, count: int, server: str) -> None:
    """Hold what the spider finds against what dnspython's resolver does."""
    names = mail_zone(count)[1]
    found = crawl_mx(namespace, folder, names, server)
    host, _, port = server.partition(":")
    oracle = Oracle(host, int(port))
    with namespace.inside():
        expected = {name: in_order(oracle.look_up(name)) for name in names}
    assert found == expected
    assert {mail.outcome for mail in found.values()} == {"ok", "nxdomain", "no_data", "bad_name"}
    flags = {flag for mail in found.values() for *_, flags in mail.exchanges or () for flag in flags}
    assert flags == set(MxFlag)


def mail_of(item: dict[str, Any]) -> Mail:
    found = item["exchanges"]
    exchanges = found and [
        (
            e["preference"],
            e["name"],
            None if e["addresses"] is None else tuple(sorted(e["addresses"])),
            tuple(e["flags"] or ()),
        )
        for e in found
    ]
    return Mail(item["outcome"], item["implicit"], item["null_mx"], None if exchanges is None else tuple(exchanges))


def in_order(mail: Mail) -> Mail:
    """Sort addresses, which servers give in any order."""
    if mail.exchanges is None:
        return mail
    exchanges = tuple((p, n, None if a is None else tuple(sorted(a)), f) for p, n, a, f in mail.exchanges)
    return mail._replace(exchanges=exchanges)


def test_every_domain_gets_what_dnspythons_resolver_gives(namespace: Namespace, zone: str, tmp_path: Path) -> None:
    compare(namespace, tmp_path, COUNT, zone)


@pytest.mark.soak
def test_two_hundred_thousand_domains_too(namespace: Namespace, tmp_path: Path) -> None:
    count = 200_000
    with dns(namespace, tmp_path / "dns", {ORIGIN: mail_zone(count)[0]}) as server:
        compare(namespace, tmp_path, count, server)


def test_the_domains_of_a_zone_file(tmp_path: Path) -> None:
    text, names = mail_zone(FEW)
    registered = [name for name in names if name.endswith(f".{ORIGIN}") and name.count(".") == ORIGIN.count(".") + 1]
    lines = [f"{ORIGIN}.\t60\tin\tsoa\tns.{ORIGIN}. hostmaster.{ORIGIN}. 2026112500 1 1 1 1\n"]
    lines += [f"{name}.\t60\tin\tns\tns{number}.hoster.example.\n" for name in registered for number in (1, 2)]
    with gzip.open(tmp_path / "zone.gz", "wt") as file:
        file.writelines(lines)
    out, job = tmp_path / "mx.jsonl", tmp_path / "job"
    with ZoneServer(text, ORIGIN) as server:
        arguments = ("mx", "-a", f"zone={tmp_path}/zone.gz", "-O", out, "-s", f"JOBDIR={job}")
        done = run("crawl", *arguments, *asking(server.address), *ASKED_SLOWLY)
    assert done.status == 0, done.err[-4000:]
    assert sorted(item["domain"] for item in items(out)) == sorted(registered)
    assert {item["source"] for item in items(out)} == {"zone.gz"}
    both = run("crawl", "mx", "-a", "zone=a", "-a", "domains=b", *asking(NOWHERE))
    assert both.status == 1
    assert "domains= and zone= are both given" in both.err
    missing = run("crawl", "mx", "-a", f"zone={tmp_path}/none", *asking(NOWHERE))
    assert missing.status == 1
    assert f"{tmp_path}/none: No such file" in missing.err


@pytest.mark.soak
def test_no_name_is_lost_where_packets_are(alone: Namespace, tmp_path: Path) -> None:
    text, names = mail_zone(COUNT)
    with dns(alone, tmp_path / "dns", {ORIGIN: text}) as server:
        alone.nft(LOSS)
        found = crawl_mx(alone, tmp_path, names, server, "-s", "SMTPSURVEY_DNS_TIMEOUTS=0.3,0.5,0.5,0.5,1,1,1,1")
    assert {mail.outcome for mail in found.values()} == {"ok", "nxdomain", "no_data", "bad_name"}


def test_exchanges_are_asked_for_once_and_the_hit_rate_is_told(tmp_path: Path) -> None:
    text, names = mail_zone(FEW)
    (tmp_path / "domains.txt").write_text("\n".join(names))
    with ZoneServer(text, ORIGIN) as server:
        arguments = ("-a", f"domains={tmp_path}/domains.txt", "-L", "INFO")
        ended = run("crawl", "mx", *asking(server.address), *ASKED_SLOWLY, *arguments)
    asked = [question for question in server.asked if not question.startswith("d") and question != ". NS"]
    assert len(asked) == len(set(asked))
    assert "'smtpsurvey/exchanges/cached': " in ended.err
    assert f"{FEW + len(BAD)} domains (finished)" in ended.err
    assert "null MX" in ended.err


def test_without_addresses_one_query_a_domain(tmp_path: Path) -> None:
    text, names = mail_zone(FEW)
    (tmp_path / "domains.txt").write_text("\n".join(names))
    with ZoneServer(text, ORIGIN) as server:
        arguments = ("-a", f"domains={tmp_path}/domains.txt", "-a", "addresses=0", "-O", tmp_path / "mx.jsonl")
        run("crawl", "mx", *arguments, *asking(server.address), *ASKED_SLOWLY)
    assert sorted(question for question in server.asked if question != ". NS") == sorted(
        f"{n}. MX" for n in names[:FEW]
    )
    assert len(items(tmp_path / "mx.jsonl")) == len(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to look up: give -a domains=FILE"),
        (("-a", "domains=/nowhere.txt"), "/nowhere.txt: No such file or directory"),
        (("-a", "domains=-", "-a", "addresses=2"), "addresses='2' is neither 0 nor 1"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    ended = run("crawl", "mx", *arguments, *asking(NOWHERE))
    assert ended.status == 1
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_a_list_of_nothing_is_one_line() -> None:
    with ZoneServer(mail_zone(1)[0], ORIGIN) as server:
        ended = run("crawl", "mx", "-a", "domains=/dev/null", *asking(server.address))
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert "/dev/null: no targets in it" in ended.err


def test_a_crawl_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    text, names = mail_zone(1000)
    (tmp_path / "domains.txt").write_text("\n".join(names))
    arguments = ("-a", f"domains={tmp_path}/domains.txt", "-a", "addresses=0")
    crawl = ("crawl", "mx", *arguments, "-s", f"JOBDIR={tmp_path}/job")
    with ZoneServer(text, ORIGIN) as server:
        slow = start(*crawl, *asking(server.address), "-s", "SMTPSURVEY_DNS_RATE=500")
        server.wait_until_asked(600)
        slow.kill()
        slow.communicate()
        killed = len(server.asked)
        assert run(*crawl, *asking(server.address), *ASKED_SLOWLY).status == 0
        again = len(server.asked) - killed
    checkpoint = read_checkpoint(tmp_path / "job" / "checkpoint.json")
    assert checkpoint.counts.domains.total() == len(names)
    assert (checkpoint.mark.high, checkpoint.mark.open) == (len(names), [])
    assert 400 <= again < 900  # what was done stays done


def test_from_domains_to_servers_each_address_once(tmp_path: Path) -> None:
    domains = 20
    zone = [f"$ORIGIN {ORIGIN}.", "$TTL 60", "mx1 A 127.78.30.1", "mx2 A 127.78.30.2", "private A 10.0.0.1"]
    zone += [f"d{n} MX 10 mx{1 + n % 2}\n MX 20 mx1" for n in range(domains)]
    zone += ["own A 127.78.30.3", "null MX 0 .", "odd MX 10 localhost.\n MX 20 127.0.0.1.", "res MX 10 private"]
    names = [
        *(f"d{n}.{ORIGIN}" for n in range(domains)),
        *(f"{n}.{ORIGIN}" for n in ("own", "null", "odd", "res", "none")),
    ]
    (tmp_path / "domains.txt").write_text("\n".join(names))
    with Mailer() as mailer, ZoneServer("\n".join(zone) + "\n", ORIGIN) as server:
        arguments = ("-a", f"domains={tmp_path}/domains.txt", "-a", f"port={mailer.port}", "-O", tmp_path / "out.jsonl")
        settings = (*asking(server.address), "-L", "INFO", "-s", "SMTPSURVEY_ALLOW=127.0.0.0/8", *IDENTITY, *FREE)
        ended = run("crawl", "smtp", *arguments, *settings)
    assert ended.status == 0, ended.err
    found = items(tmp_path / "out.jsonl")
    assert sorted(item["domain"] for item in found if item.get("kind") == "mx") == sorted(names)
    probes = [(item["ip"], item["name"], item["source"], item["outcome"]) for item in found if "kind" not in item]
    assert sorted(probes) == [
        ("127.78.30.1", f"mx1.{ORIGIN}", "mx", "ok"),
        ("127.78.30.2", f"mx2.{ORIGIN}", "mx", "ok"),
        ("127.78.30.3", f"own.{ORIGIN}", "mx", "ok"),
    ]
    assert "'smtpsurvey/unrecorded/excluded/reserved/mx': 1" in ended.err
    assert f"{len(names)} domains, 4 targets (finished)" in ended.err


def test_nobody_is_asked_for_a_survey_without_identity(tmp_path: Path) -> None:
    (tmp_path / "domains.txt").write_text(f"d0.{ORIGIN}\n")
    with ZoneServer(mail_zone(1)[0], ORIGIN) as server:
        ended = run("crawl", "smtp", "-a", f"domains={tmp_path}/domains.txt", *asking(server.address))
    assert set(server.asked) <= {". NS"}
    assert ended.status == 1
    assert "say who you are" in ended.err
