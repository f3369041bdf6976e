"""Answers as items."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smtpsurvey.items import iso_time
from smtpsurvey.kinds import DnsItem
from smtpsurvey.outcomes import DnsOutcome

if TYPE_CHECKING:
    from smtpsurvey.dns.answer import Answer


def dns_item(answer: Answer, survey: str, source: str | None) -> DnsItem:
    """Make the item of one look-up."""
    return DnsItem(
        survey,
        iso_time(answer.time),
        answer.name,
        answer.type,
        answer.outcome,
        answer.rcode,
        list(answer.records) or None,
        answer.server,
        answer.ad,
        answer.duration,
        source,
    )


def bad_name_item(name: str, type_: str, survey: str, source: str | None) -> DnsItem:
    """Make the item of a text that is no name and was not asked for."""
    return DnsItem(survey, iso_time(time.time()), name, type_, DnsOutcome.BAD_NAME, source=source)
