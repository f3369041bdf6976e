"""Fingerprints as data: reads TOML rule files and refuses what is not well-formed.

A rule names one product by one RE2 pattern, or by several on different texts of the conversation,
all of which must match (``docs/usage/fingerprints.md``).
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import re2

from smtpsurvey.errors import SurveyError
from smtpsurvey.outcomes import Certainty

BUILTIN = "builtin"
NAMES, RELEASES = "names.toml", "releases.toml"
"""The files of ``data`` that hold no rules, but the tables of :mod:`smtpsurvey.classify.names`."""
CAPTURES = frozenset({"version", "host", "os", "edition"})
CONSTANTS = ("version", "os", "edition")
"""What a rule may say of all that it matches, in place of a capture."""


class RulesError(SurveyError):
    """A rule file that cannot be used; the message names file, rule and reason in one line."""


class Transcript(NamedTuple):
    r"""The texts of one conversation that rules read; an empty one was not seen, and matches no rule.

    ``greeting``, ``starttls_reply`` and ``quit`` are replies without codes, lines joined with
    ``\n``. ``ehlo`` is the first line of the reply to EHLO, or to HELO where EHLO was refused;
    ``extensions`` holds the keywords of its other lines in the order sent, one blank between,
    ``tls_extensions`` those of the EHLO inside TLS. ``certificate`` is subject, line feed, issuer.
    """

    greeting: str = ""
    ehlo: str = ""
    extensions: str = ""
    starttls_reply: str = ""
    quit: str = ""
    tls_extensions: str = ""
    certificate: str = ""


_Text = Annotated[str, msgspec.Meta(min_length=1)]


class Patterns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One text (or pattern) for each field of a :class:`Transcript`; ``None`` where there is none."""

    greeting: _Text | None = None
    ehlo: _Text | None = None
    extensions: _Text | None = None
    starttls_reply: _Text | None = None
    quit: _Text | None = None
    tls_extensions: _Text | None = None
    certificate: _Text | None = None

    def given(self) -> dict[str, str]:
        """Field to text, of those that are there, in the order of :class:`Transcript`."""
        texts = ((field, getattr(self, field)) for field in Transcript._fields)
        return {field: text for field, text in texts if text is not None}


class Example(Patterns, frozen=True, kw_only=True):
    """Texts that the rule must win, and exactly what it must capture from them."""

    version: str | None = None
    host: str | None = None
    os: str | None = None
    edition: str | None = None

    def transcript(self) -> Transcript:
        """Give the texts as the classifier takes them."""
        return Transcript(**self.given())

    def captures(self) -> dict[str, str]:
        """Capture name to expected text."""
        captures = ((name, getattr(self, name)) for name in sorted(CAPTURES))
        return {name: text for name, text in captures if text is not None}


class Rule(Patterns, frozen=True, kw_only=True):
    """One fingerprint. Where several match, the highest ``priority`` wins, then the one read first.

    ``certainty`` left out means ``certain`` for a rule on the greeting alone, ``likely`` for any other.
    """

    id: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]*$")]
    product: _Text
    vendor: _Text | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 100
    version: _Text | None = None
    os: _Text | None = None
    edition: _Text | None = None
    certainty: Literal["certain", "likely"] | None = None
    source: _Text
    examples: Annotated[tuple[Example, ...], msgspec.Meta(min_length=1)]

    @property
    def sure(self) -> Certainty:
        """How sure a verdict of this rule is, by itself."""
        if self.certainty is not None:
            return Certainty(self.certainty)
        return Certainty.CERTAIN if list(self.given()) == ["greeting"] else Certainty.LIKELY


class _RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...]


class Origin(NamedTuple):
    """A rule and the file it is from, for messages."""

    file: str
    rule: Rule

    def error(self, reason: object) -> RulesError:
        """Make an error that names file, rule and reason."""
        return RulesError(f"{self.file}: rule {self.rule.id}: {reason}")


def read_rules(source: str) -> list[Origin]:
    """Read the rules of ``builtin`` or of the TOML file at the path ``source``, each one checked by itself."""
    if source == BUILTIN:
        folder = files("smtpsurvey.classify") / "data"
        texts = {
            f"builtin {entry.name}": entry.read_bytes()
            for entry in folder.iterdir()
            if entry.name.endswith(".toml") and entry.name not in (NAMES, RELEASES)
        }
    else:
        try:
            texts = {source: Path(source).read_bytes()}
        except OSError as error:
            raise RulesError(f"{source}: cannot read the rules: {error.strerror}") from error
    return [origin for name in sorted(texts) for origin in parse_rules(name, texts[name])]


def parse_rules(file: str, data: bytes) -> list[Origin]:
    """Parse one rule file; ``file`` is the name that errors give."""
    try:
        table = tomllib.loads(data.decode())
        rules = msgspec.convert(table, _RuleFile).rules
    except UnicodeDecodeError as error:
        raise RulesError(f"{file}: not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"{file}: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise RulesError(f"{file}: {_name_rules(str(error), table)}") from error
    origins = [Origin(file, rule) for rule in rules]
    for origin in origins:
        _check(origin)
    return origins


def _name_rules(message: str, table: dict[str, object]) -> str:
    """Say the rule's id where msgspec says its place (``$.rules[3]``), if it has one."""
    rules = table.get("rules")
    for place, rule in enumerate(rules if isinstance(rules, list) else []):
        if isinstance(rule, dict) and f"$.rules[{place}]" in message:
            return f"rule {rule.get('id', f'number {place + 1}')}: {message.replace(f'$.rules[{place}]', '$')}"
    return message


def _check(origin: Origin) -> None:
    patterns = origin.rule.given()
    if not patterns:
        raise origin.error(f"it has no pattern: give one of {', '.join(Transcript._fields)}")
    names: list[str] = []
    for field, pattern in patterns.items():
        compiled = compile_pattern(origin, pattern)
        if compiled.groups != len(compiled.groupindex):
            raise origin.error(f"{field} has a group without a name: write (?:...) or (?P<version>...)")
        if compiled.search(b""):
            raise origin.error(f"{field} matches the empty text, so it would match everything")
        names += [name.decode() for name in compiled.groupindex]
    if unknown := set(names) - CAPTURES:
        raise origin.error(f"unknown capture {min(unknown)}: use {', '.join(sorted(CAPTURES))}")
    if len(names) != len(set(names)):
        raise origin.error("a capture is named twice")
    for name in CONSTANTS:
        if getattr(origin.rule, name) is not None and name in names:
            raise origin.error(f"it has both a constant {name} and one to capture")


def compile_pattern(origin: Origin, pattern: str) -> re2._Regexp:
    """Compile for matching UTF-8 bytes: RE2's linear time, no surprises from hostile text."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0]
        raise origin.error(
            f"RE2 cannot compile {pattern!r}: {reason.decode() if isinstance(reason, bytes) else reason}"
        ) from error
