from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler
from sqlalchemy import select

from smtpsurvey.pipelines.store import StorePipeline, tallies
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.spool import replay_all
from smtpsurvey.store.verify import verify
from smtpsurvey.store.writer import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

# A crawl of its own process, since a reactor starts only once in each.
CRAWL = """
import asyncio, json, sys
import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.exceptions import CloseSpider
from smtpsurvey.items import SmtpItem
from smtpsurvey.kinds import DnsItem, Exchange, MxItem, ReceivedItem
from smtpsurvey.outcomes import DnsOutcome

survey, count, broken, stats, close, settings = json.loads(sys.argv[1])

class Numbers(scrapy.Spider):
    name = "numbers"
    left = count + 1

    async def start(self):
        self.settled = asyncio.Event()
        for signal in (signals.item_scraped, signals.item_error):
            self.crawler.signals.connect(self.settle, signal)
        self.crawler.signals.connect(self.break_off, signals.spider_idle)
        yield {"kind": "dns"}
        if settings.get("KINDS"):
            self.left += 300
            for number in range(100):
                name, exchange = f"d{number}.example", Exchange(10, f"mx{number}.example", [f"192.0.2.{number}"])
                yield MxItem("2026-11", "2026-11-25T01:02:03.456Z", name, DnsOutcome.OK, exchanges=[exchange])
                yield DnsItem("2026-11", "2026-11-25T01:02:03.456Z", name, "A", DnsOutcome.NXDOMAIN)
                yield ReceivedItem("2026-11", "2026-11-25T01:02:03.456Z", f"192.0.2.{number}", name, None, 1, None)
        for key, value in stats.items():
            self.crawler.stats.set_value(key, value)
        for number in range(count):
            ip = f"127.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
            duration = None if number in broken else 0.5
            yield SmtpItem("2026-11", ip, 25, None, None, "list", "2026-11-25T01:02:03.456Z", duration, "silent")

        await self.settled.wait()  # the engine sees that it is idle when start() ends, and else only after seconds

    def break_off(self):
        if close:
            raise CloseSpider(close)

    def settle(self, signal):
        self.crawler.stats.inc_value(NAMES[signal])
        self.left -= 1
        if not self.left:
            self.settled.set()

NAMES = {signals.item_scraped: "scraped", signals.item_error: "failed"}
if survey:
    Numbers.survey = survey
process = AsyncCrawlerProcess(settings | {
    "ITEM_PIPELINES": {"smtpsurvey.pipelines.store.StorePipeline": 900}, "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False, "LOG_LEVEL": "INFO"})
crawler = process.create_crawler(Numbers)
process.crawl(crawler)
process.start()
print(json.dumps(crawler.stats.get_stats(), default=str))
"""

STOP = """
import asyncio, sys
from types import SimpleNamespace
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)
from scrapy.settings import Settings
from scrapy.signalmanager import SignalManager
from twisted.internet import reactor
from smtpsurvey.items import SmtpItem
from smtpsurvey.pipelines.store import StorePipeline

async def store():
    settings = Settings({"SMTPSURVEY_SHARDS": sys.argv[1:], "SMTPSURVEY_TABLES_PER_SHARD": 2})
    spider, stats = SimpleNamespace(survey="2026-11"), SimpleNamespace(get_value=lambda _: None)
    crawler = SimpleNamespace(settings=settings, spider=spider, stats=stats, signals=SignalManager())
    pipeline = StorePipeline.from_crawler(crawler)
    pipeline.open_spider()
    item = SmtpItem("2026-11", "127.0.0.1", 25, None, None, "list", "2026-11-25T01:02:03.456Z", 0.5, "silent")
    assert await pipeline.process_item(item) is item
    reactor.stop()

task = loop.create_task(store())
reactor.run()
task.result()
"""


