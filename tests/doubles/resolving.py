"""A resolver that knows a table, for tests of what asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from smtpsurvey.dns.answer import Answer
from smtpsurvey.kinds import DnsRecord
from smtpsurvey.outcomes import DnsOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping

NOON = 1_795_564_800.0
Table = dict[str, list[str]]
"""``name TYPE`` to values, each ``TYPE value`` or a value of the type asked for; to the name of an outcome alone."""

_RCODES = {DnsOutcome.OK: "NOERROR", DnsOutcome.NO_DATA: "NOERROR", DnsOutcome.NXDOMAIN: "NXDOMAIN"}


class TableResolver:
    """Answers from a table: ``no_data`` for other types of a name in it, ``nxdomain`` for the rest.

    ``later``: questions wait until :meth:`answer_all`.
    """

    def __init__(self, table: Mapping[str, list[str]], *, later: bool = False) -> None:
        self.asked: list[str] = []
        self.started = self.stopped = 0
        self._table = table
        self._names = {question.partition(" ")[0] for question in table}
        self._waiting: list[tuple[Deferred[Answer], Answer]] | None = [] if later else None

    def start(self) -> Deferred[None]:
        self.started += 1
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self.stopped += 1
        return succeed(None)

    def resolve(self, name: str, kind: str) -> Deferred[Answer]:
        self.asked.append(f"{name} {kind}")
        answer = self._answer(name, kind)
        if self._waiting is None:
            return succeed(answer)
        waiting: Deferred[Answer] = Deferred()
        self._waiting.append((waiting, answer))
        return waiting

    def answer_all(self) -> int:
        """Answer what is asked by now."""
        assert self._waiting is not None
        waiting, self._waiting = self._waiting, []
        for deferred, answer in waiting:
            deferred.callback(answer)
        return len(waiting)

    def _answer(self, name: str, kind: str) -> Answer:
        values = self._table.get(f"{name} {kind}")
        if values is None:
            return answer_of(name, kind, [], DnsOutcome.NO_DATA if name in self._names else DnsOutcome.NXDOMAIN)
        if values and values[0] in set(DnsOutcome):
            return answer_of(name, kind, values[1:], DnsOutcome(values[0]))
        return answer_of(name, kind, values)


def answer_of(name: str, kind: str, values: list[str], outcome: DnsOutcome = DnsOutcome.OK) -> Answer:
    """Make an answer; a value ``OWNER TTL TYPE VALUE`` is a whole record, any other one of the type asked for."""
    return Answer(
        name=name,
        type=kind,
        outcome=outcome,
        rcode=_RCODES.get(outcome),
        records=tuple(_record(name, kind, value) for value in values),
        server="192.0.2.53",
        ad=False,
        duration=0.25,
        time=NOON,
    )


def _record(name: str, kind: str, value: str) -> DnsRecord:
    parts = value.split(" ", 3)
    if len(parts) > 3 and parts[1].isdecimal():
        return DnsRecord(parts[0], parts[2], int(parts[1]), parts[3])
    return DnsRecord(name, kind, 60, value)
