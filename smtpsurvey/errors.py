"""The error that ends a survey with one clear line instead of a traceback."""

from __future__ import annotations


class SurveyError(Exception):
    """What the user gave cannot be used; the message is one line that names it and says why."""


FAILED = "failed"
"""The finish reason of a spider that closed itself with such an error; ``scrapy crawl`` then exits with 1."""