class Crawl:
    """One crawl that hands ``count`` observations to the pipeline: its log, and its stats."""

    def __init__(
        self,
        urls: list[str],
        survey: str | None = "2026-11",
        count: int = 0,
        *,
        broken: tuple[int, ...] = (),
        stats: dict[str, int] | None = None,
        close: str | None = None,
        cwd: Path | None = None,
        **more: str,
    ) -> None:
        settings = {"SMTPSURVEY_SHARDS": urls, "SMTPSURVEY_TABLES_PER_SHARD": 2, "SMTPSURVEY_CONTACT": "me@example.org"}
        settings |= more
        arguments = json.dumps([survey, count, broken, stats or {}, close, settings])
        command = [sys.executable, "-W", "error", "-c", CRAWL, arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, cwd=cwd)
        self.log = done.stderr
        self.stats: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Shards]:
    shards = Shards([f"sqlite:///{tmp_path / name}.sqlite3" for name in "ab"], 2)
    yield shards
    shards.dispose()


@pytest.fixture
def urls(shards: Shards) -> list[str]:
    return [str(shard.engine.url) for shard in shards]


def test_a_crawl_stores_each_observation_and_finishes_its_survey(shards: Shards, urls: list[str]) -> None:
    unrecorded = {
        "smtpsurvey/unrecorded/timeout/-/lists/a.txt": 7,
        "smtpsurvey/unrecorded/excluded/opt-out/lists/a.txt": 2,
        "smtpsurvey/unrecorded": 9,
    }
    crawl = Crawl(urls, count=1234, stats=unrecorded)
    reader = Reader(shards)
    (survey,) = reader.surveys()
    assert (survey.label, survey.observations) == ("2026-11", 1234)
    assert survey.started <= survey.finished
    assert survey.settings["SMTPSURVEY_CONTACT"] == "me@example.org"
    assert survey.settings["SMTPSURVEY_SHARDS"] == [shard.name for shard in shards]
    assert len({item.ip for item in reader.items("2026-11")}) == 1234
    assert crawl.stats["scraped"] == 1235
    assert sorted(map(str, reader.tallies("2026-11"))) == sorted(
        map(str, [Tally("lists/a.txt", "timeout", None, 7), Tally("lists/a.txt", "excluded", "opt-out", 2)])
    )
    assert "ERROR" not in crawl.log
    assert "WARNING" not in crawl.log


def test_items_of_every_kind_that_has_a_table_are_stored(shards: Shards, urls: list[str]) -> None:
    crawl = Crawl(urls, count=50, KINDS="all")
    assert (crawl.stats["finish_reason"], crawl.stats["scraped"]) == ("finished", 351)
    reader = Reader(shards)
    found = {
        kind: [each for some in reader.batches("2026-11", kind) for each in some] for kind in ("mx", "dns", "received")
    }
    assert {kind: len(items) for kind, items in found.items()} == {"mx": 100, "dns": 100, "received": 100}
    assert sorted(each.exchanges[0].addresses[0] for each in found["mx"]) == sorted(f"192.0.2.{n}" for n in range(100))
    assert verify(shards).problems == 0
    assert "ERROR" not in crawl.log
    assert "WARNING" not in crawl.log


@pytest.mark.parametrize("reason", ["shutdown", "closespider_itemcount"])
def test_a_survey_that_is_broken_off_is_not_finished_but_its_tallies_are_kept(
    shards: Shards, urls: list[str], reason: str
) -> None:
    stats = {"smtpsurvey/unrecorded/timeout/-/a": 7}
    crawl = Crawl(urls, count=300, stats=stats, close=reason)
    assert crawl.stats["finish_reason"] == reason
    reader = Reader(shards)
    assert [survey and survey.finished for survey in reader.find("2026-11")] == [None, None]
    assert reader.tallies("2026-11") == [Tally("a", "timeout", None, 7)]
    stored = len(list(reader.items("2026-11")))
    assert stored == 300
    Crawl(urls, count=1, stats=stats)
    assert all(survey and survey.finished for survey in reader.find("2026-11"))


