"""The software that Received headers name, by the rules of ``data/received.toml``."""

from __future__ import annotations

import tomllib
from functools import cache, lru_cache
from importlib.resources import files

import msgspec
import re2

from smtpsurvey.classify import names
from smtpsurvey.items import Software

EVIDENCE = "received"


class ReceivedExample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text that the rule must name, and the version that it must take from it."""

    text: str
    version: str | None = None


class ReceivedRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One shape of header: who writes it, its RE2 pattern (which may capture ``version``), where that is from."""

    id: str
    vendor: str
    product: str
    pattern: str
    source: str
    examples: tuple[ReceivedExample, ...]


class _RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[ReceivedRule, ...]


@cache
def received_rules() -> tuple[ReceivedRule, ...]:
    """Return the rules, in the order in which they decide."""
    text = (files("smtpsurvey.targets") / "data" / "received.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _RuleFile).rules


class ReceivedSoftware:
    """Names the software of headers."""

    def __init__(self) -> None:
        """Compile the rules."""
        self._patterns = [re2.compile(rule.pattern) for rule in received_rules()]
        self._any = re2.Set.SearchSet()
        for rule in received_rules():
            self._any.Add(rule.pattern)
        self._any.Compile()

    def of(self, text: str) -> Software | None:
        """Name who wrote a header; ``text`` is what stands from its ``by`` to its date, blanks single."""
        matches = self._any.Match(text)
        if not matches:
            return None
        number = min(matches)
        found = self._patterns[number].search(text)
        return _verdict(number, found.groupdict().get("version") if found else None)


@lru_cache(maxsize=4096)
def _verdict(number: int, version: str | None) -> Software:
    rule = received_rules()[number]
    name = names.canonical(rule.vendor, rule.product)
    return Software(
        name.vendor,
        name.product,
        version,
        f"received:{rule.id}",
        EVIDENCE,
        edition=names.release(name.product, version) if version else None,
        cpe=names.cpe(name, version),
    )
