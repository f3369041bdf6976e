"""The documented JSON Schema of an item: the fields of items.py, the values of outcomes.py, and real items."""

from __future__ import annotations

import inspect
import json
import re
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import certifi
import msgspec
import pytest
from jsonschema import Draft202012Validator
from servers.certificate import make_certificate

from smtpsurvey import outcomes
from smtpsurvey.items import Interruption, Observation, SmtpItem, Software, Target
from smtpsurvey.outcomes import Flag, Outcome, Stage, StartTls, Trouble
from smtpsurvey.smtp.capabilities import extensions
from smtpsurvey.smtp.certificate import Examiner, matches_name
from smtpsurvey.smtp.reply import Limits, Reply, ReplyReader, unfinished
from smtpsurvey.smtp.tls import TlsFacts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
SCHEMA: dict[str, Any] = json.loads((REFERENCE / "item.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
# Which closed list a text field of an item is from.
LISTS = {
    ("SmtpItem", "outcome"): "Outcome",
    ("SmtpItem", "reason"): "Reason",
    ("SmtpItem", "starttls"): "StartTls",
    ("SmtpItem", "flags"): "Flag",
    ("Interruption", "stage"): "Stage",
    ("Interruption", "reason"): "Trouble",
    ("TlsItem", "error"): "TlsError",
    ("TlsItem", "trust_error"): "TrustError",
    ("TlsItem", "staple"): "Staple",
    ("TlsItem", "dane"): "Dane",
    ("SecondTlsItem", "offers"): "TlsSecond",
    ("SecondTlsItem", "error"): "TlsError",
    ("Software", "evidence"): "Evidence",
    ("Software", "certainty"): "Certainty",
}
ENUMS: dict[str, type[StrEnum]] = {name: getattr(outcomes, name) for name in LISTS.values()}
JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def classes(kind: type) -> Iterator[type]:
    """Go through a class of items and those of its fields."""
    yield kind
    names = {name for field in attrs.fields(kind) for name in re.findall(r"\w+", str(field.type))}
    modules = sys.modules[kind.__module__]
    for name in sorted(names):
        inner = getattr(modules, name, None)
        if inspect.isclass(inner) and attrs.has(inner):
            yield from classes(inner)


ITEM_CLASSES = list(dict.fromkeys(classes(SmtpItem)))
FIELDS = [(kind, field) for kind in ITEM_CLASSES for field in attrs.fields(kind)]


def of_class(kind: type) -> dict[str, Any]:
    return SCHEMA if kind is SmtpItem else SCHEMA["$defs"][kind.__name__]


def alternatives(schema: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Give the JSON types and the definitions that a field may be of."""
    parts = schema.get("anyOf", [schema])
    types: set[str] = set()
    for part in parts:
        given = part.get("type", [])
        types.update([given] if isinstance(given, str) else given)
    return types, {part["$ref"].removeprefix("#/$defs/") for part in parts if "$ref" in part}


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("kind", ITEM_CLASSES, ids=lambda kind: kind.__name__)
def test_schema_and_items_have_the_same_fields(kind: type) -> None:
    schema = of_class(kind)
    assert list(schema["properties"]) == [field.name for field in attrs.fields(kind)]
    assert schema["additionalProperties"] is False
    assert schema["required"] == [field.name for field in attrs.fields(kind) if "None" not in str(field.type)]


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=lambda part: getattr(part, "name", None) or part.__name__)
def test_schema_and_items_have_the_same_types(kind: type, field: attrs.Attribute[Any]) -> None:
    schema = of_class(kind)["properties"][field.name]
    types, definitions = alternatives(schema)
    parts = [part.strip() for part in str(field.type).split("|")]
    assert ("null" in types) is ("None" in parts)
    (real,) = [part for part in parts if part != "None"]
    closed = LISTS.get((kind.__name__, field.name))
    if real in JSON_TYPES:
        assert (types - {"null"}, definitions) == ((set(), {closed}) if closed else ({JSON_TYPES[real]}, set()))
    elif real == "list[str]":
        assert types - {"null"} == {"array"}
        assert schema["items"].get("$ref") == (f"#/$defs/{closed}" if closed else None)
    elif real == "dict[str, str]":
        assert types - {"null"} == {"object"}
        assert schema["additionalProperties"] == {"type": "string"}
    else:
        assert (types - {"null"}, definitions) == (set(), {real})


@pytest.mark.parametrize("name", ENUMS)
def test_schema_and_outcomes_have_the_same_values(name: str) -> None:
    schema = SCHEMA["$defs"][name]
    lists = [part["enum"] for part in schema.get("anyOf", [schema]) if "enum" in part] or [schema["examples"]]
    assert lists == [[str(value) for value in ENUMS[name]]]


def test_the_schema_defines_nothing_else() -> None:
    assert SCHEMA["$defs"].keys() == ENUMS.keys() | {kind.__name__ for kind in ITEM_CLASSES if kind is not SmtpItem}


def reply(data: bytes) -> Reply:
    reader = ReplyReader(Limits())
    reader.feed(data)
    read_reply = reader.next_reply()
    assert read_reply is not None
    return read_reply


TARGET = Target("2001:db8::25", 25, "mx.test.example", "tag", "list.txt", 7, 64500, "2001:db8::/32", "DE")
EHLO = reply(b"250-mx.test.example\r\n250-SIZE 1000\r\n250 STARTTLS\r\n")


def observed(outcome: Outcome, **facts: Any) -> Observation:
    return Observation(TARGET, 1_795_000_000.25, 0.125, outcome, **facts)


@pytest.fixture(scope="module")
def handshake(tmp_path_factory: pytest.TempPathFactory) -> TlsFacts:
    """Give the facts of a handshake with a certificate that is examined as any other."""
    made = make_certificate(tmp_path_factory.mktemp("tls"))
    der = ssl.PEM_cert_to_DER_cert(made.certificate.read_text("ascii"))
    chain = Examiner(certifi.where()).chain((der,))
    return TlsFacts(
        "TLSv1.3",
        "TLS_AES_256_GCM_SHA384",
        (der,),
        chain.hashes,
        chain.certificate,
        chain.trusted,
        chain.trust_error,
        matches_name(chain.leaf, "mx.test.example"),
        stray_plaintext=b"250 stray\r\n",
    )


def whole(handshake: TlsFacts) -> Observation:
    return observed(
        Outcome.OK,
        greeting=reply(b"220-mx.test.example\r\n221 \xff\x00\r\n"),
        ehlo=EHLO,
        extensions=extensions(EHLO.lines),
        starttls=StartTls.OK,
        starttls_reply=reply(b"220 2.0.0 go\r\n"),
        tls=handshake,
        tls_ehlo=EHLO,
        quit=reply(b"221 2.0.0 Bye\r\n"),
        flags=(Flag.MIXED_CODES, Flag.EARLY_REPLY),
    )


def line(seen: Observation, software: Software | None = None) -> dict[str, Any]:
    """Give an item as a feed has it."""
    item = SmtpItem.from_observation(seen, "2026-11")
    item.software = software
    return json.loads(msgspec.json.encode(item))


def test_a_whole_item_validates(handshake: TlsFacts) -> None:
    VALIDATOR.validate(line(whole(handshake), Software("Postfix", "Postfix", None, "postfix", "greeting")))


@pytest.mark.parametrize(
    "facts",
    [
        *({"outcome": outcome} for outcome in (Outcome.SILENT, Outcome.CLOSED, Outcome.RESET, Outcome.REFUSED)),
        *({"outcome": outcome} for outcome in (Outcome.UNREACHABLE, Outcome.TIMEOUT)),
        {"outcome": Outcome.NOT_SMTP, "greeting": unfinished(b"HTTP/1.1 400\r\n"), "starttls": StartTls.NOT_ASKED},
        {"outcome": Outcome.TOO_SLOW, "greeting": unfinished(b"220-")},
        {"outcome": Outcome.OVERSIZE, "greeting": unfinished(b"220 " + b"x" * 5000)},
        {"outcome": Outcome.EXCLUDED, "reason": "opt-out"},
        {"outcome": Outcome.EXCLUDED, "reason": "a word of a pipeline"},
        {"outcome": Outcome.LOCAL_ERROR, "reason": "ENETUNREACH"},
        {"outcome": Outcome.OK, "greeting": reply(b"554 no\r\n"), "quit": reply(b"221 \n")},
        *(
            {"outcome": Outcome.OK, "greeting": reply(b"220\r\n"), "interrupted": Interruption(stage, trouble)}
            for stage in Stage
            for trouble in Trouble
        ),
        *(
            {
                "outcome": Outcome.OK,
                "greeting": reply(b"220 a\n"),
                "starttls": StartTls.FAILED,
                "tls": TlsFacts(error=error),
            }
            for error in (*outcomes.TlsError, "alert:handshake_failure", "other:words")
        ),
    ],
    ids=lambda facts: str(facts["outcome"]),
)
def test_items_of_every_outcome_validate(facts: dict[str, Any]) -> None:
    VALIDATOR.validate(line(observed(**facts)))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("outcome", "fine"),
        ("outcome", "refused"),  # with a greeting
        ("greeting", None),
        ("starttls", False),
        ("reason", "none"),
        ("flags", ["odd"]),
        ("flags", []),
        ("ip", "192.0.2.256"),
        ("port", 0),
        ("time", "2026-11-25 01:02:03"),
        ("extra", 1),
        ("tls.trusted", "no"),
        ("tls.trust_error", "old"),
        ("tls.version", None),
        ("tls.certificate", None),
        ("tls.chain", []),
        ("software.evidence", "hearsay"),
    ],
)
def test_what_no_item_can_be_does_not_validate(handshake: TlsFacts, path: str, wrong: object) -> None:
    item = line(whole(handshake), Software("Postfix", "Postfix", None, "postfix", "greeting"))
    *parents, name = path.split(".")
    place = item
    for parent in parents:
        place = place[parent]
    place[name] = wrong
    assert not VALIDATOR.is_valid(item)
