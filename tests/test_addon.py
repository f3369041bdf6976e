"""The whole difference that the add-on makes to Scrapy's settings, and that the user wins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.settings import SETTINGS_PRIORITIES, Settings
from servers.local import smtp_server

from smtpsurvey.addon import SmtpSurveyAddon
from smtpsurvey.pipelines.store import StorePipeline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ADDON = SETTINGS_PRIORITIES["addon"]
LISTENERS = {
    "TELNETCONSOLE_ENABLED": "scrapy.extensions.telnet.TelnetConsole",
    "REMOTE_CONTROL_ENABLED": "scrapy.extensions.remote_control.RemoteControl",
}
STORE = "smtpsurvey.pipelines.store.StorePipeline"
SCALARS = {
    "ITEM_PROCESSOR": "smtpsurvey.processor.SurveyItemProcessor",
    "LOG_FORMATTER": "smtpsurvey.logformatter.QuietLogFormatter",
    "ROBOTSTXT_OBEY": False,
    "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False,
}
ADDED: Mapping[str, Mapping[str, Any]] = {
    "ITEM_PIPELINES": {
        "smtpsurvey.pipelines.as_filter.AsFilterPipeline": 100,
        "smtpsurvey.pipelines.route_check.RouteCheckPipeline": 150,
        "smtpsurvey.pipelines.rate_limit.RateLimitPipeline": 200,
        "smtpsurvey.pipelines.classify.ClassifyPipeline": 300,
        STORE: 900,
    },
    "EXTENSIONS": {
        "smtpsurvey.extensions.progress.ProgressExtension": 100,
        "smtpsurvey.extensions.summary.SummaryExtension": 110,
        "smtpsurvey.extensions.manifest.ManifestExtension": 120,
        "smtpsurvey.extensions.checkpoint.CheckpointExtension": 130,
    },
    "DOWNLOAD_HANDLERS": {"smtp": "smtpsurvey.probe.handler.SmtpDownloadHandler"},
    "FEED_EXPORTERS": dict.fromkeys(("jsonlines", "jsonl", "jl"), "smtpsurvey.exporters.FastJsonLinesItemExporter"),
}
OURS = {
    "SMTPSURVEY_HELO": None,
    "SMTPSURVEY_CONTACT": None,
    "SMTPSURVEY_RATE": 500,
    "SMTPSURVEY_PREFIX_RATE": 2,
    "SMTPSURVEY_AS_RATE": 50,
    "SMTPSURVEY_CONCURRENCY": 10_000,
    "SMTPSURVEY_TIMEOUTS": {"connect": 8, "greeting": 35, "reply": 15, "tls": 15, "total": 90},
    "SMTPSURVEY_LIMITS": {"line": 4096, "lines": 256, "bytes": 65536},
    "SMTPSURVEY_ALLOW": [],
    "SMTPSURVEY_OPTOUT": None,
    "SMTPSURVEY_AS_MAP": None,
    "SMTPSURVEY_SHARDS": ["sqlite:///survey.sqlite3"],
    "SMTPSURVEY_TABLES_PER_SHARD": 1,
    "SMTPSURVEY_FINGERPRINTS": ["builtin"],
    "SMTPSURVEY_DNS_SERVERS": [],
    "SMTPSURVEY_DNS_RATE": 500,
    "SMTPSURVEY_DNS_CONCURRENCY": 250,
    "SMTPSURVEY_DNS_TIMEOUTS": [2, 3, 4, 5, 5, 5],
    "SMTPSURVEY_DNS_PROBE": ". NS",
    "SMTPSURVEY_EXCHANGE_CACHE": 1 << 26,
    "SMTPSURVEY_MANIFEST": None,
    "SMTPSURVEY_FLEET": "fleet.toml",
    "SMTPSURVEY_FLEET_GRACE": 300,
    "SMTPSURVEY_REACH": [],
    "SMTPSURVEY_FETCH_PAUSES": [5, 30, 120, 600],
    "SMTPSURVEY_PAGE_SIZE": 262_144,
    "SMTPSURVEY_STATUS_ADDRESS": "127.0.0.1",
    "SMTPSURVEY_TRACE_RATE": 500,
    "SMTPSURVEY_ROUTE_CHECK": False,
    "SMTPSURVEY_ROUTE_AGE": 604_800,
    "SMTPSURVEY_CA_FILE": None,
}


def with_addon(given: Mapping[str, Any] | None = None, priority: str = "project") -> Settings:
    settings = Settings(given, priority)
    SmtpSurveyAddon().update_settings(settings)
    return settings


def plain(settings: Settings, name: str) -> Any:
    """Give a setting's value without the class that Scrapy wraps dicts in."""
    value = settings[name]
    return dict(value) if hasattr(value, "attributes") else value


