"""Whether port 25 can be reached at all.

Many networks block it, and a node there must not report the world as closed.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from smtpsurvey.admission import Exclude
from smtpsurvey.admission.asmap import AsMap
from smtpsurvey.admission.exclusions import networks_of
from smtpsurvey.admission.identity import is_loopback
from smtpsurvey.admission.optout import OptOutFile
from smtpsurvey.errors import SurveyError
from smtpsurvey.items import DEFAULT_PORT, Target
from smtpsurvey.pipelines.as_filter import AsFilterPipeline
from smtpsurvey.probe.setup import identity_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy.settings import BaseSettings

    from smtpsurvey.admission.identity import Identity

TIMEOUT = 10.0  # seconds, for connection and greeting together
MAX_HOSTS = 16
MAX_GREETING = 512  # bytes looked at


class Place(NamedTuple):
    """A mail server that the user names."""

    host: str
    port: int


def reach(settings: BaseSettings, texts: Sequence[str]) -> tuple[bool | None, str]:
    """Connect to each of the servers; good when one of them greets, ``None`` when there is none to ask.

    Raises :class:`SurveyError` for what is no host, and where nobody said who we are.
    """
    places = [read_place(text) for text in texts]
    if not places:
        return None, "not checked: name mail servers in SMTPSURVEY_REACH"
    if len(places) > MAX_HOSTS:
        raise SurveyError(f"SMTPSURVEY_REACH: {len(places)} hosts; {MAX_HOSTS} are plenty")
    identity, admission = identity_of(settings), _admission(settings)
    with ThreadPoolExecutor(len(places)) as threads:
        found = list(threads.map(lambda place: _reach(place, identity, admission), places))
    greeted = [place for place, (good, _) in zip(places, found, strict=True) if good]
    says = "; ".join(f"{place.host} {told}" for place, (_, told) in zip(places, found, strict=True))
    return bool(greeted), says


def read_place(text: str) -> Place:
    """Read ``mx.example.org``, ``192.0.2.1:2525`` or ``[2001:db8::1]``; raises :class:`SurveyError`."""
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path or parts.username or port == 0:
        raise SurveyError(f"SMTPSURVEY_REACH: {text!r} is no HOST or HOST:PORT")
    return Place(host, port or DEFAULT_PORT)


def _admission(settings: BaseSettings) -> AsFilterPipeline:
    """Let nobody be contacted who opted out; loopback is never refused, as whoever names it means this machine."""
    allow = networks_of("SMTPSURVEY_ALLOW", settings.getlist("SMTPSURVEY_ALLOW"))
    as_map = AsMap(path) if (path := settings.get("SMTPSURVEY_AS_MAP")) else None
    optout = settings.get("SMTPSURVEY_OPTOUT")
    return AsFilterPipeline(
        [*allow, *networks_of("loopback", ("127.0.0.0/8", "::1"))],
        OptOutFile(optout, with_as_map=as_map is not None) if optout else None,
        as_map,
    )


def _reach(place: Place, identity: Identity, admission: AsFilterPipeline) -> tuple[bool, str]:
    if not identity.complete and not is_loopback(place.host):
        return False, "is not asked before SMTPSURVEY_HELO and SMTPSURVEY_CONTACT say who we are"
    deadline = time.monotonic() + TIMEOUT
    try:
        ip = str(socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0][4][0])
        admission.admit(Target(ip, place.port, place.host))
        with socket.create_connection((ip, place.port), TIMEOUT) as sock:
            greeting = _greeting(sock, deadline)
            with suppress(OSError):
                sock.sendall(b"QUIT\r\n")
    except Exclude as excluded:
        return False, f"is excluded ({excluded.reason})"
    except (OSError, UnicodeError) as error:
        return False, f"({getattr(error, 'strerror', None) or str(error) or 'timed out'})"
    if not greeting[:3].isdigit():
        return False, f"greets with {greeting[:40]!r}" if greeting else "closes without a greeting"
    return True, f"greets with {greeting[:3].decode()}"


def _greeting(sock: socket.socket, deadline: float) -> bytes:
    """Read the first line, or what comes of it in time."""
    greeting = b""
    while b"\n" not in greeting and len(greeting) < MAX_GREETING:
        sock.settimeout(max(0.01, deadline - time.monotonic()))
        more = sock.recv(MAX_GREETING)
        if not more:
            break
        greeting += more
    return greeting.partition(b"\n")[0]
