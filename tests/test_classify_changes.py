from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from smtpsurvey.classify import changes
from smtpsurvey.classify.changes import EXAMPLES, MAX_TEXT, Change, Changes
from smtpsurvey.items import ReplyItem, SmtpItem, Software

if TYPE_CHECKING:
    import pytest

FIELDS = ("vendor", "product", "version", "rule")


def seen(number: int, software: Software | None = None, greeting: str | None = "x") -> SmtpItem:
    item = SmtpItem("s", f"192.0.2.{number}", 25, None, None, None, "t", 0.1, "ok", software=software)
    item.greeting = None if greeting is None else ReplyItem(220, greeting)
    return item


def software(product: str, version: str | None = None, rule: str = "r") -> Software:
    return Software(product, product, version, rule, "greeting")


def kinds(found: Changes) -> list[tuple[object, ...]]:
    return [(*change.key, change.count) for change in found.ranked()]


def test_changes_are_counted_by_product_and_for_one_product_by_what_changed() -> None:
    found = Changes()
    found.add([(seen(1), software("Exim"))], FIELDS)
    found.add([(seen(number, software("Exim")), None) for number in range(2, 5)], FIELDS)
    found.add(
        [
            (seen(5, software("Exim", "4.9")), software("Exim", "4.96", "other")),
            (seen(6, software("Exim", "4.8")), software("Exim", "4.97", "other")),
            (seen(7, software("Exim")), software("Exim", rule="other")),
            (seen(8, software("Exim", "1")), software("Postfix", "3")),
        ],
        FIELDS,
    )
    assert kinds(found) == [
        ("Exim", None, (), 3),
        ("Exim", "Exim", ("version", "rule"), 2),
        ("Exim", "Exim", ("rule",), 1),
        ("Exim", "Postfix", (), 1),
        (None, "Exim", (), 1),
    ]
    assert found.total == 8
    first = found.ranked()[1].examples[0]
    assert (first.ip, first.port, first.greeting, first.before, first.after) == (
        *("192.0.2.5", 25, "x"),
        *("Exim 4.9", "Exim 4.96"),
    )


def test_examples_are_few_and_short() -> None:
    found = Changes()
    found.add([(seen(number, greeting="y" * 3000), software("p" * 3000)) for number in range(9)], FIELDS)
    found.add([(seen(9, greeting=None, software=software("Exim")), None)], FIELDS)
    many, one = found.ranked()
    assert (many.count, len(many.examples)) == (9, EXAMPLES)
    assert {len(each.greeting) for each in many.examples} == {MAX_TEXT}
    assert len(str(many.after)) == MAX_TEXT
    assert one.examples[0].greeting == ""


def test_changes_of_two_databases_add_up() -> None:
    one, other = Changes(others=1), Changes(others=2)
    one.add([(seen(number), software("Exim")) for number in range(2)], FIELDS)
    other.add([(seen(number), software("Exim")) for number in range(2, 5)], FIELDS)
    other.add([(seen(5), software("Postfix"))], FIELDS)
    one.merge(other)
    assert kinds(one) == [(None, "Exim", (), 5), (None, "Postfix", (), 1)]
    assert [each.ip for each in one.ranked()[0].examples] == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    assert one.others == 3


def test_kinds_are_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_KINDS", 3)
    found, more = Changes(), Changes()
    found.add([(seen(number), software(f"made up {number}")) for number in range(5)], FIELDS)
    found.add([(seen(6), software("made up 0"))], FIELDS)
    assert (len(found.kinds), found.others, found.total) == (3, 2, 6)
    more.add([(seen(number), software(f"other {number}")) for number in range(2)], FIELDS)
    found.merge(more)
    assert (len(found.kinds), found.total) == (3, 8)


def test_changes_survive_as_json() -> None:
    found = Changes()
    found.add([(seen(1, greeting="\x1b\x00é"), software("Exim"))], FIELDS)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Changes) == found
    assert Changes().kinds is not Changes().kinds
    assert Change(None, None, ()).examples is not Change(None, None, ()).examples
