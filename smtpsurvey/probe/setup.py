"""From Scrapy's settings to what probes need."""

from __future__ import annotations

import resource
import time
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import certifi

from smtpsurvey.admission.identity import Identity
from smtpsurvey.errors import SurveyError
from smtpsurvey.probe.handshakes import Handshakes
from smtpsurvey.probe.protocol import Probe, Timeouts
from smtpsurvey.smtp.certificate import Examiner
from smtpsurvey.smtp.conversation import Script
from smtpsurvey.smtp.reply import Limits

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings
    from twisted.internet.base import ReactorBase

    from smtpsurvey.smtp.tls import TlsClient

RESERVE = 32  # descriptors kept for feeds, the database, DNS and the log


def identity_of(settings: BaseSettings) -> Identity:
    """Read who we are."""
    return Identity(settings.get("SMTPSURVEY_HELO") or None, settings.get("SMTPSURVEY_CONTACT") or None)


def probe_of(settings: BaseSettings, reactor: ReactorBase, *, starttls: bool) -> Probe:
    """Make what all probes of one connection have in common; see :func:`probes_of`."""
    return probes_of(settings, reactor, Handshakes(starttls=starttls))[0]


def probes_of(settings: BaseSettings, reactor: ReactorBase, handshakes: Handshakes) -> tuple[Probe, ...]:
    """Make what all first connections have in common, and all second ones where there are.

    Raises :class:`SurveyError` for settings that cannot be.
    """
    timeouts = Timeouts(**_numbers(settings, "SMTPSURVEY_TIMEOUTS", Timeouts, float))
    limits = Limits(**_numbers(settings, "SMTPSURVEY_LIMITS", Limits, int))
    clients: tuple[TlsClient | None, ...] = (None,)
    if handshakes.starttls:
        ca_file = settings.get("SMTPSURVEY_CA_FILE") or certifi.where()
        if not Path(ca_file).is_file():
            raise SurveyError(f"SMTPSURVEY_CA_FILE: {ca_file}: no such file")
        try:
            clients = handshakes.clients(Examiner(ca_file), limits.bytes)
        except ValueError as error:
            raise SurveyError(f"SMTPSURVEY_CA_FILE: {error}") from None
    script = Script.make(identity_of(settings).helo, starttls=handshakes.starttls, limits=limits)
    return tuple(Probe(script, client, timeouts, reactor.seconds, time.time) for client in clients)


def connections_allowed(settings: BaseSettings) -> int:
    """Raise the descriptor limit as far as we may, and return how many connections fit below it."""
    given = settings.get("SMTPSURVEY_CONCURRENCY")
    if not str(given).isdecimal() or not int(given):
        raise SurveyError(f"SMTPSURVEY_CONCURRENCY={given!r} is no number of connections")
    wanted = int(given)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = len(list(Path("/dev/fd").iterdir())) + RESERVE
    limit = wanted + reserved if hard == resource.RLIM_INFINITY else hard
    if soft != limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(1, min(wanted, limit - reserved))


def _numbers(settings: BaseSettings, name: str, kind: type[Any], number: type[Any]) -> dict[str, Any]:
    known = {field.name for field in attrs.fields(kind)}
    try:
        given = settings.getdict(name)
    except (TypeError, ValueError) as error:
        raise SurveyError(f"{name} is no dict: {error}") from None
    values: dict[str, Any] = {}
    for key, value in given.items():
        try:
            values[key] = number(value)
        except (TypeError, ValueError):
            raise SurveyError(f"{name}: {key}={value!r} is no number") from None
        if key not in known:
            raise SurveyError(f"{name}: there is no {key!r}; known are {', '.join(sorted(known))}")
        if not (isfinite(values[key]) and values[key] > 0):
            raise SurveyError(f"{name}: {key}={value!r} must be a number above 0")
    return values
