"""Names the software of each server that answered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from smtpsurvey.classify.load import load
from smtpsurvey.items import SmtpItem
from smtpsurvey.outcomes import Outcome

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from smtpsurvey.classify.foreign import RuleSet

logger = logging.getLogger(__name__)


class ClassifyPipeline:
    """Sets ``item.software`` by the rule sets of ``SMTPSURVEY_FINGERPRINTS`` (docs/usage/fingerprints.md)."""

    def __init__(self, rules: RuleSet) -> None:
        """Name software by ``rules``."""
        self.rules = rules

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Load the rule sets; :class:`~smtpsurvey.classify.RulesError` names what is wrong with one."""
        rules = load(crawler.settings.getlist("SMTPSURVEY_FINGERPRINTS"))
        for skipped in rules.skipped:
            logger.warning("%s", skipped)
        if rules.skipped:
            logger.warning("Rules left out: %d", len(rules.skipped))
        if crawler.stats is not None:
            crawler.stats.set_value("smtpsurvey/rules", rules.version)
        return cls(rules)

    def process_item(self, item: Any) -> Any:
        """Name the software of an :class:`SmtpItem` with a greeting; leave every other item alone."""
        if isinstance(item, SmtpItem) and item.outcome == Outcome.OK:
            item.software = self.rules.classify_item(item)
        return item
