"""What a job of the fleet leaves in its folder."""

from __future__ import annotations

import gzip
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from smtpsurvey.fleet.jobs import ITEMS, MANIFEST, STATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from smtpsurvey.items import SmtpItem

TIME = "2026-11-25T01:02:03.456Z"


def left(
    folder: Path,
    items: Sequence[SmtpItem],
    unrecorded: Mapping[str, int],
    *,
    counts: Mapping[str, int] | None = None,
    reason: str | None = "finished",
    survey: str = "2026-11",
) -> Path:
    """Leave feed, stats and manifest; ``unrecorded`` maps ``outcome/reason/source`` to counts."""
    folder.mkdir(exist_ok=True)
    (folder / ITEMS).write_bytes(gzip.compress(b"".join(msgspec.json.encode(each) + b"\n" for each in items)))
    stats = {f"smtpsurvey/unrecorded/{key}": count for key, count in unrecorded.items()} | {"smtpsurvey/rules": "x"}
    (folder / STATS).write_bytes(msgspec.json.encode(stats))
    outcomes = Counter(each.outcome for each in items)
    for key, count in unrecorded.items():
        outcomes[key.partition("/")[0]] += count
    manifest = {"survey": survey, "started": TIME, "written": TIME, "finished": reason and TIME, "reason": reason}
    manifest |= {"targets": 9, "in_flight": 0, "versions": {}}
    none: dict[str, object] = {name: {} for name in ("software", "starttls", "tls_versions", "domains", "names")}
    manifest["counts"] = none | {"outcomes": outcomes if counts is None else counts}
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return folder
