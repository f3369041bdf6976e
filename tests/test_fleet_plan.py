"""The dispatcher, told what nodes say: what it hands out, moves, ends and collects."""

from __future__ import annotations

import pytest

from smtpsurvey.fleet.actions import Cancel, Collect, Discard, Seen, Start, View
from smtpsurvey.fleet.jobs import Job, State, parse_job
from smtpsurvey.fleet.plan import MAX_FAILURES, Plan

GRACE = 100.0


def plan(shards: int = 4, **weights: float) -> Plan:
    return Plan(weights or {"a": 1.0, "b": 1.0}, shards, GRACE, 0.0)


def view(jobs: dict[Job, Seen] | None = None, *, slots: int = 2, busy: int | None = None, fit: bool = True) -> View:
    jobs = jobs or {}
    running = sum(seen.state in {State.PENDING, State.RUNNING} for seen in jobs.values())
    return View(slots, running if busy is None else busy, jobs, fit)


def job(shard: int, number: int = 1) -> Job:
    return Job(shard, number)


def run(*jobs: Job, done: int = 0) -> dict[Job, Seen]:
    return {each: Seen(State.RUNNING, done, 0.0) for each in jobs}


def seen(each: Job, state: State) -> dict[Job, Seen]:
    return {each: Seen(state)}


def test_a_node_gets_no_more_than_its_slots() -> None:
    dispatcher = plan(9, a=1.0)
    assert dispatcher.saw("a", view(), 0) == [Start("a", job(1)), Start("a", job(2))]
    assert dispatcher.saw("a", view(run(job(1), job(2))), 1) == []
    assert dispatcher.saw("a", view(run(job(1), job(2)), slots=3, busy=3), 1) == []
    assert dispatcher.running == dispatcher.holds("a") == 2


def test_few_shards_are_shared_among_the_nodes_by_weight() -> None:
    dispatcher = plan(4, a=3.0, b=1.0)
    dispatcher.saw("b", view(slots=0), 0)
    assert len(dispatcher.saw("a", view(slots=8), 0)) == 3
    assert len(dispatcher.saw("b", view(slots=8), 0)) == 1


def test_a_node_without_weight_and_one_that_is_unfit_get_nothing() -> None:
    dispatcher = plan(4, a=0.0, b=1.0)
    assert dispatcher.saw("a", view(), 0) == []
    assert dispatcher.saw("b", view(fit=False), 0) == []


def test_what_is_finished_is_collected_once_and_discarded_when_it_is_imported() -> None:
    dispatcher = plan(1, a=1.0)
    dispatcher.saw("a", view(), 0)
    assert dispatcher.saw("a", view(seen(job(1), State.FINISHED)), 1) == [Collect("a", job(1))]
    assert dispatcher.saw("a", view(seen(job(1), State.FINISHED)), 2) == []
    assert not dispatcher.complete
    assert dispatcher.imported(job(1), 3) == [Discard("a", job(1))]
    assert dispatcher.complete
    assert dispatcher.imported_shards == {1}


def test_what_could_not_be_fetched_is_asked_for_again() -> None:
    dispatcher = plan(1, a=1.0)
    dispatcher.saw("a", view(seen(job(1), State.FINISHED)), 1)
    dispatcher.uncollected(job(1))
    assert dispatcher.saw("a", view(seen(job(1), State.FINISHED)), 2) == [Collect("a", job(1))]


def test_shards_of_a_node_that_is_away_move_after_the_grace_time_and_not_before() -> None:
    dispatcher = plan(2)
    dispatcher.saw("b", view(slots=0), 0)
    assert dispatcher.saw("a", view(), 0) == [Start("a", job(1))]
    assert dispatcher.missed("a", GRACE) == []
    assert dispatcher.saw("b", view(slots=8), GRACE) == [Start("b", job(2))]
    dispatcher.missed("a", GRACE + 1)
    assert dispatcher.moves == 1
    assert dispatcher.holds("a") == 0
    assert dispatcher.saw("b", view(run(job(2)), slots=8), GRACE + 1) == [Start("b", job(1, 2))]
    dispatcher.missed("a", GRACE + 2)
    assert dispatcher.moves == 1


