"""Puts items of files into the store, each where it belongs, a batch at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from smtpsurvey.items import SmtpItem
from smtpsurvey.outcomes import Outcome
from smtpsurvey.store.kinds import PROBE, rows_of
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.writer import End, RefusedError, Writer, beginning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from smtpsurvey.classify.foreign import RuleSet
    from smtpsurvey.store.kinds import Rows
    from smtpsurvey.store.shards import Shards

_BATCH = 1000
_IMPORTED = "IMPORTED"
"""Among the settings of a survey: no crawl has made it."""


class Source(Protocol):
    """A feed, or what gives items as one does."""

    path: str

    def all_items(self) -> Iterator[tuple[int, Any]]:
        """Give items that have been checked, and the numbers of their lines."""


@attrs.frozen
class _Read:
    """What an item has for one server, and where it was read; ``kind`` names it once."""

    feed: Source
    line: int
    item: SmtpItem | Rows
    kind: str | None


class Importer:
    """Stores what feeds give. ``stored`` counts items by kind, ``refused`` those that a database does not take."""

    def __init__(
        self, shards: Shards, on_refused: Callable[[str, int, str], object], classifier: RuleSet | None = None
    ) -> None:
        """Write to databases that have been created; with a classifier the software is named anew.

        ``on_refused`` is called with path, line and reason.
        """
        self.stored: Counter[str] = Counter()
        self.refused = 0
        self._ends: dict[str, str | None] = {}  # of surveys that are ours to finish: the latest time
        self._reader = Reader(shards)
        self._writer = Writer(shards)
        self._server = shards.placement.server
        self._on_refused = on_refused
        self._classifier = classifier
        self._waiting: defaultdict[int, list[_Read]] = defaultdict(list)

    def add(self, feed: Source) -> None:
        """Store what a source gives; raises ``SurveyError`` where it cannot go on. What came before is stored."""
        try:
            for line, item in feed.all_items():
                if item.survey not in self._ends:
                    self._ends[item.survey] = self._begin(item)
                end = self._ends[item.survey]
                if end is not None and item.time > end:
                    self._ends[item.survey] = item.time
                kind: str | None = getattr(item, "kind", PROBE)
                for server, part in self._parts(item):
                    batch = self._waiting[server]
                    batch.append(_Read(feed, line, part, kind))
                    kind = None
                    if len(batch) >= _BATCH:
                        self._write(server, self._waiting.pop(server))
        finally:
            self.flush()

    def flush(self) -> None:
        """Store what waits; raises ``StoreError``."""
        while self._waiting:
            self._write(*self._waiting.popitem())

    def finish(self) -> None:
        """Mark the surveys finished that imports alone have made; raises ``StoreError``."""
        for label, end in self._ends.items():
            if end is not None:
                self._writer.end_survey(label, end)

    def _parts(self, item: Any) -> Iterable[tuple[int, SmtpItem | Rows]]:
        """Give what an item has for each server."""
        if not isinstance(item, SmtpItem):
            return rows_of(item, self._server).items()
        if self._classifier is not None:
            item.software = self._classifier.classify_item(item) if item.outcome == Outcome.OK else None
        return ((self._server(item.ip), item),)

    def _begin(self, first: Any) -> str | None:
        """Register a survey where it is not known; say when one that imports alone have made ended so far.

        One that a crawl has made stays as it is.
        """
        known = self._reader.find(first.survey)
        crawl = next((survey for survey in known if survey and _IMPORTED not in survey.settings), None)
        started, settings = (crawl.started, crawl.settings) if crawl else (first.time, {_IMPORTED: True})
        for server, survey in enumerate(known):
            if survey is None or crawl is None:
                self._writer.apply(server, beginning(first.survey, started, settings))
                if crawl is not None and crawl.finished is not None:
                    self._writer.apply(server, End(first.survey, crawl.finished))
        if crawl is not None:
            return None
        return max((survey.finished for survey in known if survey and survey.finished), default=first.time)

    def _write(self, server: int, batch: Sequence[_Read]) -> None:
        """Write a batch; where it is refused, in halves, so that only what cannot be stored is left out."""
        try:
            self._writer.write(server, [read.item for read in batch])
        except RefusedError as error:
            if len(batch) == 1:
                self.refused += 1
                self._on_refused(batch[0].feed.path, batch[0].line, str(error))
                return
            middle = len(batch) // 2
            self._write(server, batch[:middle])
            self._write(server, batch[middle:])
        else:
            self.stored.update(read.kind for read in batch if read.kind is not None)
