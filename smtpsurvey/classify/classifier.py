"""The classifier: one RE2 set for each text of a conversation, priorities, captures on the winner."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import msgspec
import re2

from smtpsurvey.classify import names
from smtpsurvey.classify.rules import Origin, RulesError, Transcript, compile_pattern, read_rules
from smtpsurvey.classify.verdict import Match, Naming

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from smtpsurvey.classify.rules import Rule
    from smtpsurvey.items import EhloItem, SmtpItem, Software

MAX_TEXT = 2048
"""Characters of a text that rules see: four reply lines of RFC 5321 section 4.5.3.1.5."""
MAX_CACHED = 32_768
"""Verdicts kept; greetings recur (one cluster, one product) within a survey."""
SET_MEMORY = 32 << 20
"""Bytes at most for the automaton of one set."""

_GREETING = ["greeting"]

_Key = TypeVar("_Key", bound="Hashable")
_Value = TypeVar("_Value")
_Opening = tuple[str, str | None, str]
"""Greeting, reply to EHLO (``None`` where it was not asked) and reply to QUIT."""


class _PatternSet:
    """The patterns of all rules on one field, matched at once."""

    def __init__(self, field: str, rules: Sequence[Rule]) -> None:
        options = re2.Options()
        options.max_mem = SET_MEMORY
        options.log_errors = False
        self.field = field
        self._ranks: list[int] = []
        self._set = re2.Set.SearchSet(options)
        for rank, rule in enumerate(rules):
            if pattern := rule.given().get(field):
                self._set.Add(pattern.encode())
                self._ranks.append(rank)
        try:
            self._set.Compile()
        except re2.error as error:
            raise RulesError(f"the {field} patterns of all rules together are too large for one RE2 set") from error

    def hits(self, text: bytes) -> list[int]:
        """Ranks of the rules whose pattern is in ``text``; rank 0 goes first."""
        return [self._ranks[index] for index in self._set.Match(text) or ()]


class Classifier:
    """Names software by rules; the same rules give the same verdict whatever was asked before.

    Rules that read the greeting go before those that do not, whatever the priorities: what a server
    says of itself counts, and only when that names nothing does its behaviour. When the two
    contradict, the greeting's name is the verdict, as disputed, and both are kept as claims.
    """

    def __init__(self, origins: Iterable[Origin]) -> None:
        """Take rules in the order read and prove each one by its own examples (:class:`RulesError`)."""
        self._origins = sorted(origins, key=_precedence)
        _check_ids(self._origins)
        self.rules = tuple(origin.rule for origin in self._origins)
        self.version = hashlib.sha256(names.digest() + msgspec.json.encode(self.rules)).hexdigest()[:16]
        self._namings = [Naming.of(rule) for rule in self.rules]
        self._fields = [list(rule.given()) for rule in self.rules]
        self._captures = [_capturing(origin) for origin in self._origins]
        self._sets = {field: _PatternSet(field, self.rules) for field in Transcript._fields}
        self._others = [self._sets[field] for field in Transcript._fields[1:]]
        self._behaviour = sum(rule.greeting is not None for rule in self.rules)
        self._settled: dict[_Opening, Software | None] = {}
        self._by_transcript: dict[Transcript, Software | None] = {}
        self._agreeing: dict[tuple[int, str], bool] = {}
        for origin in self._origins:
            self._prove(origin)

    @classmethod
    def load(cls, sources: Iterable[str]) -> Classifier:
        """Load rule sets: ``builtin``, or the path of a TOML file; the first read wins at equal priority."""
        return cls([origin for source in sources for origin in read_rules(source)])

    def classify_item(self, item: SmtpItem) -> Software | None:
        """Name the software of an item, ``None`` when nothing is known. Verdicts are shared: do not change one."""
        greeting, ehlo, quitting = item.greeting, item.ehlo, item.quit
        opening = (
            greeting.text if greeting else "",
            ehlo.text if ehlo else None,
            quitting.text if quitting else "",
        )
        try:
            return self._settled[opening]
        except KeyError:
            return self._classify_new(transcript_of(item), opening)

    def classify(self, transcript: Transcript) -> Software | None:
        """Name the software of a conversation, ``None`` when nothing is known; without the cache."""
        match = self.match(transcript)
        return match.software if match else None

    def match(self, transcript: Transcript) -> Match | None:
        """Find the rule that wins on these texts, with its captures."""
        return self._match(_bounded(transcript))[0]

    def ranking(self, transcript: Transcript) -> list[Match]:
        """Give every rule that matches these texts, the one that wins first."""
        bounded = _bounded(transcript)
        ranks = self._ranks(bounded, self._sets["greeting"].hits(_encode(bounded.greeting)))
        return [self._captured(rank, bounded) for rank in ranks]

    def _classify_new(self, transcript: Transcript, opening: _Opening) -> Software | None:
        """Classify what greeting and replies to EHLO and QUIT have not settled, by all texts."""
        try:
            return self._by_transcript[transcript]
        except KeyError:
            match, settled = self._match(transcript)
        verdict = match.software if match else None
        # Without EHLO there is no STARTTLS, and so nothing more to read.
        if (settled or opening[1] is None) and all(text is None or len(text) <= MAX_TEXT for text in opening):
            return _remember(self._settled, opening, verdict)
        return _remember(self._by_transcript, transcript, verdict)

    def _match(self, transcript: Transcript) -> tuple[Match | None, bool]:
        """Match bounded texts, and say whether greeting and extensions settle it, whatever the other texts."""
        greeting = self._sets["greeting"].hits(_encode(transcript.greeting))
        best = min(greeting, default=None)
        if best is not None and self._fields[best] == _GREETING and self._agrees(best, transcript.extensions):
            return self._captured(best, transcript), True
        ranks = self._ranks(transcript, greeting)
        if not ranks:
            return None, False
        return self._captured(ranks[0], transcript, self._claims(ranks, transcript.extensions)), False

    def _ranks(self, transcript: Transcript, greeting: Iterable[int]) -> list[int]:
        """Give the rules all of whose patterns match, best first, when those that match the greeting are known."""
        found = dict.fromkeys(greeting, 1)
        for patterns, text in zip(self._others, transcript[1:], strict=True):
            if text:
                for rank in patterns.hits(_encode(text)):
                    found[rank] = found.get(rank, 0) + 1
        return sorted(rank for rank, fields in found.items() if fields == len(self._fields[rank]))

    def _claims(self, ranks: list[int], extensions: str) -> dict[str, str] | None:
        """Say what greeting and behaviour each claim, if they contradict."""
        best, rival = ranks[0], next((rank for rank in ranks if rank >= self._behaviour), None)
        if rival is None or best >= self._behaviour:
            return None
        said, shown = self._namings[best].name.product, self._namings[rival].name.product
        if names.based_on(said, shown) or self._agrees(best, extensions):
            return None
        return {"greeting": said, "behaviour": shown}

    def _agrees(self, rank: int, extensions: str) -> bool:
        """Say whether the order of extensions is one of the product that a rule names."""
        if not extensions:
            return False
        try:
            return self._agreeing[rank, extensions]
        except KeyError:
            product = self._namings[rank].name.product
            shown = (self._namings[hit].name.product for hit in self._sets["extensions"].hits(_encode(extensions)))
            agrees = any(names.based_on(product, other) for other in shown)
            return _remember(self._agreeing, (rank, extensions), agrees)

    def _captured(self, rank: int, transcript: Transcript, claims: dict[str, str] | None = None) -> Match:
        captures: dict[str, str] = {}
        for field, pattern, groups in self._captures[rank]:
            found = pattern.search(_encode(getattr(transcript, field)))
            for name, group in groups:
                if text := found.group(group):
                    captures[name] = text.decode("utf-8", "replace")
        return Match(self.rules[rank], captures, self._namings[rank], claims)

    def _prove(self, origin: Origin) -> None:
        """Hold a rule to its examples: it must win each, and capture what the example says."""
        for number, example in enumerate(origin.rule.examples, 1):
            match = self.match(example.transcript())
            if match is None:
                raise origin.error(f"example {number} is not matched")
            if match.rule is not origin.rule:
                raise origin.error(f"example {number} is won by rule {match.rule.id} (priority {match.rule.priority})")
            if match.captures != example.captures():
                raise origin.error(f"example {number} captures {match.captures}, not {example.captures()}")


def transcript_of(item: SmtpItem) -> Transcript:
    """Gather the texts of an item that rules read, each cut to :data:`MAX_TEXT` characters."""
    tls, hello = item.tls, item.helo or item.ehlo
    certificate = tls.certificate if tls else None
    return Transcript(
        item.greeting.text[:MAX_TEXT] if item.greeting else "",
        hello.text[:MAX_TEXT].partition("\n")[0] if hello else "",
        _keywords(item.ehlo),
        item.starttls_reply.text[:MAX_TEXT] if item.starttls_reply else "",
        item.quit.text[:MAX_TEXT] if item.quit else "",
        _keywords(tls.ehlo) if tls else "",
        f"{certificate.subject}\n{certificate.issuer}"[:MAX_TEXT] if certificate else "",
    )


def _keywords(ehlo: EhloItem | None) -> str:
    return " ".join(ehlo.extensions)[:MAX_TEXT] if ehlo and ehlo.extensions else ""


def _encode(text: str) -> bytes:
    # Stored text from elsewhere may hold lone surrogates, which UTF-8 cannot.
    return text.encode("utf-8", "replace")


def _bounded(transcript: Transcript) -> Transcript:
    return Transcript(*[text[:MAX_TEXT] for text in transcript])


def _remember(cache: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    if len(cache) >= MAX_CACHED:
        cache.clear()
    cache[key] = value
    return value


def _capturing(origin: Origin) -> list[tuple[str, re2._Regexp, list[tuple[str, int]]]]:
    """Field, pattern, and name and number of each group, for the patterns of a rule that capture."""
    compiled = [(field, compile_pattern(origin, pattern)) for field, pattern in origin.rule.given().items()]
    return [
        (field, pattern, [(name.decode(), group) for name, group in pattern.groupindex.items()])
        for field, pattern in compiled
        if pattern.groups
    ]


def _precedence(origin: Origin) -> tuple[bool, int]:
    return origin.rule.greeting is None, -origin.rule.priority


def _check_ids(origins: Iterable[Origin]) -> None:
    seen: dict[str, str] = {}
    for origin in origins:
        if origin.rule.id in seen:
            raise RulesError(f"{origin.file}: rule {origin.rule.id}: the id is taken in {seen[origin.rule.id]}")
        seen[origin.rule.id] = origin.file