def moved() -> Plan:
    """A plan whose only shard went from node a, which was cut off, to node b."""
    dispatcher = plan(1)
    assert dispatcher.saw("a", view(), 0) == [Start("a", job(1))]
    dispatcher.missed("a", GRACE + 1)
    assert dispatcher.saw("b", view(), GRACE + 1) == [Start("b", job(1, 2))]
    return dispatcher


def test_of_two_jobs_at_one_shard_the_one_that_has_done_less_is_ended() -> None:
    dispatcher = moved()
    dispatcher.saw("b", view(run(job(1, 2), done=5)), GRACE + 2)
    assert dispatcher.saw("a", view(run(job(1), done=50)), GRACE + 3) == [Cancel("b", job(1, 2))]
    dispatcher = moved()
    dispatcher.saw("b", view(run(job(1, 2), done=60)), GRACE + 2)
    assert dispatcher.saw("a", view(run(job(1), done=50)), GRACE + 3) == [Cancel("a", job(1))]
    assert dispatcher.saw("a", view(run(job(1), done=50)), GRACE + 4) == []
    assert dispatcher.saw("a", view(seen(job(1), State.STOPPED)), GRACE + 5) == [Discard("a", job(1))]


def test_a_job_that_does_not_end_when_it_is_told_to_is_killed() -> None:
    dispatcher = moved()
    dispatcher.saw("b", view(run(job(1, 2), done=60)), GRACE + 2)
    assert dispatcher.saw("a", view(run(job(1))), GRACE + 3) == [Cancel("a", job(1))]
    assert dispatcher.saw("a", view(run(job(1))), 2 * GRACE + 4) == [Cancel("a", job(1), kill=True)]


def test_a_node_that_comes_back_before_its_shard_found_another_keeps_it() -> None:
    dispatcher = plan(1)
    dispatcher.saw("a", view(), 0)
    dispatcher.missed("a", GRACE + 1)
    assert dispatcher.saw("a", view(run(job(1))), GRACE + 2) == []
    assert dispatcher.saw("b", view(), GRACE + 3) == []


def test_a_shard_that_turns_up_twice_is_collected_once() -> None:
    dispatcher = moved()
    assert dispatcher.saw("b", view(seen(job(1, 2), State.FINISHED)), GRACE + 2) == [Collect("b", job(1, 2))]
    assert dispatcher.saw("a", view(seen(job(1), State.FINISHED)), GRACE + 2) == []
    assert dispatcher.imported(job(1, 2), GRACE + 3) == [Discard("b", job(1, 2)), Cancel("a", job(1))]
    assert dispatcher.saw("a", view(seen(job(1), State.FINISHED)), GRACE + 4) == [Discard("a", job(1))]
    assert dispatcher.twice == 1


def test_the_other_job_of_an_imported_shard_is_ended() -> None:
    dispatcher = moved()
    dispatcher.saw("a", view(seen(job(1), State.FINISHED)), GRACE + 2)
    assert dispatcher.imported(job(1), GRACE + 3) == [Discard("a", job(1)), Cancel("b", job(1, 2))]
    assert dispatcher.saw("b", view(run(job(1, 2))), GRACE + 4) == []  # it was told to end a second ago


def test_a_failed_job_goes_to_another_node_and_its_shard_is_given_up_in_the_end() -> None:
    dispatcher = plan(1)
    dispatcher.saw("b", view(slots=0), 0)
    dispatcher.saw("a", view(), 0)
    failed = dispatcher.saw("a", view(seen(job(1), State.FAILED)), 1)
    assert failed == [Discard("a", job(1), failed=True)]  # and no second try here, while there is another
    assert dispatcher.saw("b", view(), 2) == [Start("b", job(1, 2))]
    dispatcher.saw("b", view(seen(job(1, 2), State.FAILED), slots=0), 3)
    assert dispatcher.saw("a", view(), 4) == [Start("a", job(1, 3))]  # it has failed everywhere
    assert MAX_FAILURES == 3
    assert dispatcher.failed(job(1, 3), "a") == [Discard("a", job(1, 3), failed=True)]
    assert dispatcher.given_up == {1}
    assert dispatcher.complete


