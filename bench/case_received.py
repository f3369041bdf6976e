"""`scrapy targets received:FILE`: the Received headers of an mbox, messages a second of one core."""

from __future__ import annotations

import json
import random
import statistics
import sys
from typing import TYPE_CHECKING

from measure import BenchError, measure
from survey import ROOT, SCRAPY
from table import Row

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from survey import Bench

MESSAGES = 100_000
HOSTS = 3_000
MUST = 2_000.0  # messages a second of CPU
_BODY = "It is text, as mail has it, of some length.\n>From here on, too.\n" * 40
_SERVERS = 3  # that each message passed


def run_received(bench: Bench) -> Iterator[Row]:
    """Three Received headers a message, by Postfix, Exim and Exchange, and bodies of 2.5 kB."""
    path, out = bench.work / "mbox", bench.work / "mail.csv.zst"
    messages = bench.size(MESSAGES)
    _write(path, messages)
    used = [measure([SCRAPY, "targets", f"received:{path}", "--out", out], ROOT) for _ in range(min(bench.runs, 3))]
    with zstd.open(out.with_name("mail.received.jsonl.zst"), "rt") as file:
        seen = sum(item["messages"] for item in map(json.loads, file) if item.get("software"))
    if seen != _SERVERS * messages:
        raise BenchError(f"{seen} times software was named in {messages} messages of {_SERVERS} servers each")
    for each in (path, *bench.work.glob("mail.*")):
        each.unlink(missing_ok=True)
    cpu = statistics.median(each.cpu for each in used)
    yield Row(
        "received", f"mbox of {messages:,} messages", "", f"{cpu:.1f} s CPU", messages / cpu, "/s", MUST, at_least=True
    )


def _write(path: Path, messages: int) -> None:
    rng = random.Random(5)  # noqa: S311  # the same mail each time is the point
    with path.open("w", encoding="ascii", newline="\n") as file:
        for number in range(messages):
            relay, hub = rng.randrange(HOSTS), rng.randrange(HOSTS)
            file.write(_message(number, relay, hub))


def _message(number: int, relay: int, hub: int) -> str:
    relay_ip, hub_ip = f"192.0.{relay >> 8}.{relay & 255}", f"198.51.{hub >> 8}.{hub & 255}"
    return (
        "From a@example.org Wed Nov 25 02:37:00 2026\n"
        "Return-Path: <a@example.org>\n"
        f"Received: from mx{relay}.example.net (mx{relay}.example.net [{relay_ip}])\n"
        f"\tby mail.example.com (Postfix) with ESMTPS id {number:X}\n"
        "\tfor <u@example.com>; Wed, 25 Nov 2026 02:37:00 +0000 (UTC)\n"
        f"Received: from [{hub_ip}] (helo=hub{hub}.example.org)\n"
        f"\tby mx{relay}.example.net with esmtps (TLS1.3) tls TLS_AES_256_GCM_SHA384\n"
        "\t(Exim 4.96) (envelope-from <a@example.org>)\n"
        f"\tid 1waszB-{number:06}-KB; Wed, 25 Nov 2026 02:36:00 +0000\n"
        f"Received: from pc{hub}.example.org (10.1.2.3) by hub{hub}.example.org ({hub_ip}) with\n"
        " Microsoft SMTP Server (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id\n"
        " 15.1.2507.31; Wed, 25 Nov 2026 02:35:59 +0000\n"
        f"Subject: {number}\nFrom: a@example.org\nMessage-ID: <{number}@example.org>\n\n{_BODY}\n"
    )
