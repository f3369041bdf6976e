"""One question on its way, and how questions are asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from smtpsurvey.dns.answer import Answer
    from smtpsurvey.dns.reader import Read
    from smtpsurvey.dns.servers import Server
    from smtpsurvey.dns.udp import UdpSocket
    from smtpsurvey.outcomes import DnsOutcome


@attrs.frozen
class Options:
    """How to ask. ``timeouts`` are the seconds of each try, ``probe`` the question whose answer shows that one works.

    ``rate`` is queries a second to each server (0: no limit), ``concurrency`` those in flight to each: with the
    default, what is on its way fits into the receive buffer that Linux gives a server's socket.
    """

    rate: float = 500
    concurrency: int = 250
    timeouts: tuple[float, ...] = (2, 3, 4, 5, 5, 5)
    probe: tuple[str, str] = (".", "NS")


class Lookup:
    """A question: whom it was asked of, what came of it, and who waits. Times are of the reactor's clock."""

    __slots__ = (
        "asked",
        "best",
        "deadline",
        "done",
        "edns",
        "last",
        "name",
        "number",
        "only",
        "server",
        "slot",
        "socket",
        "started",
        "time",
        "tried",
        "tries",
        "type",
    )

    def __init__(self, name: str, type_: str, asked: bytes, now: float, only: Server | None = None) -> None:
        """Ask for a name and type, encoded in ``asked``; a probe is for one server ``only``."""
        self.name = name
        self.type = type_
        self.asked = asked
        self.only = only
        self.done: Deferred[Answer]
        self.started = now
        self.time = time.time()
        self.tries = 0
        self.edns = True
        self.tried: tuple[Server, ...] = ()  # those whose answer is not the last word
        self.best: tuple[DnsOutcome, Read | None, Server] | None = None  # the best of these answers
        self.last: Server | None = None
        # While it waits for an answer: from whom, on which socket, under which number, until when.
        self.server: Server | None = None
        self.socket: UdpSocket | None = None
        self.number = 0
        self.deadline = 0.0
        self.slot: int | None = None
