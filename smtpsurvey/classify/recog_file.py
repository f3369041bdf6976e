"""Reads one of Recog's XML files, and holds each fingerprint to its own examples."""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler

import attrs
import defusedxml.sax  # type: ignore[import-untyped]  # it has no annotations
from defusedxml import DefusedXmlException

from smtpsurvey.classify.dialects import Dialect, PatternError
from smtpsurvey.classify.foreign import MAX_FILE, ForeignRule, Skipped, compile_rule
from smtpsurvey.classify.rules import RulesError

if TYPE_CHECKING:
    from pathlib import Path
    from xml.sax.xmlreader import AttributesImpl, Locator

    import re2

IGNORE_CASE = frozenset({"REG_ICASE"})
DOT_ALL = frozenset({"REG_DOT_NEWLINE", "REG_LINE_ANY_CRLF", "REG_MULTILINE"})  # Recog takes them for the same
DEFAULT_PREFERENCE = 0.1

_PLACEHOLDER = re.compile(r"\{([^\s{}]+)\}")


@attrs.define(eq=False)
class _Example:
    line: int
    expected: dict[str, str]
    text: str = ""


@attrs.define(eq=False)
class _Fingerprint:
    """A fingerprint as it is written; ``params`` are position, name and value."""

    line: int
    attributes: dict[str, str]
    params: list[tuple[int, str, str]] = attrs.field(factory=list)
    examples: list[_Example] = attrs.field(factory=list)


@attrs.frozen(eq=False)
class Database:
    """One file: ``key`` says which reply it reads, ``examples`` counts those that passed."""

    key: str
    preference: float
    rules: tuple[ForeignRule, ...]
    examples: int


def read_database(path: Path, data: bytes, skipped: list[Skipped]) -> Database:
    """Read a file; what RE2 cannot compile, or fails its own examples, goes to ``skipped``.

    Raises :class:`RulesError` for what is no file of Recog's: not XML, with a DTD or entities, another root.
    """
    reader = _Reader()
    try:
        defusedxml.sax.parseString(data, reader, forbid_dtd=True)
    except SAXParseException as error:
        raise RulesError(f"{path}:{error.getLineNumber()}: not XML: {error.getMessage()}") from None
    except DefusedXmlException as error:
        raise RulesError(f"{path}: refused, a file of Recog's has no DTD and no entities: {error!r}") from None
    except _FormatError as error:
        raise RulesError(f"{path}:{reader.line}: {error}") from None
    rules: list[ForeignRule] = []
    passed = 0
    for written in reader.fingerprints:
        try:
            rule = _rule(written, path, reader.attributes.get("protocol"))
            for example in written.examples:
                _prove(rule, example, path)
        except PatternError as error:
            skipped.append(Skipped(str(path), written.line, str(error)))
        else:
            rules.append(rule)
            passed += len(written.examples)
    return Database(
        reader.attributes.get("matches", path.stem),
        _number(reader.attributes.get("preference"), DEFAULT_PREFERENCE),
        tuple(rules),
        passed,
    )


class _FormatError(Exception):
    """What stands here does not belong into a file of Recog's."""


