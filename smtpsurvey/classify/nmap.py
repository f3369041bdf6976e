r"""nmap's service probes: the SMTP match lines that apply to a greeting, first match wins.

The lines under ``Probe TCP NULL`` are for what a server says unasked, which is what a polite session has;
those under other probes answer to commands that it does not send that way. Patterns read the greeting as
bytes, with code and CRLF. ``softmatch`` lines decide only where no ``match`` line does, as in nmap.
Format: https://nmap.org/book/vscan-fileformat.html.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smtpsurvey.classify import names
from smtpsurvey.classify.classifier import MAX_CACHED
from smtpsurvey.classify.dialects import Dialect, PatternError
from smtpsurvey.classify.foreign import (
    Contender,
    ForeignRule,
    OrderedRules,
    Said,
    Skipped,
    bytes_of,
    compile_rule,
    read_file,
    version_of,
)
from smtpsurvey.classify.rules import RulesError
from smtpsurvey.outcomes import Evidence
from smtpsurvey.smtp.reply import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import re2

    from smtpsurvey.items import SmtpItem, Software

# A service of SMTP's (smtp, smtp-proxy) and the pattern between any two equal characters.
_MATCH = re.compile(r"(?P<kind>soft)?match (?P<service>\S+)\s+m(?P<mark>[^\w\s])(?P<pattern>.*?)(?P=mark)(?P<rest>.*)")
_SERVICE = re.compile(r"smtps?\Z|smtp-")
_FLAGS = re.compile(r"[is]*(?=\s|\Z)")
_INFO = re.compile(r"\s+(?P<what>cpe:|[pvihod])(?P<mark>[^\w\s])(?P<text>.*?)(?P=mark)a?(?=\s|\Z)")
_PROBE = re.compile(r"Probe (?:TCP|UDP) (\S+) q")
_PUT = re.compile(r'\$(?:(\d)|P\((\d)\)|SUBST\((\d),"([^"]*)","([^"]*)"\)|I\((\d),"([<>])"\))')

UNASKED = "NULL"
"""The probe that sends nothing."""

_WHAT = {"p": "product", "v": "version", "i": "info", "h": "host", "o": "os", "d": "device", "cpe:": "cpe"}
_LONGEST_NUMBER = 8  # bytes that $I takes


class Counts(NamedTuple):
    """What was read: lines that can be used, lines left out, and SMTP lines of probes that are never sent."""

    lines: int
    skipped: int
    other_probes: int


class NmapRules:
    """The rule set ``nmap:FILE``."""

    def __init__(self, path: str) -> None:
        """Read a file in the format of nmap-service-probes; :class:`RulesError` when it has no line for us."""
        data = read_file(Path(path))
        self.version = version_of([data])
        self.skipped: list[Skipped] = []
        rules: list[ForeignRule] = []
        others = 0
        for number, line, unasked in _smtp_lines(data.decode("latin-1")):
            if not unasked:
                others += 1
                continue
            try:
                rules.append(_rule(line, path, number))
            except PatternError as error:
                self.skipped.append(Skipped(path, number, str(error)))
        if not rules:
            raise RulesError(f"nmap:{path}: no match line for SMTP under {UNASKED} that can be used")
        self.counts = Counts(len(rules), len(self.skipped), others)
        self._rules = OrderedRules(sorted(rules, key=lambda rule: rule.soft), Dialect.PCRE)
        self._decide = lru_cache(MAX_CACHED)(self._decided)

    def classify_item(self, item: SmtpItem) -> Software | None:
        """Name the software of an item, ``None`` when nothing is known."""
        return self._decide(bytes_of(item.greeting))

    def contenders(self, item: SmtpItem) -> list[Contender]:
        """List the lines that match, in the order in which nmap asks them."""
        found = [(rule, rule.says(match)) for rule, match in self._rules.matches(bytes_of(item.greeting))]
        return [
            Contender(
                rule.id, rule.where, Evidence.GREETING, said, _software(rule, said), _lost(rule, said, found[0][0])
            )
            for rule, said in found
        ]

    def _decided(self, greeting: bytes) -> Software | None:
        for rule, match in self._rules.matches(greeting):
            return _software(rule, rule.says(match))
        return None


def _smtp_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Give the match lines of SMTP with their numbers, and whether they read what comes unasked."""
    unasked = True  # lines before any probe, as somebody would write his own
    for number, line in enumerate(text.split("\n"), 1):
        if probe := _PROBE.match(line):
            unasked = probe[1] == UNASKED
        elif line.startswith(("match ", "softmatch ")) and _SERVICE.match(line.split(None, 2)[1]):
            yield number, line.rstrip("\r"), unasked


def _rule(line: str, path: str, number: int) -> ForeignRule:
    found = _MATCH.fullmatch(line)
    if found is None:
        raise PatternError("no pattern between two equal marks after m")
    flags = _FLAGS.match(found["rest"])
    if flags is None:
        raise PatternError("the pattern's flags are not i and s")
    rest = found["rest"][flags.end() :]
    info: dict[str, str] = {}
    at = 0
    while each := _INFO.match(rest, at):
        at = each.end()
        text = f"cpe:/{each['text']}" if each["what"] == "cpe:" else each["text"]
        info.setdefault(_WHAT[each["what"]], text)
    if rest[at:].strip():
        raise PatternError(f"cannot read {rest[at:].strip()!r}")
    regex, relaxed = compile_rule(found["pattern"], Dialect.PCRE, ignore_case="i" in flags[0], dot_all="s" in flags[0])
    for text in info.values():
        _check(text, regex.groups)
    return ForeignRule(
        f"nmap:{number}", path, number, regex, relaxed, partial(_says, info), soft=found["kind"] is not None
    )


def _check(text: str, groups: int) -> None:
    """Refuse a text that asks for a capture there is not."""
    for put in _PUT.finditer(text):
        group = next(int(put[place]) for place in (1, 2, 3, 6) if put[place])
        if not 0 < group <= groups:
            raise PatternError(f"{put[0]} of {groups} captures")


def _says(info: dict[str, str], found: re2._Match) -> dict[str, str]:
    """Give the texts of a match, captures put in; what is then empty is left out."""
    said = {what: _PUT.sub(partial(_put, found), text).strip() for what, text in info.items()}
    if "cpe" in said:
        said["cpe"] = said["cpe"].lower().replace(" ", "_")
    return {what: text for what, text in said.items() if text}


def _put(found: re2._Match, put: re.Match[str]) -> str:
    plain, printable, replaced, old, new, number, order = put.groups()
    captured: bytes = found.group(int(plain or printable or replaced or number)) or b""
    if printable:
        return "".join(chr(byte) for byte in captured if 0x20 <= byte < 0x7F)  # noqa: PLR2004 - ASCII that is visible
    if number:
        return str(int.from_bytes(captured[:_LONGEST_NUMBER], "big" if order == ">" else "little"))
    text = text_of(captured)
    return text.replace(old, new) if replaced and old else text


def _software(rule: ForeignRule, said: dict[str, str]) -> Software | None:
    product = said.get("product")
    if product is None:
        return None
    if names.canonical(None, product).product == product:  # not in the table with nmap's addition
        product = product.removesuffix(" smtpd")
    return rule.names(Said(None, product, said.get("version"), said.get("os")), Evidence.GREETING)


def _lost(rule: ForeignRule, said: dict[str, str], winner: ForeignRule) -> str:
    if rule is winner:
        return "" if "product" in said else "names no product"
    if rule.soft and not winner.soft:
        return "a softmatch counts only where no match does"
    return f"comes after {winner.where}"
