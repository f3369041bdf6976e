"""The classifier: one RE2 set for each text of a conversation, priorities, captures on the winner."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import re2

from smtpsurvey.classify.rules import Origin, RulesError, Transcript, compile_pattern, read_rules
from smtpsurvey.items import Software
from smtpsurvey.outcomes import Evidence

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from smtpsurvey.classify.rules import Rule
    from smtpsurvey.items import EhloItem, SmtpItem

MAX_TEXT = 2048
"""Characters of a text that rules see: four reply lines of RFC 5321 section 4.5.3.1.5."""
MAX_CACHED = 32_768
"""Verdicts kept; greetings recur (one cluster, one product) within a survey."""
SET_MEMORY = 32 << 20
"""Bytes at most for the automaton of one set."""

_EVIDENCE = {
    **{field: Evidence(field) for field in Transcript._fields if field != "tls_extensions"},
    "tls_extensions": Evidence.EXTENSIONS,
}


_Key = TypeVar("_Key", bound="Hashable")


class Match(NamedTuple):
    """A rule that matched and what it captured (version, host, os, edition)."""

    rule: Rule
    captures: dict[str, str]

    @property
    def software(self) -> Software:
        """The verdict as an item carries it."""
        rule, fields = self.rule, list(self.rule.given())
        return Software(
            vendor=rule.vendor,
            product=rule.product,
            version=self.captures.get("version", rule.version),
            rule=rule.id,
            evidence=_EVIDENCE[fields[0]] if len(fields) == 1 else Evidence.COMBINED,
        )


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
    says of itself counts, and only when that names nothing does its behaviour.
    """

    def __init__(self, origins: Iterable[Origin]) -> None:
        """Take rules in the order read and prove each one by its own examples (:class:`RulesError`)."""
        self._origins = sorted(origins, key=_precedence)
        _check_ids(self._origins)
        self.rules = tuple(origin.rule for origin in self._origins)
        self.version = hashlib.sha256(msgspec.json.encode(self.rules)).hexdigest()[:16]
        self._fields = [list(rule.given()) for rule in self.rules]
        self._captures = [_capturing(origin) for origin in self._origins]
        self._sets = [_PatternSet(field, self.rules) for field in Transcript._fields]
        self._by_greeting: dict[str, Software | None] = {}
        self._by_transcript: dict[Transcript, Software | None] = {}
        for origin in self._origins:
            self._prove(origin)

    @classmethod
    def load(cls, sources: Iterable[str]) -> Classifier:
        """Load rule sets: ``builtin``, or the path of a TOML file; the first read wins at equal priority."""
        return cls([origin for source in sources for origin in read_rules(source)])

    def classify_item(self, item: SmtpItem) -> Software | None:
        """Name the software of an item, ``None`` when nothing is known. Verdicts are shared: do not change one."""
        greeting = item.greeting.text[:MAX_TEXT] if item.greeting else ""
        try:
            verdict = self._by_greeting[greeting]
        except KeyError:
            match = self._match_greeting(greeting)
            verdict = _remember(self._by_greeting, greeting, match.software if match else None)
        return verdict or self._classify_whole(transcript_of(item))

    def classify(self, transcript: Transcript) -> Software | None:
        """Name the software of a conversation, ``None`` when nothing is known; without the cache."""
        match = self.match(transcript)
        return match.software if match else None

    def match(self, transcript: Transcript) -> Match | None:
        """Find the rule that wins on these texts, with its captures."""
        bounded = Transcript(*[text[:MAX_TEXT] for text in transcript])
        return self._match_greeting(bounded.greeting) or self._match_whole(bounded)

    def _classify_whole(self, transcript: Transcript) -> Software | None:
        try:
            return self._by_transcript[transcript]
        except KeyError:
            match = self._match_whole(transcript)
            return _remember(self._by_transcript, transcript, match.software if match else None)

    def _match_greeting(self, greeting: str) -> Match | None:
        """Match on the greeting alone, unless a rule that goes before would have to see more."""
        text = _encode(greeting)
        best = min(self._sets[0].hits(text), default=None)
        if best is None or len(self._fields[best]) > 1:
            return None
        return self._captured(best, {"greeting": text})

    def _match_whole(self, transcript: Transcript) -> Match | None:
        texts = {field: _encode(text) for field, text in transcript._asdict().items() if text}
        found: Counter[int] = Counter()
        for patterns in self._sets:
            if patterns.field in texts:
                found.update(patterns.hits(texts[patterns.field]))
        best = min((rank for rank, fields in found.items() if fields == len(self._fields[rank])), default=None)
        return None if best is None else self._captured(best, texts)

    def _captured(self, rank: int, texts: dict[str, bytes]) -> Match:
        captures: dict[str, str] = {}
        for field, pattern, names in self._captures[rank]:
            found = pattern.search(texts[field])
            for name, group in names:
                if text := found.group(group):
                    captures[name] = text.decode("utf-8", "replace")
        return Match(self.rules[rank], captures)

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
    tls = item.tls
    certificate = tls.certificate if tls else None
    return Transcript(
        item.greeting.text[:MAX_TEXT] if item.greeting else "",
        item.ehlo.text[:MAX_TEXT].partition("\n")[0] if item.ehlo else "",
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


def _remember(cache: dict[_Key, Software | None], key: _Key, verdict: Software | None) -> Software | None:
    if len(cache) >= MAX_CACHED:
        cache.clear()
    cache[key] = verdict
    return verdict


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
