"""The feed from list to prober, read without threads, and the entries it makes."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from scrapy import Spider
from scrapy.utils.test import get_crawler
from twisted.internet.defer import Deferred, execute, maybeDeferred, succeed

from smtpsurvey.admission.identity import Identity, IdentityError
from smtpsurvey.dns.addresses import ResolveError
from smtpsurvey.items import Target
from smtpsurvey.probe import feed as feed_module
from smtpsurvey.probe.entries import TargetEntries, checked_name
from smtpsurvey.probe.feed import ListFeed
from smtpsurvey.probe.ledger import Ledger, Mark
from smtpsurvey.probe.prober import LOOKUPS
from smtpsurvey.targets.lines import TargetLines
from smtpsurvey.targets.source import TargetsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FakeHosts:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def addresses(self, name: str) -> Deferred[list[str]]:
        return execute(self._find, name)

    def _find(self, name: str) -> list[str]:
        self.asked.append(name)
        if name == "broken.example":
            raise RuntimeError("broken")
        if name.startswith("none"):
            raise ResolveError(f"no such name: {name}")
        return ["127.0.0.2", "127.0.0.3"]


class FakeProber:
    """Takes every target at once; of host names, only so many as a prober does at a time."""

    def __init__(self) -> None:
        self.taken: list[Target] = []
        self.finishes = 0

    def consume(self, entries: Iterator[Any]) -> Deferred[None]:
        return maybeDeferred(self._take, entries)

    def _take(self, entries: Iterator[Any]) -> None:
        for entry in entries:
            if isinstance(entry, Target):
                self.taken.append(entry)
            else:
                entry.addCallback(self.taken.extend)
                failures: list[Any] = []
                entry.addErrback(failures.append)
                if failures:
                    failures[0].raiseException()

    def finished(self) -> Deferred[None]:
        self.finishes += 1
        return succeed(None)


class Fed:
    def __init__(
        self,
        path: Path,
        *,
        ledger: Ledger | None = None,
        shard: tuple[int, int] | None = None,
        strict: bool = False,
    ) -> None:
        self.crawler = get_crawler(Spider)
        self.hosts, self.prober = FakeHosts(), FakeProber()
        stats = self.crawler.stats
        self.entries = TargetEntries(str(path), self.hosts, stats, ledger, shard)  # type: ignore[arg-type]  # only addresses() is used
        self.feed = ListFeed(str(path), partial(TargetLines, str(path), "list", 25), stats, strict=strict)

    def run(self, check: Any = lambda _: None) -> list[str]:
        asyncio.run(self.feed.run(self.prober, self.entries, lambda entry: check(checked_name(entry))))
        return [target.ip for target in self.prober.taken]


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "deferToThread", maybeDeferred)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "targets.txt"


def test_every_target_in_order_and_the_counts(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("127.0.0.1\n!!\nmx.example,,t\nnone.example\n127.0.0.9")
    fed = Fed(path)
    assert fed.run() == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.9"]
    assert fed.prober.finishes == 1
    assert fed.crawler.stats.get_stats() == {
        "smtpsurvey/targets/lines": 5,
        "smtpsurvey/targets/bad_lines": 1,
        "smtpsurvey/targets/unresolved": 1,
    }
    assert [record.message.partition(":")[2] for record in caplog.records] == [
        "2: " + caplog.records[0].message.split(":2: ")[1],
        "4: no such name: none.example",
    ]
    assert fed.feed.estimate() == 4


def test_a_list_of_many_blocks(path: Path) -> None:
    path.write_text("".join(f"127.0.{n // 250}.{n % 250 + 1}\n" for n in range(60_000)))
    assert len(Fed(path).run()) == 60_000


def test_strict_probes_what_came_before_and_then_fails(path: Path) -> None:
    path.write_text("127.0.0.1\n!!\n127.0.0.2\n")
    fed = Fed(path, strict=True)
    with pytest.raises(TargetsError, match=r"targets\.txt:2: .*\(strict=1\)"):
        fed.run()
    assert fed.prober.finishes == 1


def test_bad_lines_are_told_up_to_a_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed_module, "BAD_LINES_SHOWN", 3)
    path.write_text("127.0.0.1\n" + "!!\n" * 10)
    fed = Fed(path)
    fed.run()
    assert len(caplog.records) == 4
    assert caplog.records[3].message.endswith("further bad lines are only counted")
    assert fed.crawler.stats.get_value("smtpsurvey/targets/bad_lines") == 10


@pytest.mark.parametrize(
    ("content", "message"), [("", "no targets in it"), ("!!\n", r"no targets in it \(1 bad lines\)")]
)
def test_no_targets_is_an_error(path: Path, content: str, message: str) -> None:
    path.write_text(content)
    with pytest.raises(TargetsError, match=message):
        Fed(path).run()


def test_who_we_are_is_checked_for_all_first_targets_before_any_is_probed(path: Path) -> None:
    path.write_text("127.0.0.1\n" * 1000 + "192.0.2.1\n")
    fed = Fed(path)
    with pytest.raises(IdentityError):
        fed.run(Identity(None, None).check)
    assert fed.prober.taken == []


def test_who_we_are_is_checked_before_any_name_is_asked_for(path: Path) -> None:
    path.write_text("mx.example\n192.0.2.1\n")
    fed = Fed(path)
    with pytest.raises(IdentityError):
        fed.run(Identity(None, None).check)
    assert fed.hosts.asked == []


def test_no_more_names_are_asked_for_than_the_prober_takes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("".join(f"mx{n}.example\n" for n in range(LOOKUPS * 3)))
    fed = Fed(path)
    monkeypatch.setattr(fed.prober, "consume", lambda entries: maybeDeferred(next, entries, None))  # one of them
    fed.run(lambda _: None)
    assert len(fed.hosts.asked) <= LOOKUPS


def test_a_resolver_that_breaks_is_an_error_of_ours(path: Path) -> None:
    path.write_text("broken.example\n")
    with pytest.raises(RuntimeError, match="broken"):
        Fed(path).run()


def test_shards_are_everything_once_names_included(path: Path) -> None:
    path.write_text("127.0.1.0/26\nmx.example\n")
    parts = [Fed(path, shard=(index, 3)).run() for index in range(3)]
    assert sorted(chain.from_iterable(parts)) == sorted(Fed(path).run())


def test_what_is_done_is_passed_over_and_what_is_taken_stands_in_the_ledger(path: Path) -> None:
    path.write_text("127.0.0.1\n127.0.0.5\nmx.example\nnone.example\n127.0.0.9\n")
    ledger = Ledger(Mark(2, [1]))
    assert Fed(path, ledger=ledger).run() == ["127.0.0.5", "127.0.0.2", "127.0.0.3", "127.0.0.9"]
    assert ledger.mark() == Mark(5, [1, 2, 4])
    for position in (1, 2, 2, 4):
        ledger.done(position)
    assert ledger.mark() == Mark(5, [])


def test_targets_of_other_shards_are_done_in_the_ledger(path: Path) -> None:
    path.write_text("127.0.1.0/26\nmx.example\n")
    ledgers = [Ledger(), Ledger()]
    for index, ledger in enumerate(ledgers):
        for target in (fed := Fed(path, ledger=ledger, shard=(index, 2))).run() and fed.prober.taken:
            ledger.done(target.position)
        assert ledger.mark().open == []


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetsError, match="No such file"):
        Fed(tmp_path / "missing.txt")
