"""Rule sets by their names, as SMTPSURVEY_FINGERPRINTS lists them.

``builtin`` and paths of TOML files that stand side by side are one set, whose priorities are compared;
``recog:DIR`` and ``nmap:FILE`` are sets of their own. Sets are asked in the order given, and the first that
names the software decides.
"""

from __future__ import annotations

import hashlib
from itertools import groupby
from typing import TYPE_CHECKING

from smtpsurvey.classify.native import NativeRules
from smtpsurvey.classify.nmap import NmapRules
from smtpsurvey.classify.recog import RecogRules
from smtpsurvey.classify.rules import RulesError, read_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from smtpsurvey.classify.foreign import Contender, RuleSet
    from smtpsurvey.items import SmtpItem, Software


class RuleSets:
    """Rule sets asked one after the other."""

    def __init__(self, sets: Sequence[tuple[str, RuleSet]]) -> None:
        """Ask these, each with the name that it was given by."""
        self._sets = sets
        self.skipped = [skipped for _, rules in sets for skipped in rules.skipped]
        self.version = hashlib.sha256("\n".join(rules.version for _, rules in sets).encode()).hexdigest()[:16]

    def classify_item(self, item: SmtpItem) -> Software | None:
        """Name the software of an item, ``None`` when nothing is known. Verdicts are shared: do not change one."""
        for _, rules in self._sets:
            verdict = rules.classify_item(item)
            if verdict is not None:
                return verdict
        return None

    def contenders(self, item: SmtpItem) -> list[Contender]:
        """List all rules that match, the one that decides first, then set by set."""
        found: list[Contender] = []
        by = ""
        for name, rules in self._sets:
            for each in rules.contenders(item):
                if each.lost:
                    found.append(each)
                elif by:
                    found.append(each._replace(lost=f"{name} is asked after {by}"))
                else:
                    found.insert(0, each)
                    by = name
        return found


def load(sources: Iterable[str]) -> RuleSet:
    """Load rule sets; whoever asks for them tells what they had to leave out. Raises :class:`RulesError`."""
    sets = list(_sets([source.strip() for source in sources]))
    if not sets:
        raise RulesError("no rule set is given: say builtin, the path of a TOML file, recog:DIR or nmap:FILE")
    return sets[0][1] if len(sets) == 1 else RuleSets(sets)


def _sets(sources: Iterable[str]) -> Iterator[tuple[str, RuleSet]]:
    for kind, group in groupby(sources, _kind):
        if kind is None:
            names = list(group)
            yield ",".join(names), NativeRules([origin for name in names for origin in read_rules(name)])
        else:
            for source in group:
                yield source, kind(source.partition(":")[2])


def _kind(source: str) -> Callable[[str], RuleSet] | None:
    kinds: dict[str, Callable[[str], RuleSet]] = {"recog": RecogRules, "nmap": NmapRules}
    return kinds.get(source.partition(":")[0])
