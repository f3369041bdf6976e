"""``scrapy targets`` from its sources to its files."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import attrs
import duckdb
import msgspec
import numpy as np

from smtpsurvey.errors import SurveyError
from smtpsurvey.kinds import ReceivedItem
from smtpsurvey.targets.domains import Domains
from smtpsurvey.targets.mill import Mill
from smtpsurvey.targets.output import Outputs, TargetWriter, write_received, write_zone_sizes
from smtpsurvey.targets.sieve import read_sieve
from smtpsurvey.targets.sources import Options, Report, open_source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from smtpsurvey.targets.mill import Batch
    from smtpsurvey.targets.output import Names
    from smtpsurvey.targets.sample import Sample
    from smtpsurvey.targets.sources import Block, ZoneSize

MEMORY = "1GB"
"""What the tables on disk may use of memory."""

DOMAINS, RECEIVED, SOURCES, ZONE_SIZES = (
    ".domains.txt.zst",
    ".received.jsonl.zst",
    ".sources.parquet",
    ".zone_sizes.csv",
)
"""How the names of the files beside the list end."""

Watch = Callable[[str, int, float | None], object]
"""Gets what is being done, how many so far, and how far that is (0 to 1; ``None``: not known)."""


@attrs.frozen
class Plan:
    """What was asked for: sources, opt-out files, CIDRs that are targets though reserved, and the files to write."""

    sources: tuple[str, ...]
    names: Names
    seed: int = 0
    sample: Sample | None = None
    shards: int = 0
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    as_map: str = ""
    survey: str = ""


@attrs.define
class Yield:
    """What one source gave: targets or domains, repeats included; unique ones in the list; those of no other source."""

    label: str
    given: int = 0
    targets: int = 0
    alone: int = 0
    zone_sizes: list[ZoneSize] = attrs.field(factory=list)


@attrs.define
class Found:
    """What came of it; ``unique`` counts targets before the sample, ``written`` those in the list."""

    yields: list[Yield] = attrs.field(factory=list)
    unique: int = 0
    written: int = 0
    removed: Counter[str] = attrs.field(factory=Counter)
    domains: int = 0
    domains_removed: int = 0
    received: int = 0
    files: list[Path] = attrs.field(factory=list)
    bad_lines: int = 0
    broken: list[str] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)

    @property
    def zone_sizes(self) -> list[ZoneSize]:
        """The sizes of all zones."""
        return [size for each in self.yields for size in each.zone_sizes]

    @property
    def anything(self) -> bool:
        """Whether the sources gave anything at all."""
        return bool(self.received or self.zone_sizes or any(each.given for each in self.yields))


class Finding:
    """Reads all sources, then writes all files; :meth:`run` once."""

    def __init__(self, plan: Plan, tell: Callable[[str], object], watch: Watch) -> None:
        """``tell`` gets what is wrong, a line at a time."""
        self._plan = plan
        self._tell = tell
        self._watch = watch
        self._received: IO[bytes] | None = None
        self._found = Found()

    def run(self) -> Found:
        """Do it; raises SurveyError. Files appear whole and together, or not at all, where nothing was found."""
        plan = self._plan
        try:
            with TemporaryDirectory(prefix=".targets-", dir=plan.names.stem.parent) as folder:
                self._run(Path(folder))
        except OSError as error:
            raise SurveyError(f"{error.filename or plan.names.out}: {error.strerror or error}") from error
        except duckdb.Error as error:
            raise SurveyError(f"{plan.names.out}: {str(error).splitlines()[0]}") from error

        return self._found

    def _run(self, work: Path) -> None:
        plan, found = self._plan, self._found
        sieve = read_sieve(plan.allow, plan.exclude, plan.as_map)
        report = Report(Options(work, plan.seed, plan.survey, plan.as_map or None, plan.allow), self._tell)
        sources = [open_source(text, report) for text in dict.fromkeys(plan.sources)]
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": os.cpu_count() or 1,
            "temp_directory": str(work / "spill"),
        }
        with (
            duckdb.connect(str(work / "tables.duckdb"), config=config) as database,
            Outputs() as outputs,
            closing(Mill(work, database, plan.seed, sieve)) as mill,
            closing(Domains(work, database)) as domains,
        ):
            for number, source in enumerate(sources):
                found.yields.append(Yield(source.label))
                for block in source.blocks():
                    found.yields[number].given += mill.add(block, number) + domains.add(block)
                    self._keep(block, outputs)
                    self._watch(
                        f"reading {source.label}", found.yields[number].given, getattr(source, "fraction", None)
                    )
            if found.anything:
                self._write_targets(mill, TargetWriter(outputs, plan.names, plan.shards, database), outputs)
                self._write_others(domains, sieve.domains, outputs)
                found.files = outputs.commit()
        found.bad_lines, found.broken, found.counts = report.bad_lines, report.broken, report.counts

    def _keep(self, block: Block, outputs: Outputs) -> None:
        """Keep what is no target."""
        if block.received:
            if self._received is None:
                self._received = outputs.open(self._plan.names.beside(RECEIVED))
            write_received(self._received, block.received)
        self._found.received += len(block.received)
        self._found.yields[-1].zone_sizes += block.zone_sizes

    def _write_targets(self, mill: Mill, writer: TargetWriter, outputs: Outputs) -> None:
        plan, found = self._plan, self._found
        mill.finish()
        limit = None if plan.sample is None else plan.sample.of(sum(map(len, mill.batches())))
        for batch in mill.batches():
            found.removed += batch.removed
            found.unique += len(batch)
            some = batch if limit is None else batch.first(limit - found.written)
            writer.write(some)
            self._count(some)
            self._watch(f"writing {plan.names.out.name}", found.written, batch.done)
        self._watch(f"writing {plan.names.beside(SOURCES).name}", found.written, None)
        writer.write_sources(outputs.part(plan.names.beside(SOURCES)), [each.label for each in found.yields])

    def _count(self, batch: Batch) -> None:
        self._found.written += len(batch)
        places, sources = batch.pairs
        count = len(self._found.yields)
        alone = np.bincount(places, minlength=len(batch.numbers))[places] == 1
        targets = np.bincount(sources, minlength=count).tolist()
        only = np.bincount(sources[alone], minlength=count).tolist()
        for other in batch.others:
            for source in other.sources:
                targets[source] += 1
                only[source] += len(other.sources) == 1
        for each, more, more_alone in zip(self._found.yields, targets, only, strict=True):
            each.targets += more
            each.alone += more_alone

    def _write_others(self, domains: Domains, opted_out: set[str], outputs: Outputs) -> None:
        plan, found = self._plan, self._found
        if domains.given:
            path = plan.names.beside(DOMAINS)
            self._watch(f"writing {path.name}", domains.given, None)
            part = outputs.part(path)
            found.domains, found.domains_removed = domains.write(part, opted_out, plan.seed, plan.sample)
        if found.zone_sizes:
            write_zone_sizes(outputs.part(plan.names.beside(ZONE_SIZES)), found.zone_sizes)


def received_items(path: Path) -> Iterator[ReceivedItem]:
    """Read the received items of a file that :class:`Finding` made."""
    decode = msgspec.json.Decoder(ReceivedItem).decode
    with zstd.open(path) as file:
        yield from map(decode, file)
