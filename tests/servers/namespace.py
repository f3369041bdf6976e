"""Private network namespaces: port 25 is free in them, and no packet leaves the machine."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "smtpsurvey-tests-"
CLONE_NEWNET = 0x40000000
NETNS = Path("/run/netns")
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace with the loopback up; ``close`` ends what still runs in it."""

    def __init__(self, label: str) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{label}"
        _run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> None:
        """Configure it: ``ip -n NAME …``."""
        _run("ip", "-n", self.name, *arguments)

    def command(self, *argv: str | Path) -> list[str]:
        """Return the command line that runs ``argv`` in here."""
        return ["ip", "netns", "exec", self.name, *map(str, argv)]

    def run(self, *argv: str | Path, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` in here to its end; the caller judges the exit status."""
        return subprocess.run(
            self.command(*argv), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )

    def sysctl(self, *assignments: str) -> None:
        _run(*self.command("sysctl", "-qw", *assignments))

    def nft(self, rules: str) -> None:
        """Load ``rules`` into its packet filter."""
        _run(*self.command("nft", "-f", "-"), stdin=rules)

    def nft_set(self, table: str, name: str) -> set[str]:
        """Return the elements of a set of addresses of an ``inet`` table."""
        listed = json.loads(_run(*self.command("nft", "-j", "list", "set", "inet", table, name)))["nftables"]
        return {element for entry in listed if "set" in entry for element in entry["set"].get("elem", ())}

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread opens meanwhile belong to the namespace, and stay in it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(NETNS / self.name, os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(home)
            os.close(home)
            os.close(there)

    def close(self) -> None:
        _remove(self.name)


def sweep(folder: Path) -> None:
    """Remove what runs that were killed left behind: namespaces, and folders below ``folder``."""
    for path in [*NETNS.glob(f"{PREFIX}*"), *folder.glob(f"{PREFIX}*")]:
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            if path.parent == NETNS:
                _remove(path.name)
            else:
                shutil.rmtree(path)


def _remove(name: str) -> None:
    for pid in _run("ip", "netns", "pids", name).split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    _run("ip", "netns", "del", name)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
