"""The registered domains of a zone file as a list, for whoever reads lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from smtpsurvey.targets.sources import Options, Report
from smtpsurvey.targets.zone import ZoneSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "domains.txt.zst"


def zone_list(zone: str, folder: Path, tell: Callable[[str], object]) -> Path:
    """Write the domains of a zone file, one a line, into ``folder``, and give the list's path; blocks.

    A list that is there already is taken as it is: the folder is that of one job, and the list appears only when it is
    complete. ``tell`` gets a line for each line of the zone that is not understood. Raises
    :class:`~smtpsurvey.errors.SurveyError`; also for a zone that ends early, as its size would be wrong.
    """
    path = folder / NAME
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(Options(folder), tell)
    part = folder / f"{NAME}.part"
    for block in ZoneSource(zone, report).blocks():
        if block.domains_file is not None:
            with duckdb.connect(":memory:") as database:
                names = database.read_parquet(str(block.domains_file)).project("domain")
                names.write_csv(str(part), header=False, compression="zstd")
            block.domains_file.unlink()
            block.domains_file.parent.rmdir()
    part.replace(path)
    return path
