"""The connections to one address: a second one where the surveyor allows it and may learn something by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from smtpsurvey.items import Observation, SecondHandshake
from smtpsurvey.outcomes import StartTls, TlsSecond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smtpsurvey.items import Target
    from smtpsurvey.probe.protocol import Probe

_DEPRECATED = frozenset(("TLSv1", "TLSv1.1"))


class Connections:
    """Called with each observation: one that has a question left is held back until a second connection answers it.

    ``again(target)`` takes the target once more, past the gate as any other; :meth:`probe` then gives the other probe.
    """

    def __init__(
        self,
        record: Callable[[Observation], None],
        again: Callable[[Target], None],
        probes: Sequence[Probe],
        second: TlsSecond | None,
    ) -> None:
        """Know the ``probes`` of a first and a second connection, and what the ``second`` offers (``None``: none)."""
        self._record = record
        self._again = again
        self._probes = probes
        self._second = second
        self._first: dict[Target, Observation] = {}

    def __call__(self, seen: Observation) -> None:
        """Take the first observation of a target, or the second."""
        first = self._first.pop(seen.target, None)
        if first is not None:
            self._record(self._joined(first, seen))
        elif self._asks(seen):
            self._first[seen.target] = seen
            self._again(seen.target)
        else:
            self._record(seen)

    def probe(self, target: Target) -> Probe:
        """Give the probe of a target's next connection."""
        return self._probes[target in self._first]

    async def end(self) -> None:
        """Record what waits for a second connection that there will not be."""
        waiting, self._first = self._first, {}
        for first in waiting.values():
            self._record(first)

    def _asks(self, seen: Observation) -> bool:
        """Tell whether a second handshake may show what the first did not."""
        facts = seen.tls
        if facts is None or self._second is None:
            return False
        if self._second is TlsSecond.NO_NAME:
            return seen.starttls is StartTls.OK and facts.sni is True
        return facts.version not in _DEPRECATED  # also where all versions together came to nothing

    def _joined(self, first: Observation, seen: Observation) -> Observation:
        if seen.tls is None or self._second is None:
            return first
        return attrs.evolve(first, second=SecondHandshake(self._second, seen.tls))