class _Reader(ContentHandler):
    """Collects fingerprints with their lines."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[str, str] = {}
        self.fingerprints: list[_Fingerprint] = []
        self._depth = 0
        self._text: list[str] | None = None
        self._locator: Locator

    def setDocumentLocator(self, locator: Locator) -> None:  # noqa: N802 - SAX's name
        self._locator = locator

    @property
    def line(self) -> int:
        return self._locator.getLineNumber() or 0

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 - SAX's name
        self._depth += 1
        given = dict(attrs.items())
        if self._depth == 1:
            if name != "fingerprints":
                raise _FormatError(f"the root is {name!r}, not 'fingerprints'")
            self.attributes = given
        elif name == "fingerprint":
            self.fingerprints.append(_Fingerprint(self.line, given))
        elif name in {"param", "example"} and not self.fingerprints:
            raise _FormatError(f"{name} stands outside of a fingerprint")
        elif name == "param":
            position = given.get("pos", "")
            if not re.fullmatch("[0-9]{1,3}", position) or not given.get("name"):
                raise _FormatError("a param needs pos, a number, and name")
            self.fingerprints[-1].params.append((int(position), given["name"], given.get("value", "")))
        elif name == "example":
            self.fingerprints[-1].examples.append(_Example(self.line, given))
            self._text = []

    def characters(self, content: str) -> None:
        if self._text is not None:
            self._text.append(content)

    def endElement(self, name: str) -> None:  # noqa: N802 - SAX's name
        self._depth -= 1
        if name == "example" and self._text is not None:
            self.fingerprints[-1].examples[-1].text = "".join(self._text)
            self._text = None


def _rule(written: _Fingerprint, path: Path, protocol: str | None) -> ForeignRule:
    pattern = written.attributes.get("pattern")
    if not pattern:
        raise PatternError("it has no pattern")
    flags = frozenset(re.findall(r"\w+", written.attributes.get("flags", "")))
    if unknown := flags - IGNORE_CASE - DOT_ALL:
        raise PatternError(f"unknown flag {min(unknown)}")
    regex, relaxed = compile_rule(
        pattern, Dialect.RUBY, ignore_case=bool(flags & IGNORE_CASE), dot_all=bool(flags & DOT_ALL)
    )
    if beyond := [position for position, *_ in written.params if position > regex.groups]:
        raise PatternError(f"param {beyond[0]} of {regex.groups} captures")
    fixed = {"service.protocol": protocol} if protocol else {}
    if "certainty" in written.attributes:
        fixed["service.certainty"] = written.attributes["certainty"]
    says = partial(_says, fixed, tuple(written.params))
    return ForeignRule(f"recog:{path.name}:{written.line}", str(path), written.line, regex, relaxed, says)


def _says(fixed: dict[str, str], params: tuple[tuple[int, str, str], ...], found: re2._Match) -> dict[str, str]:
    """Give the params of a match: constants, captures, and constants with captures put in."""
    said = dict(fixed)
    for position, name, value in params:
        if position == 0:
            said[name] = value
        elif captured := found.group(position):
            said[name] = captured.decode("utf-8", "replace")
    for position, name, value in params:
        if position == 0 and "{" in value:
            _put_in(said, name, value)
    return {name: value for name, value in said.items() if not name.startswith("_tmp.")}


def _put_in(said: dict[str, str], name: str, value: str) -> None:
    """Put captures into a constant; where one is missing a CPE says ``-`` and everything else is left out."""
    missing = any(wanted not in said for wanted in _PLACEHOLDER.findall(value))
    if missing and not name.endswith(".cpe23"):
        said.pop(name, None)
    else:
        said[name] = _PLACEHOLDER.sub(lambda wanted: said.get(wanted[1], "-"), value)


def _prove(rule: ForeignRule, example: _Example, path: Path) -> None:
    """Hold a rule to an example: it must match, and say what the example expects."""
    found = rule.regex.search(_text(example, path))
    if found is None:
        raise PatternError(f"its example in line {example.line} is not matched")
    said = rule.says(found)
    for name, expected in example.expected.items():
        if not name.startswith("_") and said.get(name) != expected:
            raise PatternError(f"its example in line {example.line} has {name} {said.get(name)!r}, not {expected!r}")


def _text(example: _Example, path: Path) -> bytes:
    """Give the text of an example, which may be in base64, or in a file of its own beside the XML."""
    name = example.expected.get("_filename")
    if name is not None:
        if PurePath(name).name != name:
            raise PatternError(f"its example in line {example.line} is outside of the folder {path.stem}")
        try:
            with (path.with_suffix("") / name).open("rb") as file:
                return file.read(MAX_FILE)
        except (OSError, ValueError) as error:
            raise PatternError(f"its example in line {example.line} cannot be read: {error}") from None
    if example.expected.get("_encoding") == "base64":
        try:
            return base64.b64decode("".join(example.text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise PatternError(f"its example in line {example.line} is not base64") from None
    return example.text.encode("utf-8", "replace")


def _number(text: str | None, default: float) -> float:
    try:
        return default if text is None else float(text)
    except ValueError:
        return default
