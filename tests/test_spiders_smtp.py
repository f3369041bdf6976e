"""The spider's arguments; whole crawls are in test_commands_crawl.py."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from doubles.crawl import LONG, REPOSITORY
from doubles.mailer import Mailer

from smtpsurvey.errors import SurveyError
from smtpsurvey.spiders.smtp import ListOptions, SmtpSpider

if TYPE_CHECKING:
    from pathlib import Path

PAUSING = """
import sys
from scrapy import signals
from scrapy.crawler import CrawlerProcess
from scrapy.utils.project import get_project_settings
from smtpsurvey.spiders.smtp import SmtpSpider
from twisted.internet.task import deferLater

settings = get_project_settings()
settings.setdict({"SMTPSURVEY_SHARDS": [], "SMTPSURVEY_ALLOW": ["127.0.0.0/8"], "LOG_LEVEL": "WARNING",
                  "SMTPSURVEY_RATE": 0, "SMTPSURVEY_PREFIX_RATE": 0, "SMTPSURVEY_AS_RATE": 0}, "cmdline")

class Pausing(SmtpSpider):
    custom_settings = {"SMTPSURVEY_CONCURRENCY": 3}

process = CrawlerProcess(settings)
crawler = process.create_crawler(Pausing)
log, quiet = [], []

def scraped(item):
    log.append(item.ip)
    if len(log) == 5:
        from twisted.internet import reactor
        crawler.engine.pause()
        reactor.callLater(1.0, unpause)

def unpause():
    quiet.append(len(log))
    quiet.append(crawler.spider.in_flight)
    crawler.engine.unpause()

crawler.signals.connect(scraped, signals.item_scraped)
process.crawl(crawler, targets=sys.argv[1], port=sys.argv[2])
process.start()
print(quiet[0] <= 8, quiet[1], len(set(log)), crawler.stats.get_value("finish_reason"))
"""


def options(**arguments: Any) -> ListOptions:
    return SmtpSpider(**arguments)._options()


def test_arguments_may_be_text_or_numbers() -> None:
    assert options(targets="a/list.txt", port=2525, strict=1) == ListOptions("a/list.txt", "list.txt", 2525, True, None)  # noqa: FBT003 - a record
    assert options(targets="-", port="587", source="us", shard="2/8") == ListOptions("-", "us", 587, False, (1, 8))  # noqa: FBT003 - a record
    assert options(targets="-").source == "stdin"
    assert options(domains="a/d.txt") == ListOptions("a/d.txt", "d.txt", 25, False, None, True)  # noqa: FBT003 - a record


def test_the_label_of_the_survey_is_the_month() -> None:
    assert SmtpSpider(targets="-").survey in {time.strftime("%Y-%m", time.gmtime(time.time() + d)) for d in (-60, 0)}
    assert SmtpSpider(targets="-", survey="round 7").survey == "round 7"


def test_what_scrapyd_passes_beside_them_is_taken() -> None:
    assert SmtpSpider(targets="-", _job="7")._job == "7"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no targets"),
        ({"targets": "-", "domains": "-"}, "both targets and domains"),
        ({"targets": "-", "port": "65536"}, "port='65536'"),
        ({"targets": "-", "port": "-1"}, "port='-1'"),
        ({"targets": "-", "port": ""}, "port=''"),
        ({"targets": "-", "port": "25.0"}, "port='25.0'"),
        ({"targets": "-", "port": "9" * 5000}, "is no port"),
        ({"targets": "-", "strict": "2"}, "strict='2'"),
        ({"targets": "-", "shard": "0/2"}, "shard='0/2'"),
        ({"targets": "-", "shard": ""}, "shard=''"),
    ],
)
def test_arguments_that_cannot_be_are_one_line(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(SurveyError) as error:
        options(**arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_arguments_about_tls_that_cannot_be_end_the_survey_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "targets.txt").write_text("127.78.21.1\n")
    argv = [sys.executable, "-m", "scrapy", "crawl", "smtp", "-a", f"targets={tmp_path / 'targets.txt'}"]
    argv += [
        "-a",
        "sni=both",
        "-s",
        "SMTPSURVEY_SHARDS=",
        "-s",
        "SMTPSURVEY_ALLOW=127.0.0.0/8",
        "-s",
        f"JOBDIR={tmp_path / 'job'}",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LONG, check=False, cwd=REPOSITORY)
    assert done.returncode == 1
    assert "sni=both needs STARTTLS, and a second connection to each server: allow it with connections=2" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pause_of_the_engine_begins_nothing_and_unpause_goes_on(tmp_path: Path) -> None:
    targets = tmp_path / "targets.txt"
    targets.write_text("127.78.20.0/27\n")
    with Mailer() as mailer:
        done = subprocess.run(
            [sys.executable, "-c", PAUSING, str(targets), str(mailer.port)],
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
            cwd=REPOSITORY,
        )
    assert done.stdout == "True 0 32 finished\n", done.stderr
