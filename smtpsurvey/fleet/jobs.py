"""What controller and nodes say to each other about jobs: names, states, and the report of a node.

A job is one attempt at one shard of a survey. On the node it has a folder of its own, with the files named here.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

import msgspec

TARGETS = "targets.csv.gz"
ITEMS = "items.jl.gz"
MANIFEST = "manifest.json"
STATS = "stats.json"
FILES = (TARGETS, ITEMS, MANIFEST, STATS)
"""The files of a job; a node serves and takes no other."""

STARTED, IMPORTED, FAILED = "started", "imported", "failed"
"""What the store knows of a job."""

STALE = 15.0
"""Seconds after which a manifest, written every second, tells that its process is gone."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""What a job may be called, and so its folder."""
_JOB = re.compile(r"([0-9a-f]{12})-([1-9][0-9]{0,5})-([1-9][0-9]{0,5})")


class Job(NamedTuple):
    """One attempt (``number``, from 1) at one shard (from 1)."""

    shard: int
    number: int

    def name(self, run: str) -> str:
        """Name the job of a run, for scrapyd and as a folder."""
        return f"{run}-{self.shard}-{self.number}"


def parse_job(name: str, run: str) -> Job | None:
    """Read a job's name back; ``None`` when it is not one of this run."""
    match = _JOB.fullmatch(name)
    return Job(int(match[2]), int(match[3])) if match is not None and match[1] == run else None


class State(StrEnum):
    """Where a job is. What runs is known from scrapyd, or from a manifest that is being written."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    """It ended, and its manifest says that it came to its end."""
    STOPPED = "stopped"
    """It ended in good order before its end, because it was asked to."""
    FAILED = "failed"
    """It ended otherwise, or never began."""


class JobReport(msgspec.Struct, frozen=True):
    """A job as its node sees it.

    ``heartbeat`` is the age of the manifest in seconds, ``errors`` counts our own (``local_error``).
    """

    name: str
    state: State
    survey: str = ""
    started: str | None = None
    targets: int | None = None
    done: int = 0
    live: int = 0
    errors: int = 0
    heartbeat: float | None = None


class NodeReport(msgspec.Struct, frozen=True):
    """A node as it sees itself.

    ``slots`` is how many jobs run side by side, ``busy`` how many run or wait (anybody's), ``folder`` where those of
    jobs are, ``free`` the bytes left on its disk, ``versions`` the deployed versions of the project, the latest last.
    """

    node: str
    slots: int
    busy: int
    folder: str
    free: int
    versions: list[str]
    jobs: list[JobReport]


class SelfTest(msgspec.Struct, frozen=True):
    """Whether a node is fit for work (``scrapy capabilities``), and if not, why."""

    passed: bool
    said: str = ""
