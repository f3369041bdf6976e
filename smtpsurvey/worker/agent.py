"""What all our requests by HTTP have in common."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from scrapy.settings import default_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy.settings import BaseSettings

PLAIN: Mapping[str, Any] = {"dont_redirect": True, "dont_retry": True, "dont_cache": True, "dont_merge_cookies": True}
"""Meta of requests whose redirects and repeats are our own matter."""


def agent_of(settings: BaseSettings) -> str:
    """Say who we are, with the contact of the survey; a USER_AGENT of the user's own goes before."""
    given = str(settings.get("USER_AGENT"))
    if given != default_settings.USER_AGENT:
        return given
    contact = settings.get("SMTPSURVEY_CONTACT")
    return f"smtpsurvey/{version('smtpsurvey')}" + (f" (+{contact})" if contact else "")
