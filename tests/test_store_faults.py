"""What goes wrong with real servers while a crawl writes: its rows are those of an undisturbed crawl."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from servers.mariadb import PASSWORD, MariaDb, running
from sqlalchemy import make_url, select

from smtpsurvey.items import SmtpItem
from smtpsurvey.store import delivery
from smtpsurvey.store.delivery import Delivery
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TABLES = 16
WAIT = 60.0  # seconds for what comes at once, or never
SLOW = 1.0

# A crawl that stores observations step by step, and at each step waits until the test says that it may go on.
CRAWL = """
import asyncio, hashlib, json, sys
import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerProcess
from smtpsurvey.items import Observation, SmtpItem, Target
from smtpsurvey.outcomes import Outcome, StartTls
from smtpsurvey.smtp.capabilities import extensions
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.smtp.reply import complete
from smtpsurvey.smtp.tls import TlsFacts

steps, rows, settings = json.loads(sys.argv[1])

def observed(number):
    target = Target(f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}", 25, source="list", asn=64500)
    ehlo = complete(b"250", b"250-mx%d.example.org\\r\\n250-STARTTLS\\r\\n250 8BITMIME\\r\\n" % number)
    der = b"certificate %d" % (number % 100)
    leaf = Certificate("CN=mx", "CN=ca", ["mx"], None, None, "ed25519", hashlib.sha256(der).hexdigest())
    tls = TlsFacts("TLSv1.3", "C", (der,), (leaf.sha256,), leaf)
    return SmtpItem.from_observation(Observation(
        target, 1e9 + number, 0.25, Outcome.OK, greeting=complete(b"220", b"220 mx%d \\xff\\x00'\\r\\n" % number),
        ehlo=ehlo, extensions=extensions(ehlo.lines), starttls=StartTls.OK, tls=tls, tls_ehlo=ehlo), "2026-11")

class Numbers(scrapy.Spider):
    name = "numbers"
    survey = "2026-11"
    left = 0

    async def start(self):
        self.settled = asyncio.Event()
        self.crawler.signals.connect(self.settle, signals.item_scraped)
        self.crawler.stats.set_value("smtpsurvey/unrecorded/timeout/-/list", 7)
        for step in range(steps):
            self.left = rows
            self.settled.clear()
            for number in range(step * rows, step * rows + rows):
                yield observed(number)
            await self.settled.wait()
            print(step, flush=True)
            await asyncio.to_thread(sys.stdin.readline)

    def settle(self):
        self.left -= 1
        if not self.left:
            self.settled.set()

