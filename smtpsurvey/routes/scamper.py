"""Scamper, CAIDA's prober, as a process of ours that we drive through its control socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from smtpsurvey.errors import SurveyError
from smtpsurvey.routes.attachment import Attachment

if TYPE_CHECKING:
    from smtpsurvey.routes.trace import Method, Trace

PROGRAM = "scamper"
START_TIME = 10.0  # seconds until the control socket has to be there
_RETRY = 0.05
_LOG = "log"
_SAID = 500  # bytes of what it says that are kept, the last ones


class Scamper:
    """One scamper process; :meth:`start` it before the first trace, :meth:`stop` it at the end."""

    def __init__(self, reactor: Any, rate: int) -> None:
        """Send at most ``rate`` packets a second."""
        self._reactor = reactor
        self._rate = rate
        self._folder: TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._attachment: Attachment | None = None

    def start(self) -> Deferred[None]:
        """Start the process and attach; fails with :class:`SurveyError` without the program or the right to send."""
        return Deferred.fromCoroutine(self._start())

    def stop(self) -> Deferred[None]:
        """End the process; what is in flight fails."""
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise SurveyError("traceroutes need scamper, which is not on the PATH (Debian: apt install scamper)")
        check_raw_sockets()
        self._folder = TemporaryDirectory(prefix="smtpsurvey-scamper-")
        path = str(Path(self._folder.name, "control"))
        self._process = self._spawn(program, path, Path(self._folder.name, _LOG))
        try:
            self._attachment = await self._attach(path)
            await self._attachment.ready
        except SurveyError:
            await self._stop()
            raise

    def trace(self, address: str, method: Method) -> Deferred[Trace]:
        """Trace a route; fails with ``TraceError``, or :class:`SurveyError` when scamper has ended."""
        assert self._attachment is not None  # noqa: S101 - started first
        return self._attachment.trace(address, method)

    def cancel_waiting(self) -> None:
        """Cancel the traces that are not begun."""
        if self._attachment is not None:
            self._attachment.cancel_waiting()

    async def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await deferToThread(self._process.wait)
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _spawn(self, program: str, path: str, log: Path) -> subprocess.Popen[bytes]:
        """Start the process; not as one of Twisted's, whose ends are never told where uvloop takes the signals."""
        argv = [program, "-U", path, "-p", str(self._rate)]
        with log.open("wb") as file:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)  # noqa: S603 - ours

    async def _attach(self, path: str) -> Attachment:
        reactor = self._reactor
        until = reactor.seconds() + START_TIME
        while True:
            try:
                attachment = Attachment(reactor, self._why)
                endpoint = UNIXClientEndpoint(reactor, path)  # type: ignore[no-untyped-call]  # Twisted has no hints there
                await connectProtocol(endpoint, attachment)  # type: ignore[no-untyped-call]
            except ConnectError:
                if self._process is None or self._process.poll() is not None or reactor.seconds() > until:
                    raise SurveyError(f"scamper does not start: {self._last_line()}") from None
                await deferLater(reactor, _RETRY)
            else:
                return attachment

    def _why(self) -> str:
        return f"scamper has ended: {self._last_line()}"

    def _last_line(self) -> str:
        if self._folder is None:
            return "it was stopped"
        said = Path(self._folder.name, _LOG).read_bytes()[-_SAID:].decode("ascii", "backslashreplace")
        lines = [line for line in said.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


def check_raw_sockets() -> None:
    """Raise :class:`SurveyError` unless we may open raw sockets."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except PermissionError:
        raise SurveyError("traceroutes need raw sockets: run as root, or with CAP_NET_RAW") from None
