"""What becomes of observations: items for the pipelines, counts for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsurvey.items import Observation, SmtpItem
from smtpsurvey.outcomes import Outcome

if TYPE_CHECKING:
    from scrapy.statscollectors import StatsCollector

    from smtpsurvey.probe.ledger import Ledger
    from smtpsurvey.processor import SurveyItemProcessor

# The target accepted the connection: these become items.
ACCEPTED = frozenset(
    (
        Outcome.OK,
        Outcome.NOT_SMTP,
        Outcome.SILENT,
        Outcome.TOO_SLOW,
        Outcome.OVERSIZE,
        Outcome.CLOSED,
        Outcome.RESET,
    )
)


UNRECORDED = "smtpsurvey/unrecorded/"
"""Stats of targets that became no item: ``<outcome>/<reason or ->/<source>`` follows."""


class Recorder:
    """Called with each observation of a survey."""

    def __init__(
        self,
        survey: str,
        processor: SurveyItemProcessor,
        stats: StatsCollector,
        ledger: Ledger | None,
        *,
        everything: bool,
    ) -> None:
        """Make items under this label, of ``everything`` or of what accepted the connection."""
        self._survey = survey
        self._submit = processor.submit
        self._stats = stats
        self._ledger = ledger
        self._everything = everything

    def __call__(self, seen: Observation) -> None:
        """Make the item, or add to the tally of what is not recorded."""
        outcome = seen.outcome
        if self._everything or outcome in ACCEPTED:
            self._submit(SmtpItem.from_observation(seen, self._survey))
            return
        reason = (seen.reason or "-").replace("/", "_")  # the source, last, may have slashes of its own
        self._stats.inc_value(f"{UNRECORDED}{outcome}/{reason}/{seen.target.source or '-'}")
        if self._ledger is not None:
            self._ledger.done(seen.target.position)
