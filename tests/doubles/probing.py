"""What probes need, over a clock that stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsurvey.admission.gate import Gate
from smtpsurvey.probe.prober import Prober
from smtpsurvey.probe.protocol import Probe, Timeouts
from smtpsurvey.smtp.conversation import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from doubles.clock import StillReactor

    from smtpsurvey.admission.gate import Hook
    from smtpsurvey.items import Observation, Target
    from smtpsurvey.smtp.reply import Limits
    from smtpsurvey.smtp.tls import TlsClient

NOON = 1_795_564_800.0


def make_probe(
    reactor: StillReactor,
    *,
    timeouts: Timeouts | None = None,
    tls: TlsClient | None = None,
    limits: Limits | None = None,
) -> Probe:
    script = Script.make("survey.test.example", starttls=tls is not None, limits=limits)
    return Probe(script, tls, timeouts or Timeouts(), reactor.seconds, lambda: NOON)


def make_prober(
    reactor: StillReactor,
    record: Callable[[Observation], None],
    *,
    hooks: Iterable[Hook] = (),
    concurrency: int = 100,
    hold: Callable[[], bool] = lambda: False,
    timeouts: Timeouts | None = None,
    failed: Callable[[Target, BaseException], None] | None = None,
) -> Prober:
    probe = make_probe(reactor, timeouts=timeouts)
    return Prober(reactor, probe, Gate(hooks), record, concurrency=concurrency, hold=hold, failed=failed)  # type: ignore[arg-type]  # the part of a reactor that is used
