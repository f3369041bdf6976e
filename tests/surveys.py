"""Small surveys written to a store, for tests of what is read from it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from smtpsurvey.items import SmtpItem, Software, TlsItem
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Tally, Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

TIME = "2026-11-25T01:02:03.456Z"


def item(
    number: int,
    *software: str | None,
    survey: str = "now",
    outcome: str = "ok",
    starttls: str | None = "not_offered",
    tls: TlsItem | None = None,
    source: str | None = "list",
    reason: str | None = None,
    asn: int | None = None,
    country: str | None = None,
) -> SmtpItem:
    """Make the item of 192.0.2.``number``; ``software`` is (vendor, product, version), or empty for not identified."""
    made = SmtpItem(survey, f"192.0.2.{number}", 25, None, None, source, TIME, 0.1, outcome, reason)
    made.starttls, made.tls, made.asn, made.country = starttls, tls, asn, country
    if software:
        vendor, product, version = software
        assert product is not None
        made.software = Software(vendor, product, version)
    return made


def tls(
    version: str | None,
    cipher: str | None = None,
    *,
    key: str | None = "rsa-2048",
    trusted: bool | None = True,
    trust_error: str | None = None,
    error: str | None = None,
) -> TlsItem:
    """Make the TLS facts of an item, with a certificate where trust is known."""
    digest = hashlib.sha256(str(key).encode()).hexdigest()
    certificate = None if trusted is None else Certificate("CN=a", "CN=b", ["a"], TIME, TIME, key, digest)
    return TlsItem(version, cipher, None, certificate, trusted, trust_error, None, None, error)


def store(urls: Sequence[str], tables: int = 1) -> Shards:
    """Open new databases."""
    shards = Shards(urls, tables)
    shards.create()
    return shards


def write(
    shards: Shards,
    label: str,
    items: Sequence[SmtpItem] = (),
    tallies: Sequence[Tally] = (),
    *,
    started: str = TIME,
    finished: bool = True,
) -> None:
    """Write a survey; the items get its label."""
    writer = Writer(shards)
    writer.begin_survey(label, started, {"SMTPSURVEY_RATE": 500})
    for each in items:
        each.survey = label
        writer.write(shards.placement.server(each.ip), [each])
    writer.write_tallies(label, tallies)
    if finished:
        writer.end_survey(label, "2026-11-25T02:00:00.000Z")
