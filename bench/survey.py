"""A whole survey as the bench runs it: the load, `scrapy crawl smtp` with everything on, and what its feed must say."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from measure import LOG_SHOWN, BenchError, Program, measure
from programs import GREETING, IN_FLIGHT, Programs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from measure import Usage

ROOT = Path(__file__).parent.parent
SCRAPY = ROOT / ".venv/bin/scrapy"
FIRST_AS = 64_512
NETWORKS = 128  # 127.1.0.0/16 and so on, an AS each
FILLER = 20_000  # prefixes of the AS map that no target is in
OPTED_OUT = 10_000
READY, CLOSING, DONE = 220, 221, 250  # reply codes (RFC 5321 section 4.2.3)
MIX = (16, 1000)  # so many addresses of so many answer on the real Internet


class Bench(NamedTuple):
    """What every case is given: the programs, how often to run, and whether to make do with small loads."""

    programs: Programs
    runs: int
    quick: bool

    @property
    def work(self) -> Path:
        """The folder of this bench."""
        return self.programs.work

    def size(self, targets: int) -> int:
        """Return the number of targets, a tenth in a quick bench."""
        return targets // 10 if self.quick else targets

    def prepare(self) -> None:
        """Make the AS map, the opt-out list, and the list of one target that start-up is measured with."""
        rng = random.Random(1)  # noqa: S311  # the same load each time is the point
        with (self.work / "asmap.dat").open("w") as table:
            table.write("; a map as pyasn writes it\n")
            table.writelines(f"127.{i + 1}.0.0/16\t{FIRST_AS + i}\n" for i in range(NETWORKS))
            table.writelines(
                f"{rng.randrange(1, 100)}.{i >> 8 & 255}.{i & 255}.0/24\t{rng.randrange(1, 60_000)}\n"
                for i in range(FILLER)
            )
        measure([SCRAPY, "asmap", "build", self.work / "asmap.dat", "--out", self.work / "asmap.mmdb"], ROOT)
        octets = ((rng.randrange(128, 220), rng.randrange(256), rng.randrange(256)) for _ in range(OPTED_OUT))
        self.write("optout.txt", (f"{a}.{b}.{c}.0/24 # asked" for a, b, c in octets))
        self.write("one.txt", [address(0)])

    def write(self, name: str, lines: Iterable[str]) -> Path:
        """Write a list into the folder of this bench."""
        path = self.work / name
        with path.open("w") as file:
            file.writelines(f"{line}\n" for line in lines)
        return path

    def start(self, targets: Path, *arguments: str, feed: Path, settings: dict[str, Any] | None = None) -> Program:
        """Start a survey of ``targets``, everything on, with no limit in the way unless ``settings`` set one."""
        return Program(self.command(targets, *arguments, feed=feed, settings=settings), ROOT)

    def survey(self, targets: Path, *arguments: str, feed: Path, settings: dict[str, Any] | None = None) -> Usage:
        """Measure a whole survey."""
        with self.start(targets, *arguments, feed=feed, settings=settings) as program:
            usage = program.finish(1800)
        if " ERROR: " in usage.log:  # the exit status does not tell
            raise BenchError(f"the survey met with errors: {usage.log[-LOG_SHOWN:]}")
        return usage

    def start_up(self) -> Usage:
        """Measure a survey of one target: what does not grow with the list."""
        return self.survey(self.work / "one.txt", feed=self.work / "one.jsonl")

    def command(self, targets: Path, *arguments: str, feed: Path, settings: dict[str, Any] | None = None) -> list[str]:
        """Return the command line of a survey; ``arguments`` are those of the spider, ``name=value``."""
        chosen = {
            "SMTPSURVEY_SHARDS": "",
            "SMTPSURVEY_ALLOW": "127.0.0.0/8",
            "SMTPSURVEY_RATE": 10_000_000,
            "SMTPSURVEY_PREFIX_RATE": 1_000_000,
            "SMTPSURVEY_AS_RATE": 10_000_000,
            "SMTPSURVEY_AS_MAP": self.work / "asmap.mmdb",
            "SMTPSURVEY_OPTOUT": self.work / "optout.txt",
            "SMTPSURVEY_CONCURRENCY": IN_FLIGHT,
        } | (settings or {})
        command = [str(SCRAPY), "crawl", "smtp", "-L", "WARNING", "-O", f"{feed}:jsonlines"]
        for argument in (f"targets={targets}", f"port={self.programs.port}", "tls=0", *arguments):
            command += ["-a", argument]
        for name, value in chosen.items():
            command += ["-s", f"{name}={value}"]
        return command


def address(i: int) -> str:
    """Return the i-th of 2^23 distinct loopback addresses, spread over the /24s as a permuted list is."""
    i = (i * 40_503 + 7) % (NETWORKS << 16)
    return f"127.{1 + (i >> 16)}.{i >> 8 & 255}.{i & 255}"


def mixed(targets: int) -> list[str]:
    """Return the live ones among the first ``targets`` addresses of a mix; those of a shorter one come first."""
    live, block = MIX
    rng = random.Random(2)  # noqa: S311  # the same mix each time is the point
    starts = range(0, targets - block + 1, block)
    return [address(start + chosen) for start in starts for chosen in rng.sample(range(block), live)]


def check_feeds(feeds: Iterable[Path], live: Iterable[str], leaf: str | None = None) -> None:
    """Raise unless the feeds hold every live host exactly once with the right facts, and no other as ``ok``."""
    waiting = dict.fromkeys(live, 0)
    for feed in feeds:
        with contextlib.closing(feed.open()) as lines:
            for line in lines:
                item: dict[str, Any] = json.loads(line)
                if item["outcome"] != "ok":
                    raise BenchError(f"{feed.name}: {item['ip']} came out as {item['outcome']}: {item}")
                if item["ip"] not in waiting:
                    raise BenchError(f"{feed.name}: {item['ip']} is not live, but {item}")
                waiting[item["ip"]] += 1
                _check_item(item, leaf)
    if wrong := [(ip, times) for ip, times in waiting.items() if times != 1]:
        ip, times = wrong[0]
        raise BenchError(f"{len(wrong)} of {len(waiting)} live hosts not found exactly once: {ip} {times} times")


def _check_item(item: dict[str, Any], leaf: str | None) -> None:
    network = int(item["ip"].split(".")[1])
    expected = {
        "greeting": item["greeting"] == {"code": READY, "text": GREETING},
        "EHLO": item["ehlo"]["code"] == DONE and "8BITMIME" in item["ehlo"]["extensions"],
        "QUIT": item["quit"]["code"] == CLOSING,
        "AS": (item["asn"], item["prefix"]) == (FIRST_AS + network - 1, f"127.{network}.0.0/16"),
        "software": (item["software"] or {}).get("product") == "Postfix",
        "STARTTLS": item["starttls"] == ("not_asked" if leaf is None else "ok"),
    }
    if leaf is not None:
        tls = item["tls"] or {}
        expected["TLS"] = (tls.get("chain"), tls.get("version"), tls.get("trust_error")) == (
            [leaf],
            "TLSv1.3",
            "self_signed",
        )
    if wrong := [fact for fact, right in expected.items() if not right]:
        raise BenchError(f"wrong {', '.join(wrong)} in {item}")
