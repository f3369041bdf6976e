"""Brings what a job has left on its node into the store: checked against its manifest, and once."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from smtpsurvey.errors import SurveyError
from smtpsurvey.extensions.manifest import read_manifest
from smtpsurvey.fleet import FleetError
from smtpsurvey.fleet.jobs import ITEMS, MANIFEST, STATS
from smtpsurvey.items import iso_time
from smtpsurvey.pipelines.store import tallies
from smtpsurvey.store.feeds import Feed
from smtpsurvey.store.importer import Importer
from smtpsurvey.store.kinds import PROBE
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from smtpsurvey.fleet.jobs import Job
    from smtpsurvey.fleet.records import Records, Run
    from smtpsurvey.store.shards import Shards
    from smtpsurvey.store.writer import Tally

FETCHED = (MANIFEST, STATS, ITEMS)
"""The files of a finished job that are fetched."""


class BadJobError(FleetError):
    """What a job left is not what its manifest says; the job counts as failed."""


class Collector:
    """Imports the jobs of one survey, one after the other."""

    def __init__(self, shards: Shards, records: Records, run: Run) -> None:
        """Import into these databases, which have been created."""
        self._shards = shards
        self._records = records
        self._run = run
        self._writer = Writer(shards)

    def take(self, job: Job, folder: Path) -> int:
        """Import the files of a job that lie in a folder; gives the number of its targets, 0 when its shard is there.

        Raises :class:`BadJobError`, and ``StoreError`` when a database does not write.
        """
        if self._records.has(self._run.survey, job.shard):
            return 0
        counted = _checked(folder, self._run.survey)
        importer = Importer(self._shards, _refused)
        importer.add(Feed(str(folder / ITEMS), self._run.survey, _refused_line))
        targets = importer.stored[PROBE] + sum(tally.count for tally in counted)
        self._records.finish(self._run.survey, job, targets, counted)
        return targets

    def write_tallies(self) -> None:
        """Write the sums of what the imported jobs counted without making an item, as a crawl does at its end."""
        self._writer.write_tallies(self._run.survey, self._records.tallies(self._run.survey))

    def finish(self) -> None:
        """Mark the survey as finished."""
        self.write_tallies()
        self._writer.end_survey(self._run.survey, iso_time(time.time()))


def _checked(folder: Path, survey: str) -> list[Tally]:
    """Count the rows and compare with the manifest: each target of each outcome is a row, or in a tally."""
    try:
        manifest = read_manifest(folder / MANIFEST)
        counted = tallies(msgspec.json.decode((folder / STATS).read_bytes(), type=dict[str, object]))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadJobError(f"{folder.name}: its manifest cannot be read ({error})") from None
    if manifest.survey != survey or manifest.reason != "finished":
        raise BadJobError(f"{folder.name}: is of survey {manifest.survey!r}, which ended with {manifest.reason!r}")
    found: Counter[str] = Counter()
    try:
        feed = Feed(str(folder / ITEMS), survey, _refused_line)
        for _, item in feed.items():  # noqa: PERF102 - no dict: pairs of line and item
            found[item.outcome] += 1
    except BadJobError:
        raise
    except SurveyError as error:
        raise BadJobError(str(error)) from None
    for tally in counted:
        found[tally.outcome] += tally.count
    if +found != +manifest.counts.outcomes:
        raise BadJobError(f"{folder.name}: {dict(found)} came, its manifest says {dict(manifest.counts.outcomes)}")
    return counted


def _refused_line(number: int, reason: str) -> None:
    raise BadJobError(f"{ITEMS}:{number}: {reason}")


def _refused(path: str, number: int, reason: str) -> None:
    raise BadJobError(f"{path}:{number}: {reason}")
