"""Other people's rules: what Recog's and nmap's have in common, and the texts they read.

They are matched in the order of their files, first one wins, and say what they capture in a language of
their own. What a rule set is to the rest of the project is :class:`RuleSet`.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

import attrs
import re2

from smtpsurvey.classify import names
from smtpsurvey.classify.classifier import MAX_TEXT, SET_MEMORY
from smtpsurvey.classify.dialects import Dialect, compile_re2, encoded, options, translate
from smtpsurvey.classify.rules import RulesError
from smtpsurvey.items import Software
from smtpsurvey.outcomes import Certainty, Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from smtpsurvey.items import EhloItem, ReplyItem, SmtpItem

MAX_FILE = 64 << 20
"""Bytes of a file of rules."""
MAX_LINES = 64
"""Lines of a reply that rules see."""

# What ``smtp/reply.py`` writes for bytes that are not UTF-8.
_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")


class Skipped(NamedTuple):
    """A rule that is left out, where it is, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.file}:{self.line}: {self.reason}; left out"


class Contender(NamedTuple):
    """A rule that matched a conversation: its id, where it is written, on what it matched, what it captured.

    ``software`` is the name it gives (``None``: it gives none), ``lost`` why it did not decide, empty if it did.
    """

    rule: str
    where: str
    evidence: str
    captures: dict[str, str]
    software: Software | None
    lost: str = ""


class RuleSet(Protocol):
    """What names software: ``version`` changes with the rules, ``skipped`` lists those left out."""

    @property
    def version(self) -> str:
        """A hash of the rules."""

    @property
    def skipped(self) -> Sequence[Skipped]:
        """The rules that were left out."""

    def classify_item(self, item: SmtpItem) -> Software | None:
        """Name the software of an item, ``None`` when nothing is known. Verdicts are shared: do not change one."""

    def contenders(self, item: SmtpItem) -> list[Contender]:
        """List all rules that match, in the order in which they are asked; none or the first decides."""


class Said(NamedTuple):
    """What a rule says of the software, in its own set's names."""

    vendor: str | None
    product: str
    version: str | None = None
    os: str | None = None


@attrs.frozen(eq=False)
class ForeignRule:
    """One rule: ``says`` turns a match into names and texts, ``soft`` rules decide only where no other does."""

    id: str
    file: str
    line: int
    regex: re2._Regexp
    relaxed: bytes
    says: Callable[[re2._Match], dict[str, str]]
    soft: bool = False

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    def names(self, said: Said, evidence: Evidence) -> Software:
        """Give a verdict, in the names that all rule sets share."""
        name = names.canonical(said.vendor, said.product)
        edition, system = None, said.os
        if said.version is not None:
            edition = names.release(name.product, said.version)
            system = system or names.release(name.product, said.version, "os")
        return Software(
            name.vendor,
            name.product,
            said.version,
            self.id,
            evidence,
            edition,
            system and names.operating_system(system),
            names.cpe(name, said.version),
            Certainty.CERTAIN if evidence is Evidence.GREETING and not self.soft else Certainty.LIKELY,
        )


def version_of(files: Iterable[bytes]) -> str:
    """Make the hash of a rule set: of its files, and of the table of names that its verdicts go through."""
    return hashlib.sha256(b"".join([names.digest(), *files])).hexdigest()[:16]


def read_file(path: Path) -> bytes:
    """Read a file of rules. Raises :class:`RulesError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise RulesError(f"{path}: cannot read the rules: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_FILE:
        raise RulesError(f"{path}: larger than {MAX_FILE:,} bytes")
    return data


def compile_rule(
    pattern: str, dialect: Dialect, *, ignore_case: bool = False, dot_all: bool = False
) -> tuple[re2._Regexp, bytes]:
    """Compile a pattern, and make the relaxed one that finds candidates. Raises ``PatternError``."""
    regex = compile_re2(translate(pattern, dialect), dialect, ignore_case=ignore_case, dot_all=dot_all)
    relaxed = encoded(translate(pattern, dialect, relaxed=True), dialect)
    flags = ("i" if ignore_case else "") + ("s" if dot_all else "")
    return regex, b"(?%s)%s" % (flags.encode(), relaxed) if flags else relaxed


class OrderedRules:
    """Rules on one text, all looked for at once; those that match come in their order."""

    def __init__(self, rules: Sequence[ForeignRule], dialect: Dialect) -> None:
        """Make one RE2 set of their relaxed patterns."""
        self._rules = rules
        chosen = options(dialect)
        chosen.max_mem = SET_MEMORY
        self._set = re2.Set.SearchSet(chosen)
        for rule in rules:
            self._set.Add(rule.relaxed)
        try:
            self._set.Compile()
        except re2.error as error:
            raise RulesError(f"{rules[0].file}: its patterns together are too large for one RE2 set") from error

    def matches(self, text: bytes) -> Iterator[tuple[ForeignRule, re2._Match]]:
        """Give each rule that matches, with its match."""
        for index in sorted(self._set.Match(text) or ()):
            found = self._rules[index].regex.search(text)
            if found is not None:
                yield self._rules[index], found


def lines_of(reply: ReplyItem | EhloItem | None, *, codes: bool) -> list[bytes]:
    """Give the first lines of a reply, of :data:`MAX_TEXT` characters, without line ends; with ``codes`` as sent."""
    if reply is None:
        return []
    *lines, last = reply.text[:MAX_TEXT].encode("utf-8", "replace").split(b"\n")[:MAX_LINES]
    if not codes or reply.code is None:
        return [*lines, last]
    return [*(b"%03d-%s" % (reply.code, line) for line in lines), b"%03d %s" % (reply.code, last)]


def bytes_of(reply: ReplyItem | None) -> bytes:
    r"""Give a reply as it came, code and CRLF restored, and the bytes that are ``\xNN`` in its text.

    Made of the text alone, so that a stored observation gets the verdict that it got when it was made.
    """
    return b"".join([_ESCAPED.sub(_byte, line) + b"\r\n" for line in lines_of(reply, codes=True)])


def _byte(escaped: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escaped[1].decode())