def test_the_addon_changes_these_settings_and_no_others() -> None:
    before, after = Settings(), with_addon()
    changed = {name: plain(after, name) for name in after if name not in before or after[name] != before[name]}
    added = {name: plain(before, name) | dict(entries) for name, entries in ADDED.items()}

    base = {key: order for key, order in plain(before, "EXTENSIONS_BASE").items() if key not in LISTENERS.values()}
    expected = {**SCALARS, **added, **OURS, "EXTENSIONS_BASE": base}
    del expected["ROBOTSTXT_OBEY"]  # Scrapy's own default too; set, so that nothing below add-ons changes it
    assert changed == expected


@pytest.mark.parametrize("name", [*SCALARS, *ADDED, "EXTENSIONS_BASE"])
def test_what_the_addon_sets_has_the_priority_of_addons(name: str) -> None:
    assert with_addon().getpriority(name) == ADDON


@pytest.mark.parametrize("priority", ["project", "spider", "cmdline"])
@pytest.mark.parametrize(
    ("name", "mine"),
    [
        *((name, True) for name in ("ROBOTSTXT_OBEY", "TELNETCONSOLE_ENABLED", "REMOTE_CONTROL_ENABLED")),
        ("ITEM_PROCESSOR", "mine.Processor"),
        ("LOG_FORMATTER", "mine.Formatter"),
        *((name, "mine") for name in OURS),
    ],
)
def test_what_the_user_sets_stays(name: str, mine: object, priority: str) -> None:
    settings = with_addon({name: mine}, priority)
    assert settings[name] == mine
    assert settings.getpriority(name) == SETTINGS_PRIORITIES[priority]


@pytest.mark.parametrize("priority", ["project", "cmdline"])
@pytest.mark.parametrize("name", ADDED)
def test_entries_of_the_user_stay_beside_ours(name: str, priority: str) -> None:
    settings = with_addon({name: {"mine.Component": 150}}, priority)
    assert plain(settings, name) == {"mine.Component": 150, **ADDED[name]}
    assert settings.getpriority(name) == SETTINGS_PRIORITIES[priority]


@pytest.mark.parametrize("name", ADDED)
def test_a_json_string_of_the_command_line_keeps_its_entries(name: str) -> None:
    settings = with_addon({name: '{"mine.Component": 150}'}, "cmdline")
    assert settings.getdict(name) == {"mine.Component": 150, **ADDED[name]}


@pytest.mark.parametrize("mine", [None, 5], ids=["switched off", "in another order"])
@pytest.mark.parametrize(("name", "key"), [(name, key) for name, entries in ADDED.items() for key in entries])
def test_what_the_user_says_of_an_entry_of_ours_wins(name: str, key: str, mine: object) -> None:
    settings = with_addon({name: {key: mine}})
    assert plain(settings, name) == {**ADDED[name], key: mine}


@pytest.mark.parametrize("switch", LISTENERS)
def test_a_console_that_the_user_switches_on_keeps_its_extension(switch: str) -> None:
    kept = with_addon({switch: True})["EXTENSIONS_BASE"]
    assert [name for name, extension in LISTENERS.items() if extension in kept] == [switch]


def test_applying_the_addon_twice_changes_nothing_more() -> None:
    once, twice = with_addon(), with_addon()
    SmtpSurveyAddon().update_settings(twice)
    assert {name: plain(once, name) for name in once} == {name: plain(twice, name) for name in twice}


