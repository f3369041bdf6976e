"""Domains for the prober: items, targets, each address once, and what is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from doubles.resolving import TableResolver

from smtpsurvey.admission.exclusions import Exclusions
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE
from smtpsurvey.dns.exchanges import Exchanges
from smtpsurvey.dns.lines import ListedName, shard_of_name
from smtpsurvey.dns.mx import MailExchanges
from smtpsurvey.probe.domains import DomainEntries
from smtpsurvey.probe.ledger import Ledger, Mark

if TYPE_CHECKING:
    from smtpsurvey.items import Target
    from smtpsurvey.kinds import MxItem

ZONE = {
    "one.example MX": ["10 mx1.example.", "20 mx2.example."],
    "two.example MX": ["10 mx1.example.", "20 mx3.example."],
    "own.example A": ["8.8.8.1", "8.8.8.9"],
    "null.example MX": ["0 ."],
    "odd.example MX": ["10 192.0.2.1.", "20 localhost."],
    "mx1.example A": ["8.8.8.1"],
    "mx1.example AAAA": ["2600::1"],
    "mx2.example A": ["8.8.8.2"],
    "mx3.example A": ["8.8.8.3"],
}
DOMAINS = ["one.example", "two.example", "own.example", "null.example", "odd.example", "none.example"]


class Run:
    """A list of domains worked off."""

    def __init__(
        self, *, ledger: Ledger | None = None, shard: tuple[int, int] | None = None, later: bool = False
    ) -> None:
        self.resolver = TableResolver(ZONE, later=later)
        exchanges = Exchanges(self.resolver, Exclusions(SPECIAL_PURPOSE), 1 << 20)  # type: ignore[arg-type]  # the part that is used
        mail = MailExchanges(self.resolver, exchanges, "s", "list")  # type: ignore[arg-type]  # as above
        self.items: list[MxItem] = []
        self.targets: list[Target] = []
        self.failures: list[Any] = []
        self.entries = DomainEntries(mail, self.items.append, 2525, ledger, shard)

    def run(self, names: list[str]) -> Run:
        for looking in self.entries(iter([ListedName(name, n) for n, name in enumerate(names)])):
            looking.addCallbacks(self.targets.extend, self.failures.append)
        return self

    def addresses(self) -> list[tuple[str, str | None, int]]:
        return [(target.ip, target.name, target.position) for target in self.targets]


def test_each_address_once_under_the_name_of_its_exchange() -> None:
    run = Run().run(DOMAINS)
    assert run.addresses() == [
        ("8.8.8.1", "mx1.example", 0),
        ("2600::1", "mx1.example", 0),
        ("8.8.8.2", "mx2.example", 0),
        ("8.8.8.3", "mx3.example", 1),
        ("8.8.8.9", "own.example", 2),
    ]
    assert {(target.port, target.source, target.tag) for target in run.targets} == {(2525, "mx", None)}
    assert [target.domain for target in run.targets] == [*["one.example"] * 3, "two.example", "own.example"]
    assert [(item.domain, item.outcome, item.position) for item in run.items] == [
        ("one.example", "ok", 0),
        ("two.example", "ok", 1),
        ("own.example", "ok", 2),
        ("null.example", "ok", 3),
        ("odd.example", "ok", 4),
        ("none.example", "nxdomain", 5),
    ]


def test_a_domain_is_done_when_its_item_is_stored_and_its_probes_are() -> None:
    ledger = Ledger()
    run = Run(ledger=ledger).run(DOMAINS)
    assert ledger.mark() == Mark(6, [0, 1, 2, 3, 4, 5])
    for item in run.items:
        assert item.position is not None
        ledger.done(item.position)
    assert ledger.mark() == Mark(6, [0, 1, 2])
    for target in run.targets[:-1]:
        ledger.done(target.position)
    assert ledger.mark() == Mark(6, [2])
    assert Run(ledger=Ledger(ledger.mark())).run(DOMAINS).addresses() == [
        ("8.8.8.1", "own.example", 2),
        ("8.8.8.9", "own.example", 2),
    ]


def test_shards_probe_each_address_once_and_keep_each_item_once() -> None:
    whole = Run().run(DOMAINS)
    ledgers = [Ledger() for _ in range(3)]
    parts = [Run(ledger=ledger, shard=(n, 3)).run(DOMAINS) for n, ledger in enumerate(ledgers)]
    assert sorted(target.ip for part in parts for target in part.targets) == sorted(t.ip for t in whole.targets)
    assert sorted(item.domain for part in parts for item in part.items) == sorted(DOMAINS)
    for number, (part, ledger) in enumerate(zip(parts, ledgers, strict=True)):
        assert all(shard_of_name(item.domain, 3) == number for item in part.items)
        for each in (*part.items, *part.targets):
            assert each.position is not None
            ledger.done(each.position)
        assert ledger.mark().open == []


def test_what_is_in_flight_at_the_end_makes_no_item_and_stays_open() -> None:
    ledger = Ledger()
    run = Run(ledger=ledger, later=True).run(["one.example", "two.example"])
    run.resolver.answer_all()  # MX; the addresses are being asked for
    run.entries.stop()
    while run.resolver.answer_all():
        pass
    assert (run.items, run.targets) == ([], [])
    assert ledger.mark() == Mark(2, [0, 1])
