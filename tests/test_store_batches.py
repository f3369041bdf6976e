from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from smtpsurvey.items import SmtpItem
from smtpsurvey.store import StoreError
from smtpsurvey.store.batches import MOST, ROWS, SECONDS, Batches


class Disk:
    """What a batch is written to: each write waits until the test lets it end."""

    def __init__(self) -> None:
        self.writes: list[tuple[list[str], Deferred[None]]] = []

    def write(self, items: list[SmtpItem]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.writes.append(([item.ip for item in items], done))
        return done


class Answers:
    """How the items that were added fared, by address."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.stored: list[str] = []
        self.failed: dict[str, BaseException] = {}

    def add(self, *ips: str) -> None:
        for ip in ips:
            item = SmtpItem("s", ip, 25, None, None, None, "2026-11-25T01:02:03.456Z", 0.1, "ok")
            self._batches.add(item).addCallbacks(
                lambda _, ip=ip: self.stored.append(ip),
                lambda failure, ip=ip: self.failed.__setitem__(ip, failure.value),
            )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def batches(disk: Disk, clock: Clock) -> Batches:
    return Batches(disk.write, clock.callLater)


@pytest.fixture
def answers(batches: Batches) -> Answers:
    return Answers(batches)


def addresses(count: int) -> list[str]:
    return [f"127.0.{number // 256}.{number % 256}" for number in range(count)]


def test_a_full_batch_is_written_at_once_and_answered_when_it_is_committed(
    disk: Disk, clock: Clock, answers: Answers
) -> None:
    many = addresses(ROWS)
    answers.add(*many[:-1])
    assert not disk.writes
    answers.add(many[-1])
    assert [ips for ips, _ in disk.writes] == [many]
    assert not answers.stored
    disk.writes[0][1].callback(None)
    assert answers.stored == many
    assert not clock.getDelayedCalls()


def test_a_few_items_wait_for_others_only_so_long(disk: Disk, clock: Clock, answers: Answers) -> None:
    answers.add("127.0.0.1")
    clock.advance(SECONDS / 2)
    answers.add("127.0.0.2")
    assert not disk.writes
    clock.advance(SECONDS / 2)
    assert [ips for ips, _ in disk.writes] == [["127.0.0.1", "127.0.0.2"]]


def test_one_batch_is_written_at_a_time_and_the_rest_gathers(disk: Disk, clock: Clock, answers: Answers) -> None:
    many = addresses(ROWS + 2 * MOST + 7)
    answers.add(*many)
    clock.advance(10 * SECONDS)
    assert len(disk.writes) == 1
    for number in range(4):
        assert len(disk.writes) == number + 1
        disk.writes[number][1].callback(None)
    assert [len(ips) for ips, _ in disk.writes] == [ROWS, MOST, MOST, 7]
    assert answers.stored == many
    assert not clock.getDelayedCalls()


def test_items_that_came_during_a_write_still_get_their_time_to_gather(
    disk: Disk, clock: Clock, answers: Answers
) -> None:
    answers.add("127.0.0.1")
    clock.advance(SECONDS)
    answers.add("127.0.0.2")
    disk.writes[0][1].callback(None)
    assert len(disk.writes) == 1
    clock.advance(SECONDS)
    assert disk.writes[1][0] == ["127.0.0.2"]


def test_a_batch_that_fails_fails_its_items_and_no_others(
    disk: Disk, clock: Clock, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    for ip in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        answers.add(ip)
        clock.advance(SECONDS)
    disk.writes[0][1].errback(StoreError("db: disk full"))
    disk.writes[1][1].errback(StoreError("db: disk full"))
    answers.add("127.0.0.4")
    clock.advance(SECONDS)
    disk.writes[2][1].callback(None)
    assert answers.stored == ["127.0.0.4"]
    assert {ip: str(error) for ip, error in answers.failed.items()} == dict.fromkeys(
        ("127.0.0.1", "127.0.0.2", "127.0.0.3"), "db: disk full"
    )
    assert len(set(map(id, answers.failed.values()))) == 3
    assert not caplog.records  # the survey ends with such an error, and it is shown then


def test_a_mistake_of_our_own_fails_the_items_too_and_shows_its_traceback(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def write(_items: list[SmtpItem]) -> Deferred[None]:
        raise ZeroDivisionError("ours")

    answers = Answers(Batches(write, clock.callLater))
    answers.add("127.0.0.1")
    clock.advance(SECONDS)
    assert isinstance(answers.failed["127.0.0.1"], StoreError)
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


def test_flushing_nothing_is_done_at_once(batches: Batches) -> None:
    assert batches.flush().called


def test_flushing_writes_what_waits_and_fires_when_all_is_answered(
    batches: Batches, disk: Disk, clock: Clock, answers: Answers
) -> None:
    answers.add(*addresses(ROWS), "127.1.0.1")
    flushed = batches.flush()
    disk.writes[0][1].callback(None)
    assert not flushed.called
    assert disk.writes[1][0] == ["127.1.0.1"]
    disk.writes[1][1].errback(StoreError("db: gone"))
    assert flushed.called
    assert len(answers.stored) == ROWS
    assert set(answers.failed) == {"127.1.0.1"}
    assert not clock.getDelayedCalls()


def test_after_a_flush_items_gather_again(batches: Batches, disk: Disk, clock: Clock, answers: Answers) -> None:
    answers.add("127.0.0.1")
    batches.flush()
    disk.writes[0][1].callback(None)
    answers.add("127.0.0.2")
    assert len(disk.writes) == 1
    clock.advance(SECONDS)
    assert len(disk.writes) == 2


def test_an_item_whose_waiting_is_cancelled_is_written_all_the_same(disk: Disk, batches: Batches, clock: Clock) -> None:
    item = SmtpItem("s", "127.0.0.1", 25, None, None, None, "2026-11-25T01:02:03.456Z", 0.1, "ok")
    waiting = batches.add(item)
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    clock.advance(SECONDS)
    disk.writes[0][1].callback(None)
    assert disk.writes[0][0] == ["127.0.0.1"]
