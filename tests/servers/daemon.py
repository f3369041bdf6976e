"""A server process of the tests: started, awaited, stopped by its process id."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from servers.namespace import Namespace

START_TIME = 20.0
STOP_TIME = 5.0
LISTEN_POLL = 0.02


class Daemon:
    """One server in the foreground of ``namespace``; its output goes to ``log``."""

    def __init__(self, namespace: Namespace, argv: list[str | Path], log: Path) -> None:
        self.namespace = namespace
        self.argv = argv
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                namespace.command(*argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_listening(self, ip: str, port: int) -> None:
        """Return when a connection to ``ip`` and ``port`` succeeds; give up when the server ended or is late."""
        deadline = time.monotonic() + START_TIME
        while time.monotonic() < deadline:
            try:
                with self.namespace.inside():
                    socket.create_connection((ip, port), timeout=1).close()
            except OSError:
                if self._ended_within(LISTEN_POLL):
                    break
            else:
                return
        self.stop()
        raise RuntimeError(f"{self.argv[0]} does not listen on {ip} {port}: {self.log.read_text('utf-8', 'replace')}")

    def stop(self) -> None:
        self.process.terminate()
        if not self._ended_within(STOP_TIME):
            self.process.kill()
            self.process.wait()

    def _ended_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
