"""Recog's fingerprints: a folder of XML files, one for each kind of reply, matched line by line.

In a file the first fingerprint that matches a line counts for that line; of those that name something the one
with the highest certainty decides, then the file of the higher preference (the comments in Recog's own files).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.classify.classifier import MAX_CACHED
from smtpsurvey.classify.dialects import Dialect
from smtpsurvey.classify.foreign import (
    Contender,
    ForeignRule,
    OrderedRules,
    Said,
    Skipped,
    lines_of,
    read_file,
    version_of,
)
from smtpsurvey.classify.recog_file import read_database
from smtpsurvey.classify.rules import RulesError
from smtpsurvey.outcomes import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpsurvey.items import SmtpItem, Software

FILES = "smtp_*.xml"
DEFAULT_CERTAINTY = 0.85
"""Recog's own."""

# Recog's names of the replies that a polite session gets; it never sends HELP, NOOP, VRFY and the others.
_FIELDS = {
    "smtp.banner": Evidence.GREETING,
    "smtp_banners": Evidence.GREETING,
    "smtp.ehlo": Evidence.EHLO,
    "smtp_ehlo": Evidence.EHLO,
    "smtp.quit": Evidence.QUIT,
    "smtp_quit": Evidence.QUIT,
}

_Lines = tuple[bytes, ...]


class Counts(NamedTuple):
    """What was read: files, fingerprints that can be used, their examples (all passed), and what was left out."""

    files: int
    fingerprints: int
    examples: int
    skipped: int


class _Hit(NamedTuple):
    rule: ForeignRule
    field: Evidence
    params: dict[str, str]
    software: Software | None
    first: bool  # of those in its file that match this line

    @property
    def certainty(self) -> float:
        return _certainty(self.params)


class RecogRules:
    """The rule set ``recog:DIR``."""

    def __init__(self, folder: str) -> None:
        """Read all ``smtp_*.xml`` of a folder; :class:`RulesError` when there is none, or one is no Recog file."""
        paths = sorted(Path(folder).glob(FILES))
        if not paths:
            raise RulesError(f"recog:{folder}: no {FILES} there")
        self.skipped: list[Skipped] = []
        texts = [read_file(path) for path in paths]
        self.version = version_of(texts)
        databases = [read_database(path, text, self.skipped) for path, text in zip(paths, texts, strict=True)]
        self.counts = Counts(
            len(databases),
            sum(len(database.rules) for database in databases),
            sum(database.examples for database in databases),
            len(self.skipped),
        )
        databases.sort(key=lambda database: -database.preference)
        self._asked = [
            (_FIELDS[database.key], OrderedRules(database.rules, Dialect.RUBY))
            for database in databases
            if database.key in _FIELDS
        ]
        self._decide = lru_cache(MAX_CACHED)(self._decided)

    def classify_item(self, item: SmtpItem) -> Software | None:
        """Name the software of an item, ``None`` when nothing is known."""
        return self._decide(*_texts(item))

    def contenders(self, item: SmtpItem) -> list[Contender]:
        """List the fingerprints that match, in the order in which they count."""
        hits = sorted(
            self._hits(_texts(item), every=True),
            key=lambda hit: (not hit.first, hit.software is None, -hit.certainty),
        )
        return [
            Contender(hit.rule.id, hit.rule.where, hit.field, hit.params, hit.software, _lost(hits[0], hit))
            for hit in hits
        ]

    def _decided(self, *texts: _Lines) -> Software | None:
        naming = (hit for hit in self._hits(texts) if hit.software)
        best = max(naming, key=lambda hit: hit.certainty, default=None)  # the first of equals
        return best.software if best else None

    def _hits(self, texts: tuple[_Lines, ...], *, every: bool = False) -> Iterator[_Hit]:
        by_field = dict(zip((Evidence.GREETING, Evidence.EHLO, Evidence.QUIT), texts, strict=True))
        for field, rules in self._asked:
            for line in by_field[field]:
                first = True
                for rule, found in rules.matches(line):
                    params = rule.says(found)
                    yield _Hit(rule, field, params, _software(rule, field, params), first)
                    first = False
                    if not every:
                        break


def _texts(item: SmtpItem) -> tuple[_Lines, ...]:
    """Give the lines of greeting, reply to EHLO and reply to QUIT; Recog keeps the codes of the latter two."""
    return (
        tuple(lines_of(item.greeting, codes=False)),
        tuple(lines_of(item.ehlo, codes=True)),
        tuple(lines_of(item.quit, codes=True)),
    )


def _software(rule: ForeignRule, field: Evidence, params: dict[str, str]) -> Software | None:
    """Name the service, or the system where that is all that is known (a firewall that speaks SMTP)."""
    for kind in ("service", "hw", "os"):
        product = params.get(f"{kind}.product") or params.get(f"{kind}.family")
        if product:
            vendor, version = params.get(f"{kind}.vendor"), params.get(f"{kind}.version")
            return rule.names(Said(vendor, product, version, params.get("os.product")), field)
    return None


def _certainty(params: dict[str, str]) -> float:
    try:
        return float(params["service.certainty"])
    except (KeyError, ValueError):
        return DEFAULT_CERTAINTY


def _lost(winner: _Hit, hit: _Hit) -> str:
    if hit.software is None:
        return "names no product"
    if hit is winner:
        return ""
    if not hit.first:
        return "an earlier fingerprint of its file matches the line"
    if hit.certainty < winner.certainty:
        return f"certainty {hit.certainty:g}, below {winner.certainty:g}"
    return "its file or line comes later"
