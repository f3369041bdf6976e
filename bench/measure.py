"""Runs a program and measures what it cost: CPU of its process tree, wall-clock time, peak memory."""

from __future__ import annotations

import os
import re
import resource
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Argument = str | os.PathLike[str]

ROOM_FOR_FILES = 20_000
LOG_SHOWN = 2000  # characters
SAMPLE = 0.1  # seconds between two looks at a running process
_HIGH_WATER = re.compile(rb"VmHWM:\s+(\d+) kB")


class BenchError(Exception):
    """A run that cannot count: a program failed, or what it found is wrong."""


@dataclass(frozen=True)
class Usage:
    """What one run cost. ``cpu`` and ``wall`` in seconds, ``peak`` resident bytes of the process itself."""

    cpu: float
    wall: float
    peak: int
    output: str
    log: str  # what it wrote to standard error


class Program:
    """A started program, to be awaited with :meth:`finish`; leaving the context kills it if it still runs."""

    def __init__(self, argv: Sequence[Argument], cwd: Path | None = None) -> None:
        """Start it, its output kept in unnamed files."""
        self._out: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in __exit__
        self._err: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in __exit__
        self._name = os.fspath(argv[0])
        self._start = time.monotonic()
        self.process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err)
        self._peak = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what still runs."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self._out.close()
        self._err.close()

    def finish(self, seconds: float = 600, watch: Callable[[int], None] | None = None) -> Usage:
        """Wait for the end, at most ``seconds``; ``watch`` is called with the process id at every sample."""
        pid, deadline = self.process.pid, self._start + seconds
        ended = select.poll()
        descriptor = os.pidfd_open(pid)
        try:
            ended.register(descriptor, select.POLLIN)
            while not ended.poll(SAMPLE * 1000):
                self._peak = max(self._peak, _high_water(pid))
                if watch is not None:
                    watch(pid)
                if time.monotonic() > deadline:
                    raise BenchError(f"{self._name} still ran after {seconds:.0f} s")
        finally:
            os.close(descriptor)
        wall = time.monotonic() - self._start
        # wait4's own peak would include this process's memory, which a child starts out with.
        _, status, usage = os.wait4(pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._out.seek(0)
        self._err.seek(0)
        log = self._err.read()
        if self.process.returncode:
            raise BenchError(f"{self._name} ended with status {self.process.returncode}: {log[-LOG_SHOWN:]}")
        return Usage(usage.ru_utime + usage.ru_stime, wall, self._peak, self._out.read(), log)


def measure(argv: Sequence[Argument], cwd: Path | None = None, seconds: float = 600) -> Usage:
    """Run a program to its end."""
    with Program(argv, cwd) as program:
        return program.finish(seconds)


def raise_file_limit() -> None:
    """Let the programs measured open as many descriptors as the system gives without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ROOM_FOR_FILES if hard == resource.RLIM_INFINITY else min(ROOM_FOR_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _high_water(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", "rb") as status:  # noqa: PTH123  # Path is slow at every sample
            found = _HIGH_WATER.search(status.read())
    except ProcessLookupError:
        return 0
    return int(found[1]) * 1024 if found else 0
