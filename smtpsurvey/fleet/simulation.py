"""The dispatcher on an imagined fleet, whose nodes die, come back, are cut off, differ in speed and make mistakes.

It shows what a fleet of some size would take, and that no shard is lost whatever happens. Time is imagined too.
"""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING

import attrs

from smtpsurvey.fleet.actions import Cancel, Collect, Discard, Seen, Start, View
from smtpsurvey.fleet.jobs import State
from smtpsurvey.fleet.plan import Plan

if TYPE_CHECKING:
    from smtpsurvey.fleet.actions import Action
    from smtpsurvey.fleet.jobs import Job

TOO_LONG = 100.0  # times the ideal duration


@attrs.frozen
class Scenario:
    """A fleet and its troubles. Rates are targets a second of one job, times seconds, shares from 0 to 1.

    ``outages`` is how often a node is away in the time that the work would take without trouble. In an outage either
    its jobs are killed (``deadly`` of them), or it is only cut off and works on. ``gone`` of the outages never end.
    """

    nodes: int = 100
    slots: int = 2
    shards: int = 1600
    targets: int = 100_000_000
    rate: float = 50.0
    spread: float = 0.5
    outages: float = 1.0
    outage: float = 1800.0
    deadly: float = 0.5
    gone: float = 0.2
    failing: float = 0.01
    corrupt: float = 0.01
    grace: float = 300.0
    poll: float = 10.0


@attrs.frozen
class Outcome:
    """What came of it: ``ideal`` is the duration if nothing had gone wrong and no node had ever been idle.

    ``contacts`` are targets probed, a target twice if two jobs probed it; ``most`` is how often one was at most.
    """

    duration: float
    ideal: float
    contacts: float
    most: int
    imported: dict[int, int]
    given_up: int
    moves: int
    twice: int
    actions: int
    targets: int

    @property
    def delay(self) -> float:
        """How much longer than ideal it took, as a share."""
        return self.duration / self.ideal - 1

    @property
    def repeated(self) -> float:
        """How many contacts were repeated, as a share of the targets."""
        return self.contacts / self.targets - 1


@attrs.define
class _FakeJob:
    begun: float
    end: float
    good: bool
    state: State = State.RUNNING
    stopped: float | None = None

    def done(self, now: float) -> float:
        until = min(now, self.end, now if self.stopped is None else self.stopped)
        return max(0.0, min(1.0, (until - self.begun) / (self.end - self.begun)))


@attrs.define
class _FakeNode:
    rate: float
    slots: int
    away: list[tuple[float, float, bool]]  # from, until, deadly; in order
    jobs: dict[Job, _FakeJob] = attrs.field(factory=dict)

    def pass_time(self, now: float) -> bool:
        """Let happen what has happened until now; says whether the node can be reached."""
        while self.away and self.away[0][1] <= now:
            start, _, deadly = self.away.pop(0)
            self._end_jobs(start, deadly=deadly)
        out = bool(self.away) and self.away[0][0] <= now
        self._end_jobs(self.away[0][0] if out else now, deadly=out and self.away[0][2])
        return not out

    def _end_jobs(self, now: float, *, deadly: bool) -> None:
        for job in self.jobs.values():
            if job.state is State.RUNNING:
                if job.end <= now:
                    job.state = State.FINISHED if job.good else State.FAILED
                elif deadly:
                    job.state, job.stopped = State.FAILED, now


class Simulation:
    """One course of events, the same for the same seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Draw the nodes and what will happen to them."""
        self._scenario = scenario
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._size = scenario.targets / scenario.shards
        rates = [scenario.rate * self._random.lognormvariate(0, scenario.spread) for _ in range(scenario.nodes)]
        self._ideal = scenario.targets / (scenario.slots * sum(rates))
        self._nodes = {f"n{i}": _FakeNode(rate, scenario.slots, self._outages()) for i, rate in enumerate(rates)}
        self._plan = Plan(dict.fromkeys(self._nodes, 1.0), scenario.shards, scenario.grace, 0.0)
        self._imported: dict[int, int] = {}
        self._probed: dict[int, list[float]] = {}
        self._actions = 0

    def run(self) -> Outcome:
        """Run to the end; raises ``AssertionError`` when there is none."""
        poll = self._scenario.poll
        turns = [(self._random.uniform(0, poll), name) for name in self._nodes]
        heapq.heapify(turns)
        now = 0.0
        while not self._plan.complete:
            now, name = heapq.heappop(turns)
            assert now < TOO_LONG * self._ideal + self._scenario.outage, "it does not end"  # noqa: S101 - what is shown
            self._turn(name, now)
            heapq.heappush(turns, (now + poll, name))
        for node in self._nodes.values():
            for job, fake in node.jobs.items():
                self._count(job, fake, now)
        sums = [sum(parts) for parts in self._probed.values()]
        return Outcome(
            now,
            self._ideal,
            self._size * sum(sums),
            max(len(parts) for parts in self._probed.values()),
            self._imported,
            len(self._plan.given_up),
            self._plan.moves,
            self._plan.twice,
            self._actions,
            self._scenario.targets,
        )

    def _turn(self, name: str, now: float) -> None:
        node = self._nodes[name]
        if not node.pass_time(now):
            self._act(self._plan.missed(name, now), now)
            return
        jobs = {
            job: Seen(fake.state, int(fake.done(now) * self._size), 0.0 if fake.state is State.RUNNING else None)
            for job, fake in node.jobs.items()
        }
        busy = sum(fake.state is State.RUNNING for fake in node.jobs.values())
        self._act(self._plan.saw(name, View(node.slots, busy, jobs), now), now)

    def _act(self, actions: list[Action], now: float) -> None:
        for action in actions:
            self._actions += 1
            node = self._nodes[action.node]
            reached = node.pass_time(now)
            match action:
                case Start():
                    seconds = self._size / (node.rate * self._random.uniform(0.8, 1.2))
                    good = self._random.random() >= self._scenario.failing
                    node.jobs[action.job] = _FakeJob(now, now + seconds, good)
                case Cancel() if reached and action.job in node.jobs:
                    fake = node.jobs[action.job]
                    fake.state, fake.stopped = State.STOPPED, now
                case Collect() if self._random.random() < self._scenario.corrupt:
                    self._act(self._plan.failed(action.job, action.node), now)
                case Collect():
                    self._imported[action.job.shard] = self._imported.get(action.job.shard, 0) + 1
                    self._act(self._plan.imported(action.job, now), now)
                case Discard() if reached:
                    fake = node.jobs.pop(action.job)
                    self._count(action.job, fake, now)

    def _count(self, job: Job, fake: _FakeJob, now: float) -> None:
        self._probed.setdefault(job.shard, []).append(fake.done(now))

    def _outages(self) -> list[tuple[float, float, bool]]:
        """Draw when a node is away."""
        scenario, draw, found = self._scenario, self._random, []
        at = 0.0
        while scenario.outages:
            at += draw.expovariate(scenario.outages / self._ideal)
            if at > TOO_LONG * self._ideal:
                break
            gone = draw.random() < scenario.gone
            until = float("inf") if gone else at + draw.expovariate(1 / scenario.outage)
            found.append((at, until, draw.random() < scenario.deadly))
            if gone:
                break
            at = until
        return found