def test_jobs_that_a_node_took_with_it_are_no_failures() -> None:
    dispatcher = plan(1, a=1.0)
    number = 1
    for now in range(0, 50, 10):
        assert dispatcher.saw("a", view(), now) == [Start("a", job(1, number))]
        dispatcher.missed("a", now + 1)
        discard = dispatcher.saw("a", view(seen(job(1, number), State.FAILED), slots=0), now + 2)
        assert discard == [Discard("a", job(1, number))]
        number += 1
    assert dispatcher.given_up == set()


def test_a_job_that_its_node_does_not_know_is_handed_out_again() -> None:
    dispatcher = plan(1, a=1.0)
    dispatcher.saw("a", view(), 0)
    assert dispatcher.saw("a", view(), 1) == [Start("a", job(1, 2))]


def test_the_jobs_of_a_node_that_stays_unfit_are_ended_and_move() -> None:
    dispatcher = plan(1)
    dispatcher.saw("a", view(), 0)
    assert dispatcher.saw("a", view(run(job(1)), fit=False), GRACE) == []
    assert dispatcher.saw("a", view(run(job(1)), fit=False), GRACE + 1) == [Cancel("a", job(1))]
    assert dispatcher.saw("b", view(), GRACE + 2) == [Start("b", job(1, 2))]


def test_a_job_without_a_sign_of_life_is_killed() -> None:
    dispatcher = plan(1, a=1.0)
    dispatcher.saw("a", view(), 0)
    hanging = {job(1): Seen(State.RUNNING, 7, GRACE + 1)}
    assert dispatcher.saw("a", view(hanging), GRACE + 2) == [Cancel("a", job(1), kill=True)]


def test_a_controller_goes_on_where_another_was() -> None:
    dispatcher = plan(4)
    for number, state, node in ((1, "imported", "a"), (2, "started", "a"), (3, "failed", "b"), (4, "started", "gone")):
        dispatcher.restore(job(number), node, state)
    assert dispatcher.imported_shards == {1}
    dispatcher.saw("b", view(slots=0), 0)
    assert dispatcher.saw("a", view(run(job(2)), slots=9), 0) == [Start("a", job(3, 2))]  # half of what waits
    assert dispatcher.saw("b", view(slots=9), 0) == [Start("b", job(4, 2))]


def test_an_import_that_was_recorded_later_takes_the_other_jobs_away() -> None:
    dispatcher = plan(1)
    dispatcher.restore(job(1), "a", "started")
    dispatcher.restore(job(1, 2), "b", "imported")
    assert dispatcher.complete
    assert dispatcher.saw("a", view(run(job(1))), 0) == [Cancel("a", job(1))]


def test_jobs_are_found_that_no_record_knows() -> None:
    dispatcher = plan(2, a=1.0)
    assert dispatcher.saw("a", view(run(job(2, 5))), 0) == [Start("a", job(1))]
    assert dispatcher.saw("a", view(run(job(9))), 0)[0] == Cancel("a", job(9))  # no shard of ours


@pytest.mark.parametrize("name", ["0123456789ab-3-2", "0123456789ab-100000-999999"])
def test_names_of_jobs_are_read_back(name: str) -> None:
    found = parse_job(name, "0123456789ab")
    assert found is not None
    assert found.name("0123456789ab") == name
    assert parse_job(name, "ba9876543210") is None


@pytest.mark.parametrize("name", ["", "x", "0123456789ab-0-1", "0123456789ab-1", "0123456789ab-1-1/..", "../x-1-1"])
def test_other_names_are_no_jobs(name: str) -> None:
    assert parse_job(name, "0123456789ab") is None
