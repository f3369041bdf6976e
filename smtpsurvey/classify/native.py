"""Our own rules (``builtin`` and TOML files) as a rule set that can explain itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsurvey.classify.classifier import Classifier, transcript_of
from smtpsurvey.classify.foreign import Contender
from smtpsurvey.classify.rules import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpsurvey.classify.foreign import Skipped
    from smtpsurvey.classify.rules import Origin, Rule, Transcript
    from smtpsurvey.items import SmtpItem


class NativeRules(Classifier):
    """The classifier, and where its rules are from."""

    skipped: tuple[Skipped, ...] = ()
    """None: a rule file of ours loads as a whole or not at all."""

    def __init__(self, origins: Iterable[Origin]) -> None:
        """Take rules in the order read."""
        origins = list(origins)
        super().__init__(origins)
        self._by_id = {origin.rule.id: origin for origin in origins}

    def contenders(self, item: SmtpItem) -> list[Contender]:
        """List the rules that match, best first, and then those whose greeting matches and something else does not."""
        transcript = transcript_of(item)
        matches = self.ranking(transcript)
        found = [
            Contender(
                match.rule.id,
                self._by_id[match.rule.id].file,
                _fields(match.rule),
                match.captures,
                self.classify_item(item) if match is matches[0] else match.software,
                _lost(matches[0].rule, match.rule),
            )
            for match in matches
        ]
        matched = {match.rule.id for match in matches}
        for origin in self._by_id.values():
            rule = origin.rule
            missing = [] if rule.id in matched or rule.greeting is None else _missing(origin, transcript)
            if missing and "greeting" not in missing:
                lost = f"its greeting matches, but not its {' and '.join(missing)}"
                found.append(Contender(rule.id, origin.file, _fields(rule), {}, None, lost))
        return found


def _missing(origin: Origin, transcript: Transcript) -> list[str]:
    """Name the fields whose patterns do not match."""
    return [
        field
        for field, pattern in origin.rule.given().items()
        if not compile_pattern(origin, pattern).search(getattr(transcript, field).encode("utf-8", "replace"))
    ]


def _fields(rule: Rule) -> str:
    return ", ".join(rule.given())


def _lost(winner: Rule, rule: Rule) -> str:
    if rule is winner:
        return ""
    if winner.greeting and not rule.greeting:
        return "does not read the greeting, which names a product"
    if rule.priority < winner.priority:
        return f"priority {rule.priority}, below {winner.priority}"
    return f"priority {rule.priority} too, but comes later"
