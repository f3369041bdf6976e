"""The fleet: surveys on many hosts with scrapyd, handed out, followed and collected from one."""

from __future__ import annotations

from smtpsurvey.errors import SurveyError


class FleetError(SurveyError):
    """The fleet cannot do what was asked: one line that names node or file, never credentials."""
