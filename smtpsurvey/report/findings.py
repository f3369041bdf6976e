"""Asks the store what a report tells, and has the analysis make tables of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from smtpsurvey.analysis import changes, encryption, response, shares
from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import StartTls
from smtpsurvey.report.text import shown
from smtpsurvey.store import aggregates
from smtpsurvey.store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpsurvey.analysis.table import Table
    from smtpsurvey.store.reader import Survey
    from smtpsurvey.store.shards import Shards

_ENCRYPTION = (
    encryption.starttls,
    encryption.tls_versions,
    encryption.ciphers,
    encryption.tls_errors,
    encryption.trust,
)
_SESSION = ("starttls", "tls_version", "tls_cipher", "tls_error", "trusted", "trust_error", "matches_name")
_LISTED = 20  # labels that an error message names


@attrs.frozen
class Totals:
    """The key figures of a survey, in hosts; ``unplaced`` are the targets that were counted and not recorded."""

    targets: int
    contacted: int
    answering: int
    identified: int
    encrypting: int
    unplaced: int


@attrs.frozen
class Findings:
    """All that a report shows. ``notices`` are what has to be said first, a sentence each."""

    survey: Survey
    compared: tuple[Survey, ...]
    totals: Totals
    tables: dict[str, Table]
    notices: tuple[str, ...]


def find(shards: Shards, label: str, compared: Sequence[str] = ()) -> Findings:
    """Read what there is on a survey and those compared with it.

    Raises ``StoreError`` for a database that cannot be read, ``SurveyError`` for a label that is not known.
    """
    aggregates.require(shards)
    reader = Reader(shards)
    known = {survey.label: survey for survey in reader.surveys()}
    for wanted in (label, *compared):
        if wanted not in known:
            raise SurveyError(f"no survey {shown(wanted)!r}; {_names(known)}")
    survey, others = known[label], tuple(known[other] for other in dict.fromkeys(compared) if other != label)
    rounds = [shares.Round(each.label, each.started, _software(shards, each.label)) for each in (survey, *others)]
    targets = _targets(shards, reader, label)
    places = _places(shards, label)
    sessions = _sessions(shards, label)
    software = rounds[0].software
    totals = Totals(
        targets=targets.total(),
        contacted=response.contacted(targets),
        answering=software.total(),
        identified=sum(hosts for verdict, hosts in software.items() if verdict.product is not None),
        encrypting=sum(hosts for session, hosts in sessions.items() if session.starttls == StartTls.OK),
        unplaced=targets.total() - places.total(),
    )
    tables = [
        *(make(software) for make in (shares.shares_product, shares.shares_vendor, shares.shares_version)),
        shares.history(rounds, label),
        *(make(targets) for make in (response.outcomes, response.exclusions, response.response_by_source)),
        *(make(places) for make in (response.response_by_as, response.response_by_country)),
        *(make(sessions) for make in _ENCRYPTION),
        encryption.keys(aggregates.keys(shards, label)),
    ]
    if others:
        since = {each.label: _pairs(shards, each.label, label) for each in others}
        tables += [changes.changes(since), changes.changes_by_as(since)]
    notices = _notices(survey, others, totals.targets)
    return Findings(survey, others, totals, {table.name: table for table in tables}, notices)


def _software(shards: Shards, label: str) -> Counter[shares.Verdict]:
    counts = aggregates.grouped(shards, label, "vendor", "product", "version", answering=True)
    return Counter({shares.Verdict(*key): hosts for key, hosts in counts.items()})


def _targets(shards: Shards, reader: Reader, label: str) -> Counter[response.Fate]:
    counts = aggregates.grouped(shards, label, "source", "outcome", "reason")
    targets = Counter({response.Fate(*key): hosts for key, hosts in counts.items()})
    for tally in reader.tallies(label):
        targets[response.Fate(tally.source, tally.outcome, tally.reason)] += tally.count
    return targets


def _places(shards: Shards, label: str) -> Counter[response.Place]:
    counts = aggregates.grouped(shards, label, "asn", "country", "outcome")
    return Counter({response.Place(*key): hosts for key, hosts in counts.items()})


def _sessions(shards: Shards, label: str) -> Counter[encryption.Session]:
    counts = aggregates.grouped(shards, label, *_SESSION, answering=True)
    return Counter({encryption.Session(*key): hosts for key, hosts in counts.items()})


def _pairs(shards: Shards, old: str, new: str) -> Counter[changes.Pair]:
    return Counter({changes.Pair(*key): hosts for key, hosts in aggregates.pairs(shards, old, new).items()})


def _names(known: dict[str, Survey]) -> str:
    if not known:
        return "the store holds none"
    labels = [shown(label) for label in known]
    rest = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    return f"the store holds {', '.join(labels[:_LISTED])}{rest}"


def _notices(survey: Survey, others: Sequence[Survey], targets: int) -> tuple[str, ...]:
    said = [
        f"Survey {shown(each.label)} is not finished: it runs still, or was broken off; the numbers are incomplete."
        for each in (survey, *others)
        if each.finished is None
    ]
    if not targets:
        said.insert(0, f"Survey {shown(survey.label)} is empty: no target of it is in the store.")
    said += [
        f"Survey {shown(each.label)}, compared here, is empty: no observation of it is in the store."
        for each in others
        if not each.observations
    ]
    return tuple(said)
