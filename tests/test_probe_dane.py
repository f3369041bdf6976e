"""DANE after the probe: what waits for DNS, what does not, and that nothing is lost at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from doubles.resolving import TableResolver
from twisted.internet.defer import Deferred

from smtpsurvey.dns.tlsa import TlsaRecords
from smtpsurvey.items import Observation, SmtpItem, Target
from smtpsurvey.outcomes import Dane, Outcome, StartTls
from smtpsurvey.probe import dane as dane_module
from smtpsurvey.probe.dane import DaneCheck
from smtpsurvey.smtp.tls import TlsFacts

if TYPE_CHECKING:
    import pytest

NAMED = Target("192.0.2.1", name="mx.example.org")
FACTS = TlsFacts("TLSv1.3", "C", (b"a",), ("ab" * 32,))


class Checked:
    """What a check was given and what it let go on; DNS answers when it is told to."""

    def __init__(self) -> None:
        self.recorded: list[Observation] = []
        self.resolver = TableResolver({}, later=True)
        records = TlsaRecords(self.resolver)  # type: ignore[arg-type]  # the part that is used
        self.check = DaneCheck(records, self.recorded.append)

    def see(self, target: Target, tls: TlsFacts | None) -> Observation:
        seen = Observation(target, 0.0, 0.1, Outcome.OK, starttls=StartTls.OK, tls=tls)
        self.check(seen)
        return seen


def test_without_tls_nothing_is_asked_and_the_fact_is_as_it_was() -> None:
    checked = Checked()
    assert checked.recorded == [checked.see(NAMED, None)]
    assert checked.resolver.asked == []


def test_without_a_name_nothing_is_asked() -> None:
    checked = Checked()
    checked.see(Target("192.0.2.1"), FACTS)
    assert [seen.dane for seen in checked.recorded] == [Dane.NOT_MEASURED]
    assert checked.resolver.asked == []


def test_a_named_server_waits_for_the_answer_about_its_port() -> None:
    checked = Checked()
    seen = checked.see(Target("192.0.2.1", 2525, "mx.example.org"), FACTS)
    assert checked.recorded == []
    checked.resolver.answer_all()
    (judged,) = checked.recorded
    assert (judged.target, judged.tls, judged.dane) == (seen.target, FACTS, Dane.NONE)
    assert checked.resolver.asked == ["_2525._tcp.mx.example.org TLSA"]
    tls = SmtpItem.from_observation(judged, "now").tls
    assert tls is not None
    assert tls.dane == "none"


def test_the_end_waits_for_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dane_module, "maybe_deferred_to_future", lambda waiting: waiting)
    checked = Checked()
    for _ in range(3):
        checked.see(NAMED, FACTS)
    ended = Deferred.fromCoroutine(checked.check.end())
    assert not ended.called
    checked.resolver.answer_all()
    assert ended.called
    assert len(checked.recorded) == 3


def test_when_nothing_waits_the_end_is_at_once() -> None:
    assert Deferred.fromCoroutine(Checked().check.end()).called


def test_too_many_that_wait_hold_back_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dane_module, "MAX_WAITING", 1)
    checked = Checked()
    checked.see(NAMED, FACTS)
    assert not checked.check.must_wait
    checked.see(NAMED, FACTS)
    assert checked.check.must_wait
    checked.resolver.answer_all()
    assert not checked.check.must_wait
