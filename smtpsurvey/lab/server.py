"""The process of the lab: one listener a live address, all in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
import signal
import socket
from typing import TYPE_CHECKING

import uvloop

from smtpsurvey.lab import LabError
from smtpsurvey.lab.session import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smtpsurvey.lab.hosts import Host

SPARE_DESCRIPTORS = 1024
"""Descriptors kept for sessions, beside one a listener."""
BACKLOG = 256
SESSION_SECONDS = 180.0
_SWEEP_SECONDS = 10.0


def raise_descriptor_limit(live: int) -> None:
    """Allow a listener for each live host, and sessions beside. Raises :class:`LabError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = live + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < need:
        raise LabError(f"{live} live hosts need {need} file descriptors, and RLIMIT_NOFILE allows {hard}")
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need if hard == resource.RLIM_INFINITY else hard, hard))


def run(hosts: Sequence[Host], port: int, duration: float | None, ready: Callable[[], None]) -> Tally:
    """Serve until SIGTERM, SIGINT or for ``duration`` seconds; ``ready`` is called once all listen.

    Raises :class:`LabError`.
    """
    raise_descriptor_limit(len(hosts))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(hosts, port, duration, ready))


async def _serve(hosts: Sequence[Host], port: int, duration: float | None, ready: Callable[[], None]) -> Tally:
    loop = asyncio.get_running_loop()
    tally = Tally()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [
        await loop.create_server(
            functools.partial(host.behaviour.session, host, tally), sock=_listener(host.ip, port), backlog=BACKLOG
        )
        for host in hosts
    ]
    _sweep(loop, tally)
    ready()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), duration)
    for server in servers:
        server.close()
    for session in list(tally.open):
        session.transport.abort()
    return tally


def _listener(ip: str, port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(0)
        listener.bind((ip, port))
    except OSError as error:
        listener.close()
        raise LabError(f"{ip} port {port}: {error.strerror}") from error
    return listener


def _sweep(loop: asyncio.AbstractEventLoop, tally: Tally) -> None:
    """End the sessions whose visitors never will."""
    before = loop.time() - SESSION_SECONDS
    for session in [session for session, since in tally.open.items() if since < before]:
        session.transport.abort()
    loop.call_later(_SWEEP_SECONDS, _sweep, loop, tally)
