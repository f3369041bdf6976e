"""``scrapy crawl ptr``: names of addresses, and where the mail of their domains goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from doubles.crawl import QUICK, items, run
from doubles.zoneserver import ZoneServer

if TYPE_CHECKING:
    from pathlib import Path

ZONE = """
$TTL 60
1.2.0.192.in-addr.arpa. PTR mail.a.example.co.uk.
2.2.0.192.in-addr.arpa. PTR www.a.example.co.uk.
 PTR example.org.
3.2.0.192.in-addr.arpa. CNAME 3.0/26.2.0.192.in-addr.arpa.
3.0/26.2.0.192.in-addr.arpa. PTR host.example.net.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR localhost.
a.example.co.uk. MX 10 mx.example.org.
example.co.uk. MX 0 .
mx.example.org. A 8.8.8.8
example.org. A 8.8.8.9
"""


def asking(server: ZoneServer) -> tuple[str, ...]:
    return (*QUICK[:2], "-s", f"SMTPSURVEY_DNS_SERVERS={server.address}")


def test_names_and_the_mail_of_their_domains_each_once(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("192.0.2.0/30\n2001:db8::1\nmx.example.org\n")
    with ZoneServer(ZONE, ".") as server:
        arguments = ("-a", f"targets={tmp_path}/list.txt", "-a", "mx=1", "-O", tmp_path / "out.jsonl")
        ended = run("crawl", "ptr", *arguments, *asking(server))
    assert ended.status == 0, ended.err
    assert f"{tmp_path}/list.txt:3: a host name: reverse look-ups take addresses" in ended.err
    found = items(tmp_path / "out.jsonl")
    names = {
        item["name"]: (item["outcome"], sorted(r["value"] for r in item["records"] or ()))
        for item in found
        if item["kind"] == "dns"
    }
    assert names == {
        "0.2.0.192.in-addr.arpa": ("nxdomain", []),
        "1.2.0.192.in-addr.arpa": ("ok", ["mail.a.example.co.uk."]),
        "2.2.0.192.in-addr.arpa": ("ok", ["example.org.", "www.a.example.co.uk."]),
        "3.2.0.192.in-addr.arpa": ("ok", ["3.0/26.2.0.192.in-addr.arpa.", "host.example.net."]),
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": ("ok", ["localhost."]),
    }
    domains = sorted(
        (item["domain"], item["outcome"], item["implicit"], item["null_mx"]) for item in found if item["kind"] == "mx"
    )
    assert domains == [
        ("a.example.co.uk", "ok", False, False),
        ("example.co.uk", "ok", False, True),
        ("example.net", "nxdomain", False, False),
        ("example.org", "ok", True, False),
    ]
    assert {item["source"] for item in found} == {"list.txt"}
    assert "5 look-ups, 4 domains (finished)" in ended.err


def test_without_mx_only_the_names(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("192.0.2.1\n")
    with ZoneServer(ZONE, ".") as server:
        run("crawl", "ptr", "-a", f"targets={tmp_path}/list.txt", "-O", tmp_path / "out.jsonl", *asking(server))
    assert [item["name"] for item in items(tmp_path / "out.jsonl")] == ["1.2.0.192.in-addr.arpa"]
    assert {question for question in server.asked if question != ". NS"} == {"1.2.0.192.in-addr.arpa. PTR"}