process = AsyncCrawlerProcess(settings | {
    "ITEM_PIPELINES": {"smtpsurvey.pipelines.store.StorePipeline": 900}, "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False, "LOG_LEVEL": "INFO", "CONCURRENT_ITEMS": 1000})
process.crawl(Numbers)
process.start()
"""


def crawl(folder: Path, urls: list[str], rows: int, *disturb: Callable[[], None]) -> str:
    """Let a crawl store ``rows`` observations before each disturbance and after the last; give its log."""
    folder.mkdir(exist_ok=True)
    settings = {"SMTPSURVEY_SHARDS": urls, "SMTPSURVEY_TABLES_PER_SHARD": TABLES, "JOBDIR": str(folder)}
    arguments = json.dumps([len(disturb) + 1, rows, settings])
    log = folder / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CRAWL, arguments],
            cwd=folder,
            env=os.environ | {"HOME": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            for step, disturbance in enumerate([*disturb, lambda: None]):
                assert process.stdout.readline() == f"{step}\n", log.read_text()[-4000:]
                disturbance()
                process.stdin.write("\n")
                process.stdin.flush()
            assert process.wait(WAIT) == 0
        finally:
            process.kill()
    return log.read_text()


class Servers(NamedTuple):
    """Two private servers."""

    first: MariaDb
    second: MariaDb

    def urls(self) -> list[str]:
        return [server.url() for server in self]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with contextlib.ExitStack() as stack:
        started = (stack.enter_context(running(tmp_path_factory.mktemp(name))) for name in ("first", "second"))
        yield Servers(*started)


def everything(urls: list[str]) -> dict[str, list[Any]]:
    """Give all rows of all tables, but for the times of the run and the databases' identity."""
    shards, found = Shards(urls, TABLES), {}
    for number, shard in enumerate(shards):
        with shard.begin() as connection:
            for table in shards.schema.metadata.sorted_tables:
                if table.name == "store":
                    continue
                rows = [dict(row) for row in connection.execute(select(table)).mappings()]
                if table is shards.schema.surveys:
                    rows = [(row["label"], row["finished"] is not None) for row in rows]
                found[f"{number}.{table.name}"] = sorted(map(str, rows))
    shards.dispose()
    return found


def warnings(log: str) -> list[str]:
    assert "Traceback" not in log, log[-4000:]
    assert " ERROR: " not in log, log[-4000:]
    assert PASSWORD not in log
    return [line.partition("WARNING: Store: ")[2] for line in log.splitlines() if " WARNING: " in line]


def place(urls: list[str], number: int) -> str:
    return Shards(urls)[number].name


@pytest.fixture
def urls(servers: Servers) -> list[str]:
    """Databases at the same places as those of :func:`undisturbed`, which rows are spread by."""
    return servers.urls()


def wait_for(log: Path, words: str, times: int = 1) -> None:
    """Return when a growing log has said something so many times."""
    with subprocess.Popen(["tail", "-n", "+1", "-f", log], stdout=subprocess.PIPE, text=True) as tail:
        for line in tail.stdout:
            times -= words in line
            if not times:
                break
        tail.terminate()


def kill_each(servers: Servers, times: int, log: Path) -> list[Callable[[], None]]:
    """Kill each server, and start it again a step later, by turns."""
    turns = [server for _ in range(times) for server in servers]

    def start(number: int, server: MariaDb) -> None:
        server.start()
        wait_for(log, "is back, and has its ", number)

    starts = [partial(start, number, server) for number, server in enumerate(turns, 1)]
    return [action for server, start in zip(turns, starts, strict=True) for action in (server.kill, start)]


def killed(servers: Servers, tmp_path: Path, rows: int, times: int) -> None:
    urls = servers.urls()
    actions = kill_each(servers, times, tmp_path / "killed" / "log")
    log = crawl(tmp_path / "killed", urls, rows, *actions)
    total = rows * (len(actions) + 1)
    shards = Shards(urls, TABLES)
    items = {item.ip: item for item in Reader(shards).items("2026-11")}
    assert len(items) == total
    seen = warnings(log)
    for shard in shards:
        gone = [line for line in seen if line.startswith(f"{shard.name}: ")]
        back = [line for line in seen if line.startswith(f"{shard.name} is back, and has its ")]
        assert (len(gone), len(back)) == (times, times), seen
    assert len(seen) == 4 * times
    with_killed = everything(urls)
    shards.dispose()
    for server, url in zip(servers, urls, strict=True):
        server.execute(f"drop database {url.rpartition('/')[2]}")
        server.execute(f"create database {url.rpartition('/')[2]}")
    assert warnings(crawl(tmp_path / "undisturbed", urls, total)) == []
    assert everything(urls) == with_killed
    assert list((tmp_path / "killed" / "spool").iterdir()) == []


def test_servers_killed_and_started_again_leave_the_rows_of_an_undisturbed_crawl(
    servers: Servers, tmp_path: Path
) -> None:
    killed(servers, tmp_path, rows=700, times=1)


@pytest.mark.soak
def test_servers_killed_five_times_each_leave_the_rows_of_an_undisturbed_crawl(
    servers: Servers, tmp_path: Path
) -> None:
    killed(servers, tmp_path, rows=2500, times=5)


def test_a_dead_shard_at_the_end_is_named_without_its_password_and_stored_at_the_next_start(
    servers: Servers, tmp_path: Path
) -> None:
    urls = servers.urls()
    log = crawl(tmp_path, urls, 200, servers.second.kill)
    name = place(urls, 1)
    gone, left = warnings(log)
    assert gone.startswith(f"{name}: ")
    assert left.startswith(f"spooled for databases that are away: {tmp_path / 'spool'}/127.0.0.1:")
    assert left.endswith(f"run `scrapy shards replay -s JOBDIR={tmp_path}`")
    servers.second.start()
    first, back = warnings(crawl(tmp_path, urls, 400))
    assert first.startswith(f"{name}: ")
    assert "rows of an earlier run are spooled" in first
    assert back.startswith(f"{name} is back, and has its ")
    shards = Shards(urls, TABLES)
    assert len(list(Reader(shards).items("2026-11"))) == 400
    shards.dispose()


class CrawlKilledError(Exception):
    """Ends a crawl by SIGKILL."""


def test_what_a_killed_crawl_had_spooled_is_stored_and_a_torn_record_is_dropped(
    servers: Servers, tmp_path: Path
) -> None:
    def kill() -> None:
        raise CrawlKilledError

    urls = servers.urls()
    with pytest.raises(CrawlKilledError):
        crawl(tmp_path, urls, 200, servers.second.kill, kill)
    (spool,) = (tmp_path / "spool").glob("*.spool")
    with spool.open("r+b") as file:
        whole = file.read()
        file.write(whole[: len(whole) // 3])  # a frame again, but not to its end
    servers.second.start()
    seen = warnings(crawl(tmp_path, urls, 1))
    assert len(seen) == 2, seen
    assert seen[1].startswith(f"{place(urls, 1)} is back")
    shards = Shards(urls, TABLES)
    assert len(list(Reader(shards).items("2026-11"))) == 400
    shards.dispose()


class Log(logging.Handler):
    """The messages of the store; :meth:`wait` for one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._news = Event()

    def emit(self, record: logging.LogRecord) -> None:
        assert record.exc_info is None
        self.lines.append(f"{record.levelname} {record.getMessage()}")
        self._news.set()

    def wait(self, words: str) -> None:
        while not any(words in line for line in self.lines):
            assert self._news.wait(WAIT), self.lines
            self._news.clear()


@pytest.fixture
def log() -> Iterator[Log]:
    log, logger = Log(), logging.getLogger("smtpsurvey.store")
    logger.addHandler(log)
    yield log
    logger.removeHandler(log)


@pytest.fixture
def shards(servers: Servers) -> Iterator[Shards]:
    """Make one shard, whose user obeys read_only."""
    shards = Shards([servers.first.url("plain")])
    yield shards
    shards.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def route(shards: Shards, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Delivery]:
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(delivery, "FULL_PAUSE", 0.05)
    writer = Writer(shards, slow=SLOW)
    shards.create()
    route = Delivery(shards, writer, 0, folder)
    route.open()
    yield route
    assert route.finish() is None


def items(first: int, last: int, outcome: str = "silent") -> list[SmtpItem]:
    return [
        SmtpItem("2026-11", f"127.0.{number}.1", 25, *[None] * 3, "2026-11-25T01:02:03.456Z", 0.5, outcome)
        for number in range(first, last)
    ]


def stored(shards: Shards) -> list[tuple[str, str]]:
    return [(item.ip, item.outcome) for item in Reader(shards).items("2026-11")]


def expected(*parts: list[SmtpItem]) -> list[tuple[str, str]]:
    last = {item.ip: item.outcome for part in parts for item in part}
    return sorted(last.items())


def test_a_server_that_is_read_only_gets_the_rows_when_it_is_not(
    servers: Servers, shards: Shards, route: Delivery, log: Log
) -> None:
    parts = [items(0, 9), items(5, 20, "closed"), items(15, 30, "reset")]
    route.store(parts[0])
    servers.first.execute("set global read_only = 1")
    try:
        route.store(parts[1])
        route.store(parts[2])
    finally:
        servers.first.execute("set global read_only = 0")
    log.wait("is back, and has its 30 spooled rows")
    assert sorted(stored(shards)) == expected(*parts)
    assert "read-only" in log.lines[0]
    assert len(log.lines) == 2


def test_a_server_that_does_not_answer_in_time_gets_the_rows_when_it_does(
    servers: Servers, shards: Shards, route: Delivery, log: Log
) -> None:
    parts = [items(0, 9), items(5, 20, "closed"), items(15, 30, "reset")]
    route.store(parts[0])
    database = shards[0].engine.url.database
    with servers.first.connect(database=database) as locking, locking.cursor() as cursor:
        cursor.execute("lock tables observations_00 write")
        route.store(parts[1])
        route.store(parts[2])
        cursor.execute("unlock tables")
    log.wait("is back, and has its 30 spooled rows")
    assert sorted(stored(shards)) == expected(*parts)
    assert "timed out" in log.lines[0]
    assert len(log.lines) == 2


def test_a_deadlock_is_tried_again_at_once(servers: Servers, shards: Shards, route: Delivery, log: Log) -> None:
    """One whose transaction is dropped in the middle, as a deadlock's victim is, writes all of it the second time."""
    trigger = """
        create trigger once before insert on observations_00 for each row
        begin
          if @tried is null and new.ip = '127.0.3.1' then set @tried = 1;
            signal sqlstate '40001' set mysql_errno = 1213, message_text = 'Deadlock found';
          end if;
        end"""
    with servers.first.connect(database=shards[0].engine.url.database) as connection, connection.cursor() as cursor:
        cursor.execute(trigger)
    route.store(items(0, 9))
    assert sorted(stored(shards)) == expected(items(0, 9))
    assert log.lines == []


def test_connections_that_the_server_has_closed_are_opened_again(
    servers: Servers, shards: Shards, route: Delivery, log: Log
) -> None:
    route.store(items(0, 9))
    servers.first.kill()
    servers.first.start()
    route.store(items(5, 20, "closed"))
    assert sorted(stored(shards)) == expected(items(0, 9), items(5, 20, "closed"))
    assert log.lines == []


def test_a_row_that_mariadb_refuses_is_set_apart_alone(shards: Shards, route: Delivery, folder: Path, log: Log) -> None:
    rows = items(0, 40)
    rows[7].outcome = "longer than any outcome there is"
    rows[20].duration = None
    rows[30].duration = float("nan")
    rows[35].reason = "x" * 17_000_000  # more than a packet
    route.store(rows)
    good = [item for number, item in enumerate(rows) if number not in {7, 20, 30, 35}]
    assert sorted(stored(shards)) == expected(good)
    with (folder / "refused.jsonl").open() as lines:
        refused = [json.loads(line) for line in lines]
    assert [line["ip"] for line in refused] == [f"127.0.{number}.1" for number in (7, 20, 30, 35)]
    assert "outcome" in refused[0]["reason"]
    assert "takes 17001" in refused[3]["reason"]
    assert len(log.lines) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Make a disk of 64 KiB for the spool."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a file system: run it as root")
    folder = tmp_path / "spool"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_pauses_the_crawl_until_the_shard_is_back(
    servers: Servers, small_disk: Path, tmp_path: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(60 * 1024))
    urls = servers.urls()
    log = tmp_path / "log"

    def start_when_paused() -> None:
        wait_for(log, "the survey waits")
        servers.second.start()

    started = Thread(target=start_when_paused)

    def cut() -> None:
        servers.second.kill()
        started.start()

    seen = warnings(crawl(tmp_path, urls, 600, cut))
    started.join()
    name = place(urls, 1)
    assert [line.partition(f"{name}")[0] for line in seen] == ["", "no room for ", "", "rows for "]
    assert seen[1].endswith("(No space left on device); the survey waits until there is, or the shard is back")
    assert seen[2].startswith(f"{name} is back")
    assert seen[3].endswith("are safe again; the survey goes on")
    shards = Shards(urls, TABLES)
    assert len(list(Reader(shards).items("2026-11"))) == 1200
    shards.dispose()


def test_a_full_disk_makes_a_batch_wait_until_there_is_room(
    servers: Servers, shards: Shards, small_disk: Path, route: Delivery, log: Log
) -> None:
    parts = [items(0, 9), items(5, 20, "closed"), items(15, 30, "reset")]
    route.store(parts[0])
    filler = small_disk / "filler"
    filler.write_bytes(bytes(64 * 1024))
    servers.first.kill()
    waiting = Thread(target=lambda: [route.store(part) for part in parts[1:]])
    waiting.start()
    log.wait("(No space left on device); the survey waits")
    assert waiting.is_alive()
    filler.unlink()
    log.wait("are safe again; the survey goes on")
    waiting.join()
    servers.first.start()
    log.wait("is back, and has its 30 spooled rows")
    assert sorted(stored(shards)) == expected(*parts)
    assert [line.split()[0] for line in log.lines] == ["WARNING"] * 4


def test_a_password_may_stand_in_a_file_of_the_users(servers: Servers, tmp_path: Path) -> None:
    plain = servers.first.url()
    url = make_url(plain)
    (tmp_path / ".my.cnf").write_text(f"[client]\nuser = {url.username}\npassword = {PASSWORD}\n")
    own = f"mysql+pymysql://{url.host}:{url.port}/{url.database}?read_default_file=~/.my.cnf"
    assert warnings(crawl(tmp_path, [own], 5)) == []
    shards = Shards([plain], TABLES)
    assert len(list(Reader(shards).items("2026-11"))) == 5
    shards.dispose()
