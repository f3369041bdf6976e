"""Scrapy's log formatter without a record for each item: at 10,000 targets a second it is noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy.logformatter import LogFormatter, LogFormatterResult

from smtpsurvey.kinds import MASS

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.http import Response


class QuietLogFormatter(LogFormatter):
    """Says nothing of an item of ours that was scraped; everything else as Scrapy does."""

    def scraped(self, item: Any, response: Response | Any | None, spider: Spider) -> LogFormatterResult | None:  # type: ignore[override]  # None is documented: no record
        """Build no record for one of millions; the progress line counts them."""
        if isinstance(item, MASS):
            return None
        return super().scraped(item, response, spider)
