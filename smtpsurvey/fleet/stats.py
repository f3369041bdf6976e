"""Leaves a job's stats beside its manifest: the counts of targets that became no item, by source and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from scrapy.statscollectors import MemoryStatsCollector

from smtpsurvey.fleet.jobs import STATS


class FiledStatsCollector(MemoryStatsCollector):
    """Scrapy's own collector, which the fleet gives its jobs as ``STATS_CLASS``."""

    def _persist_stats(self, stats: dict[str, Any]) -> None:
        """Write ours, whole; Scrapy calls this when the spider has closed."""
        super()._persist_stats(stats)
        path = Path(self._crawler.settings["SMTPSURVEY_MANIFEST"]).with_name(STATS)
        ours = {name: value for name, value in stats.items() if name.startswith("smtpsurvey/")}
        partial = path.with_name(f"{STATS}.part")
        partial.write_bytes(msgspec.json.encode(ours, enc_hook=str))
        partial.replace(path)
