"""TLSA records: how an answer is judged, and that each name is asked for once."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from doubles.resolving import TableResolver, answer_of

from smtpsurvey.dns import tlsa
from smtpsurvey.dns.tlsa import Published, TlsaRecords, published_by
from smtpsurvey.outcomes import Dane, DnsOutcome
from smtpsurvey.smtp.dane import Tlsa

HOST, OWNER = "mx.example.org", "_25._tcp.mx.example.org"
RECORD = f"{OWNER} 60 TLSA 3 1 1 {'ab' * 32}"


def published(values: list[str], outcome: DnsOutcome = DnsOutcome.OK, *, ad: bool | None = True) -> Published:
    return published_by(attrs.evolve(answer_of(OWNER, "TLSA", values, outcome), ad=ad))


def test_records_that_were_validated_are_to_be_compared() -> None:
    found = published([RECORD, "nonsense", RECORD])
    assert (found.verdict, found.records) == (None, (Tlsa(3, 1, 1, b"\xab" * 32),) * 2)
    assert found.judge([], []) is Dane.NOT_MEASURED


def test_records_behind_an_alias_count() -> None:
    found = published([f"{OWNER} 60 CNAME tlsa.example.org.", RECORD.replace(OWNER, "tlsa.example.org")])
    assert len(found.records) == 1


@pytest.mark.parametrize("outcome", list(DnsOutcome))
def test_without_records_the_outcome_decides(outcome: DnsOutcome) -> None:
    verdict = published([], outcome).verdict
    if outcome in {DnsOutcome.NXDOMAIN, DnsOutcome.NO_DATA}:
        assert verdict is Dane.NONE
    else:
        assert verdict is (None if outcome is DnsOutcome.OK else Dane.NOT_MEASURED)


def test_records_that_nobody_validated_are_insecure() -> None:
    for ad in (False, None):
        found = published([RECORD], ad=ad)
        assert (found.verdict, found.judge([b"x"], [HOST])) == (Dane.INSECURE, Dane.INSECURE)


class Asking:
    """Records that are asked for, with a resolver that answers later."""

    def __init__(self, table: dict[str, list[str]]) -> None:
        self.resolver = TableResolver(table, later=True)
        self.records = TlsaRecords(self.resolver)  # type: ignore[arg-type]  # the part that is used
        self.given: list[Published] = []

    def ask(self, name: str = HOST, port: int = 25) -> None:
        self.records.of(name, port).addCallback(self.given.append)


def test_a_name_is_asked_for_once_however_it_is_written() -> None:
    asking = Asking({f"{OWNER} TLSA": [RECORD]})
    asking.ask()
    asking.ask("MX.example.org")
    assert asking.given == []
    asking.resolver.answer_all()
    asking.ask()
    asking.ask(port=26)
    assert asking.resolver.asked == [f"{OWNER} TLSA", "_26._tcp.mx.example.org TLSA"]
    assert [found.verdict for found in asking.given] == [Dane.INSECURE] * 3  # the resolver of the test says no AD


def test_what_got_no_answer_is_asked_for_again() -> None:
    asking = Asking({f"{OWNER} TLSA": ["servfail"]})
    for _ in range(2):
        asking.ask()
        asking.resolver.answer_all()
    assert asking.resolver.asked == [f"{OWNER} TLSA"] * 2
    assert [found.verdict for found in asking.given] == [Dane.NOT_MEASURED] * 2


def test_the_names_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlsa, "KEPT", 2)
    asking: Any = Asking({})
    for name in ("a.example", "b.example", "a.example", "c.example", "a.example", "b.example"):
        asking.ask(name)
        asking.resolver.answer_all()
    assert [question.split()[0][9:] for question in asking.resolver.asked] == [
        "a.example",
        "b.example",
        "c.example",
        "b.example",
    ]
