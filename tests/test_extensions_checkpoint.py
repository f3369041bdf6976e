"""The checkpoint and the manifest: files that are whole at any instant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scrapy import Spider, signals
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler

from smtpsurvey.errors import SurveyError
from smtpsurvey.extensions import checkpoint as checkpoint_module
from smtpsurvey.extensions import manifest as manifest_module
from smtpsurvey.extensions.checkpoint import CheckpointExtension, fingerprint, read_checkpoint
from smtpsurvey.extensions.manifest import ManifestExtension, read_manifest
from smtpsurvey.extensions.summary import SummaryExtension
from smtpsurvey.items import Observation, SmtpItem, Target
from smtpsurvey.outcomes import Outcome

if TYPE_CHECKING:
    from pathlib import Path

JOB = {"survey": "2026-11", "targets": "list.txt"}


class Call:
    """Takes the place of LoopingCall: calls at the start, as it does, and then never."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = lambda: function(*args)
        self.running = False

    def start(self, _: float) -> None:
        self.running = True
        self.call()

    def stop(self) -> None:
        self.running = False


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "LoopingCall", Call)
    monkeypatch.setattr(manifest_module, "LoopingCall", Call)


class Crawl:
    """A crawl with summary, checkpoint and manifest in a folder."""

    def __init__(self, folder: Path, *, with_summary: bool = True) -> None:
        self.crawler = get_crawler(Spider, {"JOBDIR": str(folder), "SMTPSURVEY_MANIFEST": str(folder / "run.json")})
        self.crawler.spider = self.crawler._create_spider("smtp")
        self.summary = SummaryExtension.from_crawler(self.crawler)
        self.checkpoint = CheckpointExtension.from_crawler(self.crawler)
        self.manifest = ManifestExtension.from_crawler(self.crawler)
        self.crawler.get_extension = self._find if with_summary else lambda _: None  # type: ignore[method-assign,assignment]  # no engine here

    def _find(self, kind: type[Any]) -> Any:
        return self.summary if kind is SummaryExtension else None

    def send(self, signal: object, position: int) -> None:
        seen = Observation(Target("127.0.0.1", position=position), 0, 0, Outcome.OK)
        item = SmtpItem.from_observation(seen, "2026-11")
        self.crawler.signals.send_catch_log(signal, item=item, response=None, spider=self.crawler.spider)

    def close(self) -> None:
        self.crawler.signals.send_catch_log(signals.spider_closed, spider=self.crawler.spider, reason="finished")


def test_a_target_is_done_when_its_item_is_stored_or_dropped(tmp_path: Path) -> None:
    first = Crawl(tmp_path)
    ledger = first.checkpoint.open(JOB)
    for position in range(4):
        ledger.take(position)
    first.crawler.stats.inc_value("smtpsurvey/unrecorded/timeout/-/list")
    first.send(signals.item_scraped, 1)
    first.send(signals.item_dropped, 2)
    first.crawler.signals.send_catch_log(signals.item_scraped, item={}, response=None, spider=first.crawler.spider)
    first.close()
    kept = read_checkpoint(tmp_path / "checkpoint.json")
    assert (kept.mark.high, kept.mark.open) == (4, [0, 3])
    second = Crawl(tmp_path)
    taken_up = second.checkpoint.open(JOB)
    assert [position for position in range(6) if not taken_up.is_done(position)] == [0, 3, 4, 5]
    assert +second.summary.counts().outcomes == {"ok": 1, "timeout": 1}
    assert list(tmp_path.glob("*.part")) == []


def test_a_crawl_without_a_summary_keeps_its_marks(tmp_path: Path) -> None:
    first = Crawl(tmp_path, with_summary=False)
    first.checkpoint.open(JOB).take(0)
    first.close()
    assert Crawl(tmp_path, with_summary=False).checkpoint.open(JOB).mark().open == [0]


def test_a_folder_of_another_survey_is_refused(tmp_path: Path) -> None:
    Crawl(tmp_path).checkpoint.open(JOB)
    with pytest.raises(
        SurveyError, match=r"belongs to another survey: its survey is 2026-11, not 2026-12; give another"
    ):
        Crawl(tmp_path).checkpoint.open({**JOB, "survey": "2026-12"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"job": 1}',
        b'{"job": {}, "mark": {"high": "x", "open": []}, "counts": {}, "stats": {}}',
        b'{"job": {}, "mark": {"high": 1, "open": []}, "counts": {"outcomes": 7}, "stats": {}}',
    ],
)
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.json").write_bytes(content)
    with pytest.raises(SurveyError, match=r"checkpoint\.json: cannot be read") as error:
        Crawl(tmp_path).checkpoint.open(JOB)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.json.part").mkdir()  # stands in the way, of root as well
    with pytest.raises(SurveyError, match=r"checkpoint\.json"):
        Crawl(tmp_path).checkpoint.open(JOB)


def test_a_crawl_that_never_began_writes_nothing(tmp_path: Path) -> None:
    crawl = Crawl(tmp_path)
    crawl.checkpoint.spider_closed()
    crawl.send(signals.item_scraped, 1)
    assert not (tmp_path / "checkpoint.json").exists()


def test_fingerprints_differ_by_content(tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_text("a")
    other.write_text("b")
    assert fingerprint(str(one)) != fingerprint(str(other))
    assert len(fingerprint(str(one))) == 32


def test_the_manifest_tells_the_run_from_start_to_end(tmp_path: Path) -> None:
    crawl = Crawl(tmp_path)
    crawl.crawler.signals.send_catch_log(signals.spider_opened, spider=crawl.crawler.spider)
    running = read_manifest(tmp_path / "run.json")
    assert (running.finished, running.reason, running.targets, running.in_flight) == (None, None, None, 0)
    crawl.send(signals.item_scraped, 1)
    crawl.close()
    ended = read_manifest(tmp_path / "run.json")
    assert (ended.reason, ended.started) == ("finished", running.started)
    assert ended.finished == ended.written
    assert ended.counts.outcomes == {"ok": 1}
    assert set(ended.versions) == {"python", "smtpsurvey", "scrapy", "twisted", "pyopenssl"}


def test_without_their_settings_they_are_off() -> None:
    for kind in (CheckpointExtension, ManifestExtension):
        with pytest.raises(NotConfigured):
            kind.from_crawler(get_crawler(Spider))


def test_a_crawl_that_never_opened_has_no_manifest(tmp_path: Path) -> None:
    crawl = Crawl(tmp_path, with_summary=False)
    crawl.manifest.spider_closed("failed")
    assert not (tmp_path / "run.json").exists()
