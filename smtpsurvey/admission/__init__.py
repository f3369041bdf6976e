"""Who may be probed, and when: opt-outs, reserved ranges, AS map and token buckets.

A pipeline's ``admit(target)`` raises :class:`Exclude` before any socket is opened.
"""

from __future__ import annotations

from smtpsurvey.errors import SurveyError

MAX_ASN = 2**32 - 1  # RFC 6793


class Exclude(Exception):  # noqa: N818 -- a verdict on a target, as Scrapy's DropItem is on an item; no error
    """Raised by ``admit``: this target is never contacted.

    ``reason`` is one of :class:`smtpsurvey.outcomes.Reason`, or a word of the user's own pipeline.
    """

    def __init__(self, reason: str) -> None:
        """Exclude a target for this reason."""
        super().__init__(reason)
        self.reason = reason


class AdmissionError(SurveyError):
    """A list, map or setting of admission cannot be used; the message is the one line to show."""
