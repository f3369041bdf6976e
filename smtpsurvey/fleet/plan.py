"""The dispatcher: which node does which shard, what is moved, what is collected. No I/O, no clock of its own.

It is told what each node says (:meth:`Plan.saw`), or that one cannot be reached (:meth:`Plan.missed`), and answers
with actions. Times are seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from math import ceil
from typing import TYPE_CHECKING

import attrs

from smtpsurvey.fleet.actions import Cancel, Collect, Discard, Start
from smtpsurvey.fleet.jobs import IMPORTED, STARTED, Job, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpsurvey.fleet.actions import Action, Seen, View

MAX_FAILURES = 3
"""Jobs of a shard that may fail (their node lives, they did not come to their end) before it is given up."""
RUNS = (State.PENDING, State.RUNNING)


@attrs.define
class _Attempt:
    node: str
    done: int = 0
    abandoned: bool = False  # its node has been away for longer than the grace time


@attrs.define
class _Node:
    weight: float
    good: float  # when it was last reached and fit
    fit: bool = False
    away: bool = False  # it could not be reached the last time


class Plan:
    """All shards of a survey, each on its way from waiting to imported.

    ``moves`` counts shards taken from a node that was given up, ``twice`` those that then came back from two.
    """

    def __init__(self, weights: Mapping[str, float], shards: int, grace: float, now: float) -> None:
        """Plan shards 1 to ``shards``; a node that is away for ``grace`` seconds loses its own."""
        self.imported_shards: set[int] = set()
        self.given_up: set[int] = set()
        self.moves = self.twice = 0
        self._grace = grace
        self._nodes = {name: _Node(weight, now) for name, weight in weights.items()}
        self._shards = shards
        self._waiting: dict[int, None] = dict.fromkeys(range(1, shards + 1))  # in order
        self._attempts: dict[Job, _Attempt] = {}
        self._by_node: defaultdict[str, set[Job]] = defaultdict(set)
        self._of_shard: defaultdict[int, set[Job]] = defaultdict(set)
        self._numbers: Counter[int] = Counter()
        self._failed_on: defaultdict[int, list[str]] = defaultdict(list)
        self._collecting: dict[Job, str] = {}
        self._cancelled: dict[Job, float] = {}

    def restore(self, job: Job, node: str, state: str) -> None:
        """Take up a job of an earlier controller: ``started``, ``imported`` or ``failed`` (which is forgiven)."""
        self._numbers[job.shard] = max(self._numbers[job.shard], job.number)
        if state == IMPORTED:
            self.imported_shards.add(job.shard)
            self._waiting.pop(job.shard, None)
            for other in self._of_shard.pop(job.shard, ()):
                self._drop(other)
        elif state == STARTED and node in self._nodes and job.shard not in self.imported_shards:
            self._add(job, node)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return len(self.imported_shards) + len(self.given_up) == self._shards

    @property
    def running(self) -> int:
        """How many jobs are under way, as far as is known."""
        return sum(not attempt.abandoned for attempt in self._attempts.values())

    def holds(self, node: str) -> int:
        """Count the shards that a node has and nobody else."""
        return sum(not self._attempts[job].abandoned for job in self._by_node[node])

    def saw(self, name: str, view: View, now: float) -> list[Action]:
        """Take in what a node says; gives what to do, on this node first."""
        node = self._nodes[name]
        node.fit = view.fit
        if view.fit:
            node.good = now
        actions: list[Action] = []
        for job, seen in view.jobs.items():
            actions += self._judge(name, job, seen, now)
        node.away = False
        for job in [job for job in self._by_node[name] if job not in view.jobs]:
            self._lose(job)
        if not view.fit:
            return actions + self._abandon(name, now, reachable=True)
        return actions + self._assign(name, view)

    def missed(self, name: str, now: float) -> list[Action]:
        """Take in that a node cannot be reached; after the grace time its shards are free for others."""
        node = self._nodes[name]
        node.fit, node.away = False, True
        return self._abandon(name, now, reachable=False)

    def imported(self, job: Job, now: float) -> list[Action]:
        """Take in that a job's items are in the store: its files may go, and so may other jobs of its shard."""
        node = self._collecting.pop(job)
        self.imported_shards.add(job.shard)
        self.given_up.discard(job.shard)
        self._waiting.pop(job.shard, None)
        actions: list[Action] = [Discard(node, job)]
        self._drop(job)
        for other in list(self._of_shard[job.shard]):
            actions += self._cancel(self._attempts[other].node, other, now)
            self._drop(other)
        return actions

    def failed(self, job: Job, node: str) -> list[Action]:
        """Take in that a job did not begin, or that what it left cannot be used."""
        self._collecting.pop(job, None)
        self._fail(job, node)
        return [Discard(node, job, failed=True)]

    def uncollected(self, job: Job) -> None:
        """Take in that a job's files could not be fetched now; they are asked for again."""
        self._collecting.pop(job, None)

    def _judge(self, name: str, job: Job, seen: Seen, now: float) -> list[Action]:
        """Say what to do about one job that a node shows."""
        if job in self._collecting:
            return []
        over = job.shard in self.imported_shards or not 1 <= job.shard <= self._shards
        if seen.state in RUNS:
            return (
                self._cancel(name, job, now) if over or job in self._cancelled else self._follow(name, job, seen, now)
            )
        if not over and seen.state is State.FINISHED:
            return self._collect(name, job)
        self.twice += seen.state is State.FINISHED
        # Jobs that a node took with it when it went are not the fault of their shards.
        failed = seen.state is State.FAILED and not (over or job in self._cancelled or self._nodes[name].away)
        if failed:
            self._fail(job, name)
        else:
            self._lose(job)
        self._cancelled.pop(job, None)
        return [Discard(name, job, failed=failed)]

    def _collect(self, name: str, job: Job) -> list[Action]:
        if any(other.shard == job.shard for other in self._collecting):
            return []  # it came from two nodes at the same time: one is enough
        if job not in self._attempts:
            self._add(job, name)
        self._collecting[job] = name
        return [Collect(name, job)]

    def _follow(self, name: str, job: Job, seen: Seen, now: float) -> list[Action]:
        """Note how far a running job is; of two at the same shard the one that has done less is ended."""
        if seen.heartbeat is not None and seen.heartbeat > self._grace:
            return [Cancel(name, job, kill=True)]  # it hangs, and will be seen to have failed
        if job not in self._attempts:
            self._add(job, name)
        attempt = self._attempts[job]
        attempt.done = seen.done
        if not attempt.abandoned:
            return []
        attempt.abandoned = False
        others = [other for other in self._of_shard[job.shard] if other != job]
        rivals = [other for other in others if not self._attempts[other].abandoned]
        if not rivals:
            self._waiting.pop(job.shard, None)
            return []
        less = min((job, *rivals), key=lambda each: (self._attempts[each].done, -each.number))
        node = self._attempts[less].node
        self._drop(less)
        return self._cancel(node, less, now)

    def _cancel(self, name: str, job: Job, now: float) -> list[Action]:
        """End a job: once in good order, and after the grace time anyhow."""
        since = self._cancelled.setdefault(job, now)
        if since == now:
            return [Cancel(name, job)]
        return [Cancel(name, job, kill=True)] if now - since > self._grace else []

    def _abandon(self, name: str, now: float, *, reachable: bool) -> list[Action]:
        """Free the shards of a node that is no good for longer than the grace time."""
        actions: list[Action] = []
        if now - self._nodes[name].good <= self._grace:
            return actions
        for job in list(self._by_node[name]):
            attempt = self._attempts[job]
            if attempt.abandoned or job in self._collecting:
                continue
            attempt.abandoned = True
            self.moves += 1
            self._await(job.shard)
            if reachable:
                self._drop(job)
                actions += self._cancel(name, job, now)
        return actions

    def _assign(self, name: str, view: View) -> list[Action]:
        """Fill the free slots of a node, or its share of them where little waits."""
        node, free = self._nodes[name], view.slots - view.busy
        if not node.weight or free <= 0 or not self._waiting:
            return []
        good = [each for each in self._nodes.values() if each.fit]
        share = ceil(len(self._waiting) * node.weight / sum(each.weight for each in good))
        chosen: list[int] = []
        for shard in self._waiting:
            if len(chosen) >= min(free, share):
                break
            if name not in self._failed_on[shard] or self._nobody_else(shard):
                chosen.append(shard)
        started: list[Action] = []
        for shard in chosen:
            del self._waiting[shard]
            job = Job(shard, self._numbers[shard] + 1)
            self._add(job, name)
            started.append(Start(name, job))
        return started

    def _nobody_else(self, shard: int) -> bool:
        """Say whether a shard has failed on every node that could take it."""
        failed = self._failed_on[shard]
        return all(name in failed for name, node in self._nodes.items() if node.fit and node.weight)

    def _add(self, job: Job, node: str) -> None:
        self._waiting.pop(job.shard, None)
        self._numbers[job.shard] = max(self._numbers[job.shard], job.number)
        self._attempts[job] = _Attempt(node)
        self._by_node[node].add(job)
        self._of_shard[job.shard].add(job)

    def _drop(self, job: Job) -> None:
        attempt = self._attempts.pop(job, None)
        if attempt is not None:
            self._by_node[attempt.node].discard(job)
            self._of_shard[job.shard].discard(job)

    def _lose(self, job: Job) -> None:
        """Give a shard back whose job its node does not know."""
        if job not in self._collecting:
            self._drop(job)
            self._await(job.shard)

    def _fail(self, job: Job, node: str) -> None:
        self._drop(job)
        self._failed_on[job.shard].append(node)
        self._give_up(job.shard)
        self._await(job.shard)

    def _give_up(self, shard: int) -> None:
        if len(self._failed_on[shard]) >= MAX_FAILURES and shard not in self.imported_shards:
            self.given_up.add(shard)
            self._waiting.pop(shard, None)

    def _await(self, shard: int) -> None:
        """Let a shard wait for a node, unless it is done or somebody has it."""
        over = shard in self.imported_shards or shard in self.given_up
        if not over and all(self._attempts[job].abandoned for job in self._of_shard[shard]):
            self._waiting[shard] = None