SETTINGS = """
BOT_NAME = "elsewhere"
SPIDER_MODULES = ["elsewhere.spiders", "smtpsurvey.spiders"]
COMMANDS_MODULE = "smtpsurvey.commands"
ADDONS = {"smtpsurvey.addon.SmtpSurveyAddon": 100}
ROBOTSTXT_OBEY = True
ITEM_PIPELINES = {"elsewhere.parts.Mark": 400}
FEED_EXPORTERS = {"mine": "elsewhere.parts.Mine", "jl": "elsewhere.parts.Mine"}
DOWNLOAD_HANDLERS = {"mine": "elsewhere.parts.Handler"}
SMTPSURVEY_SHARDS = []
SMTPSURVEY_ALLOW = ["127.0.0.0/8"]
"""
PARTS = """
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.exporters import BaseItemExporter
from scrapy.http import TextResponse
from smtpsurvey.items import SmtpItem

class Mark:
    def process_item(self, item):
        if isinstance(item, SmtpItem):
            item.tag = "marked"
        else:
            item["marked"] = True
        return item

class Mine(BaseItemExporter):
    def __init__(self, file, **kwargs):
        super().__init__(**kwargs)
        self.file = file

    def export_item(self, item):
        self.file.write(b"mine\\n")

class Handler(BaseDownloadHandler):
    async def download_request(self, request):
        return TextResponse(request.url, body=b"mine", request=request)
"""
SPIDER = """
from scrapy import Request, Spider

class Look(Spider):
    name = "look"

    async def start(self):
        for url in (self.url, "mine://host"):
            yield Request(url, dont_filter=True)

    def parse(self, response):
        seen = getattr(response, "observation", None)
        yield {"text": response.text, "outcome": seen and str(seen.outcome)}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a Scrapy project of somebody else's."""
    spiders = tmp_path / "elsewhere" / "spiders"
    spiders.mkdir(parents=True)
    for folder in (spiders.parent, spiders):
        (folder / "__init__.py").touch()
    (tmp_path / "scrapy.cfg").write_text("[settings]\ndefault = elsewhere.settings\n")
    (spiders.parent / "settings.py").write_text(SETTINGS)
    (spiders.parent / "parts.py").write_text(PARTS)
    (spiders / "look.py").write_text(SPIDER)
    return tmp_path


def crawl(project: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SCRAPY_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-m", "scrapy", "crawl", *arguments],
        check=False,
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_another_projects_spider_makes_smtp_requests_and_keeps_its_own_parts(project: Path) -> None:
    with smtp_server() as (port, sessions):
        crawl(project, "look", "-a", f"url=smtp://127.0.0.1:{port}", "-O", "out.json", "-O", "out.mine:mine")
    items = {item["outcome"]: item for item in json.loads((project / "out.json").read_text())}
    assert (
        items["ok"]["text"].splitlines()[0] == "< 220 mx.test.example ESMTP Exim 4.98 Tue, 24 Nov 2026 10:00:00 +0000"
    )
    assert items[None]["text"] == "mine"
    assert all(item["marked"] for item in items.values())
    assert (project / "out.mine").read_text() == "mine\n" * 2
    assert sessions.names == ["localhost"]  # one contact, whatever robots.txt would say


def test_a_survey_runs_in_another_project_with_its_pipelines_and_exporters(project: Path) -> None:
    with smtp_server() as (port, sessions):
        (project / "targets.txt").write_text(f"127.0.0.1,,,{port}\n")
        crawl(project, "smtp", "-a", "targets=targets.txt", "-O", "out.jsonl", "-O", "out.jl")
    (item,) = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert (item["outcome"], item["tag"], item["software"]["product"]) == ("ok", "marked", "Exim")
    assert (project / "out.jl").read_text() == "mine\n"  # the user's exporter for a format of ours
    assert sessions.names == ["localhost"]
    assert not (project / "survey.sqlite3").exists()


def test_a_pipeline_switched_off_by_its_class_is_off(project: Path) -> None:
    settings = project / "elsewhere" / "settings.py"
    settings.write_text(
        f"{SETTINGS}\nfrom {StorePipeline.__module__} import StorePipeline\n"
        'SMTPSURVEY_SHARDS = ["sqlite:///survey.sqlite3"]\nITEM_PIPELINES = {StorePipeline: None}\n'
    )
    with smtp_server() as (port, _):
        (project / "targets.txt").write_text(f"127.0.0.1,,,{port}\n")
        crawl(project, "smtp", "-a", "targets=targets.txt", "-O", "out.jsonl")
    assert json.loads((project / "out.jsonl").read_text())["outcome"] == "ok"
    assert not (project / "survey.sqlite3").exists()
