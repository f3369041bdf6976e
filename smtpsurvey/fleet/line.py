"""The line to one node: turn by turn it is told what to do and asked how it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from smtpsurvey.fleet.actions import Cancel, Collect, Discard, Start
from smtpsurvey.fleet.client import MissingError, NodeError
from smtpsurvey.fleet.collect import FETCHED
from smtpsurvey.fleet.jobs import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from smtpsurvey.fleet.actions import Action
    from smtpsurvey.fleet.client import NodeClient
    from smtpsurvey.fleet.jobs import Job, NodeReport
    from smtpsurvey.fleet.orders import Orders

TEST_EVERY = 600.0  # seconds between two self-tests


@attrs.define
class Turn:
    """What came of a turn.

    ``error`` says why there is no report, ``unfit`` why the node may not be given work, ``refused`` what else it did
    not do. ``failed`` are jobs that it did not take, or of which something is missing, and why.
    """

    report: NodeReport | None = None
    error: str | None = None
    unfit: str | None = None
    refused: str | None = None
    failed: list[tuple[Job, str]] = attrs.field(factory=list)
    fetched: list[Job] = attrs.field(factory=list)
    unfetched: list[Job] = attrs.field(factory=list)


class Line:
    """Speaks to a node about the jobs of one run; one turn at a time, each in any thread."""

    def __init__(self, client: NodeClient, run: str, orders: Orders, folder: Path, *, tested: bool) -> None:
        """Fetch into ``folder``; ``tested``: only a node that passes its self-test is fit."""
        self.client = client
        self._run = run
        self._orders = orders
        self._folder = folder
        self._test_at = 0.0 if tested else float("inf")
        self._unfit: str | None = None
        self._where = ""  # the node's folder of jobs

    @property
    def name(self) -> str:
        """The node's."""
        return self.client.node.name

    def turn(self, actions: Sequence[Action]) -> Turn:
        """Do what is to be done, then ask."""
        turn = Turn()
        try:
            for action in actions:
                self._do(action, turn)
        except NodeError as error:  # the plan will decide the rest again
            turn.refused = str(error).removeprefix(f"{self.name}: ")
        try:
            turn.report = self.client.report(self._run)
            self._where = turn.report.folder
            turn.unfit = self._fitness(turn.report)
        except NodeError as error:
            turn.error = str(error).removeprefix(f"{self.name}: ")
        settled = {*turn.fetched, *(job for job, _ in turn.failed)}
        turn.unfetched = [each.job for each in actions if isinstance(each, Collect) and each.job not in settled]
        return turn

    def _fitness(self, report: NodeReport) -> str | None:
        if not report.versions:
            return "the project is not deployed: run `scrapy fleet deploy`"
        if time.monotonic() >= self._test_at:
            test = self.client.self_test(self._orders.settings() | self.client.node.settings)
            self._unfit = None if test.passed else f"failed its self-test: {test.said}"
            self._test_at = time.monotonic() + TEST_EVERY
        return self._unfit

    def _do(self, action: Action, turn: Turn) -> None:
        name = action.job.name(self._run)
        match action:
            case Start():
                try:
                    self._start(action.job, name)
                except NodeError as error:
                    turn.failed.append((action.job, str(error)))
            case Cancel():
                self.client.cancel(name, kill=action.kill)
            case Discard():
                self.client.delete(name)
            case Collect():
                try:
                    self._fetch(name)
                except MissingError as error:
                    turn.failed.append((action.job, str(error)))
                else:
                    turn.fetched.append(action.job)

    def _fetch(self, name: str) -> None:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in FETCHED:
            self.client.get(name, file, folder / file)

    def _start(self, job: Job, name: str) -> None:
        settings, arguments = self._orders.order(job, self._where)
        self.client.begin(name)
        path = self._orders.upload(job)
        if path is not None:
            self.client.put(name, TARGETS, path)
        self.client.schedule(name, settings | self.client.node.settings, arguments)