def test_a_row_that_is_refused_is_set_apart_and_the_crawl_goes_on(
    shards: Shards, urls: list[str], tmp_path: Path
) -> None:
    crawl = Crawl(urls[:1], count=20, broken=(3,), cwd=tmp_path)
    assert (crawl.stats["finish_reason"], crawl.stats["scraped"]) == ("finished", 21)
    assert crawl.log.count("] ERROR: ") == 1
    assert f"Store: {shards[0].name} refuses 1 of the rows (127.0.0.4: NOT NULL" in crawl.log
    assert (tmp_path / "spool" / "refused.jsonl").read_bytes().count(b"\n") == 1
    with shards[0].begin() as connection:
        tables = shards.schema.observations
        assert sum(len(connection.execute(select(table.c.ip)).all()) for table in tables) == 19


def test_a_shard_that_is_away_does_not_stop_a_job_that_is_taken_up_again(
    shards: Shards, urls: list[str], tmp_path: Path
) -> None:
    job = str(tmp_path / "job")
    Crawl(urls, count=10, JOBDIR=job)
    database = Path(shards[1].engine.url.database)
    database.rename(f"{database}.away")
    database.mkdir()
    stats = {"smtpsurvey/unrecorded/timeout/-/a": 7}
    crawl = Crawl(urls, count=500, stats=stats, JOBDIR=job)
    assert crawl.stats["scraped"] == 501
    (spool,) = Path(job, "spool").glob("*.spool")
    assert crawl.log.count("] WARNING: ") == 2
    assert f"{spool} (" in crawl.log
    assert f"run `scrapy shards replay -s JOBDIR={job}`" in crawl.log
    assert "Traceback" not in crawl.log
    database.rmdir()
    Path(f"{database}.away").rename(database)
    rows = replay_all(shards, Path(job, "spool"))
    assert rows[shards[1].name] > 0
    reader = Reader(shards)
    assert len(list(reader.items("2026-11"))) == 500
    assert reader.tallies("2026-11") == [Tally("a", "timeout", None, 7)]
    for shard in shards:
        with shard.begin() as connection:
            assert connection.execute(select(shards.schema.surveys.c.finished)).scalar() is not None


def test_a_database_that_cannot_be_reached_stops_the_crawl_and_its_password_is_not_shown() -> None:
    crawl = Crawl(["mysql+pymysql://me:s3cret@127.0.0.1:1/survey"], count=5)
    assert "StoreError: 127.0.0.1:1/survey: Can't connect to MySQL server" in crawl.log
    assert "s3cret" not in crawl.log
    assert "scraped" not in crawl.stats


def test_a_spider_without_a_survey_opens_the_store_with_its_first_observation(
    shards: Shards, urls: list[str], tmp_path: Path
) -> None:
    Crawl(urls, survey=None)
    assert list(tmp_path.iterdir()) == []
    crawl = Crawl(urls, survey=None, count=3)
    assert crawl.stats["scraped"] == 4
    assert len(list(Reader(shards).items("2026-11"))) == 3
    assert Reader(shards).surveys() == []


def test_a_process_that_stops_without_closing_the_store_ends_all_the_same(shards: Shards, urls: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", STOP, *urls], check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert [item.ip for item in Reader(shards).items("2026-11")] == ["127.0.0.1"]
    assert Reader(shards).surveys()[0].finished is None


@pytest.mark.parametrize("value", ["", [], [" "]])
def test_an_empty_list_of_databases_switches_the_store_off(value: str | list[str]) -> None:
    crawler = get_crawler(settings_dict={"SMTPSURVEY_SHARDS": value})
    with pytest.raises(NotConfigured):
        StorePipeline.from_crawler(crawler)


def test_tallies_are_read_from_the_stats_whatever_the_source_is_called() -> None:
    stats = {
        "smtpsurvey/unrecorded/excluded/AS/a/b/c.txt": 1,
        "smtpsurvey/unrecorded/refused/-/": 2,
        "smtpsurvey/unrecorded/local_error/no route/-": 3,
        "item_scraped_count": 4,
        "start_time": None,
    }
    assert tallies(stats) == [
        Tally("a/b/c.txt", "excluded", "AS", 1),
        Tally("", "refused", None, 2),
        Tally("-", "local_error", "no route", 3),
    ]
