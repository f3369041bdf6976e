"""A hundred imagined nodes and 100 million targets, with all that may go wrong: it ends, and no shard is lost."""

from __future__ import annotations

import attrs
import pytest

from smtpsurvey.fleet.simulation import Outcome, Scenario, Simulation

SMALL = Scenario(nodes=20, shards=160, targets=20_000_000, poll=20.0)


def complete(outcome: Outcome, shards: int) -> bool:
    return outcome.imported == dict.fromkeys(range(1, shards + 1), 1)


@pytest.mark.parametrize("seed", range(2))
def test_a_hundred_nodes_that_die_are_cut_off_and_repeat_themselves_lose_no_shard(seed: int) -> None:
    scenario = Scenario()
    assert (scenario.nodes, scenario.targets) == (100, 100_000_000)
    outcome = Simulation(scenario, seed).run()
    assert complete(outcome, scenario.shards), outcome
    assert outcome.given_up == 0
    assert outcome.moves > 100  # nodes died with shards in their hands
    assert outcome.twice > 0  # and some came back with what others had done meanwhile
    assert outcome.repeated < 0.15, outcome
    assert outcome.delay < 2, outcome
    assert outcome.actions < 4 * scenario.shards, outcome  # start, collect, discard, and some more


@pytest.mark.parametrize("seed", range(10))
def test_no_shard_is_lost_whatever_happens(seed: int) -> None:
    hard = attrs.evolve(SMALL, outages=5.0, gone=0.05, outage=600.0, failing=0.05, corrupt=0.05)
    outcome = Simulation(hard, seed).run()
    assert len(outcome.imported) + outcome.given_up == hard.shards, outcome
    assert set(outcome.imported.values()) == {1}
    assert outcome.given_up <= 2  # those that failed three times by chance


def test_without_trouble_nothing_is_done_twice_and_little_time_is_lost() -> None:
    calm = attrs.evolve(SMALL, outages=0.0, failing=0.0, corrupt=0.0, spread=0.0)
    outcome = Simulation(calm, 1).run()
    assert complete(outcome, calm.shards)
    assert outcome.contacts == calm.targets
    assert (outcome.moves, outcome.twice, outcome.most, outcome.given_up) == (0, 0, 1, 0)
    assert outcome.delay < 0.3, outcome


def test_a_longer_grace_time_repeats_less() -> None:
    outages = attrs.evolve(SMALL, outages=5.0, gone=0.0, outage=200.0, deadly=0.0)
    short = Simulation(attrs.evolve(outages, grace=20.0), 3).run()
    long = Simulation(attrs.evolve(outages, grace=2000.0), 3).run()
    assert long.repeated < short.repeated
    assert long.moves < short.moves
