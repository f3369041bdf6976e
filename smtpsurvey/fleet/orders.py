"""What a job is told: settings and arguments, and the file with its part of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from smtpsurvey.fleet.jobs import ITEMS, MANIFEST, TARGETS
from smtpsurvey.fleet.split import shard_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scrapy.settings import BaseSettings

    from smtpsurvey.fleet.jobs import Job
    from smtpsurvey.fleet.records import Run

RATES = ("SMTPSURVEY_RATE", "SMTPSURVEY_PREFIX_RATE", "SMTPSURVEY_AS_RATE")
OURS = ("SMTPSURVEY_SHARDS", "SMTPSURVEY_TABLES_PER_SHARD", "SMTPSURVEY_FLEET", "SMTPSURVEY_FLEET_GRACE", "JOBDIR")
"""Settings that no job gets: they are the controller's, and the first holds passwords."""
_GZIP = "scrapy.extensions.postprocessing.GzipPlugin"


class Orders:
    """Makes the orders of one survey. ``slots`` is how many of its jobs may run side by side on all nodes."""

    def __init__(self, run: Run, given: Mapping[str, str], settings: BaseSettings, folder: Path) -> None:
        """``given`` are the settings of ``-s``; ``folder`` holds the shards of the list, if it was split."""
        self.slots = 1
        self._run = run
        self._given = {name: value for name, value in given.items() if name not in OURS}
        self._settings = settings
        self._folder = folder

    def upload(self, job: Job) -> Path | None:
        """Give the file of targets to send; ``None`` when the node fetches the list itself."""
        return None if is_url(self._run.arguments["targets"]) else shard_file(self._folder, job.shard)

    def settings(self) -> dict[str, str]:
        """Give what all jobs are told; each keeps to its part of the rates."""
        jobs = min(self.slots, self._run.shards)
        rates = {}
        for name in RATES:
            try:
                rates[name] = f"{float(self._settings[name]) / jobs:g}"
            except (TypeError, ValueError):
                rates[name] = str(self._settings[name])  # the job says what is wrong with it
        return self._given | rates | {"SMTPSURVEY_SHARDS": ""}

    def order(self, job: Job, folder: str) -> tuple[dict[str, str], dict[str, str]]:
        """Give settings and arguments of a job, on a node where the folders of jobs are in ``folder``."""
        mine = f"{folder}/{job.name(self._run.run)}"
        feed = {f"{mine}/{ITEMS}": {"format": "jsonlines", "postprocessing": [_GZIP], "overwrite": True}}
        settings = self.settings() | {
            "SMTPSURVEY_MANIFEST": f"{mine}/{MANIFEST}",
            "STATS_CLASS": "smtpsurvey.fleet.stats.FiledStatsCollector",
            "FEEDS": msgspec.json.encode(feed).decode(),
        }
        arguments = {name: value for name, value in self._run.arguments.items() if name != DIGEST}
        arguments |= {"survey": self._run.survey}
        if not is_url(arguments["targets"]):
            return settings, arguments | {"targets": f"{mine}/{TARGETS}"}
        return settings, arguments | {"shard": f"{job.shard}/{self._run.shards}"}


DIGEST = "digest of the list"
"""Among the arguments of a run: tells that a list has changed."""


def is_url(targets: str) -> bool:
    """Say whether the list is one that nodes fetch."""
    return targets.startswith(("http://", "https://"))
