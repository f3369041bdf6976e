"""Two rule sets on the same observations: what is counted, and what is shown."""

from __future__ import annotations

from smtpsurvey.classify.compare import Pair, Relation, compare
from smtpsurvey.classify.session import item_of_greeting
from smtpsurvey.items import SmtpItem, Software
from smtpsurvey.outcomes import Outcome


class Said:
    """A rule set that says of a server what a table has under its greeting."""

    version, skipped = "1", ()

    def __init__(self, **named: Software) -> None:
        self._named = named

    def classify_item(self, item: SmtpItem) -> Software | None:
        return self._named.get(item.greeting.text) if item.greeting else None

    def contenders(self, _item: SmtpItem) -> list[object]:
        return []


def item(greeting: str, ip: str = "192.0.2.1") -> SmtpItem:
    made = item_of_greeting(greeting)
    made.ip = ip
    return made


POSTFIX, EXIM = Software("Postfix", "Postfix"), Software("Exim", "Exim", "4.97")


def test_each_server_that_answered_is_counted_once_by_what_the_two_say() -> None:
    a = Said(same=POSTFIX, version=EXIM, different=POSTFIX, only=EXIM, case=Software(None, "exim", "4.97"))
    b = Said(same=POSTFIX, version=Software(None, "Exim"), different=EXIM, other=POSTFIX, case=EXIM)
    silent = item("same")
    silent.outcome = Outcome.SILENT
    bare = item("x")
    bare.greeting = None
    items = [
        item("neither"), item("same"), item("version"), item("only"), item("other"), item("different", "192.0.2.7"),
        item("different", "192.0.2.8"), item("case"), silent, bare,
    ]  # fmt: skip
    found = compare(a, b, iter(items))
    assert found.observations == 9
    assert found.counts == {
        Relation.NEITHER: 2,
        Relation.SAME: 2,
        Relation.VERSION: 1,
        Relation.ONLY_A: 1,
        Relation.ONLY_B: 1,
        Relation.DIFFERENT: 2,
    }
    assert [(row.pair, row.count, row.ip, row.greeting) for row in found.rows] == [
        (Pair(Relation.DIFFERENT, "Postfix", "Exim"), 2, "192.0.2.7", "different"),
        (Pair(Relation.VERSION, "Exim 4.97", "Exim"), 1, "192.0.2.1", "version"),
        (Pair(Relation.ONLY_A, "Exim", None), 1, "192.0.2.1", "only"),
        (Pair(Relation.ONLY_B, None, "Postfix"), 1, "192.0.2.1", "other"),
    ]


def test_a_server_without_greeting_can_be_an_example() -> None:
    bare = item("x")
    bare.greeting = None

    class Always(Said):
        def classify_item(self, item: SmtpItem) -> Software:  # noqa: ARG002 - whatever it is
            return POSTFIX

    (row,) = compare(Always(), Said(), [bare]).rows
    assert (row.pair.relation, row.greeting) == (Relation.ONLY_A, "")


def test_nothing_compared_is_nothing_counted() -> None:
    found = compare(Said(), Said(), [])
    assert (found.observations, found.counts, found.rows) == (0, {}, [])
