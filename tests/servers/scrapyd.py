"""scrapyd nodes on 127.0.0.1, 127.0.0.2 …, each with credentials of its own, and the fleet that they are."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from doubles.crawl import REPOSITORY, SCRAPY

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRAPYD = str(Path(SCRAPY).with_name("scrapyd"))
CONFIG = REPOSITORY / "deploy" / "scrapyd.conf"
START_TIME = 20.0
USER = "survey"


class Node:
    """A scrapyd with our own scrapyd.conf, whose jobs are killed with it."""

    def __init__(self, folder: Path, number: int, port: int, slots: int) -> None:
        self.name = f"n{number}"
        self.ip, self.port = f"127.0.0.{number}", port
        self.folder = folder / self.name
        self.password = f"secret-of-{self.name}-0b5e"
        self.folder.mkdir()
        text = CONFIG.read_text("utf-8")
        changes = {"bind_address": self.ip, "http_port": port, "max_proc": slots, "poll_interval": 0.1}
        for name, value in changes.items():
            text, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
            assert found == 1, name
        (self.folder / "scrapyd.conf").write_text(text, "utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it listens."""
        environment = os.environ | {"SCRAPYD_USERNAME": USER, "SCRAPYD_PASSWORD": self.password}
        with (self.folder / "scrapyd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [SCRAPYD, "--pidfile="],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own, jobs included
            )
        deadline = time.monotonic() + START_TIME
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((self.ip, self.port), timeout=1):
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                break
        raise AssertionError((self.folder / "scrapyd.log").read_text("utf-8"))

    def kill(self, *, jobs: bool = True) -> None:
        """End it now, as a power cut would: with its jobs, or scrapyd alone."""
        assert self._process is not None
        if jobs:
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log(self) -> str:
        """Give all that it and its jobs have logged."""
        logs = self.folder.glob("**/*.log")
        return "".join(path.read_text("utf-8", "backslashreplace") for path in logs)


class Fleet:
    """Several nodes, ``fleet.toml`` and netrc for them, and the environment for a controller."""

    def __init__(self, folder: Path, nodes: int, slots: int = 2) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = int(free.getsockname()[1])
        self.folder = folder
        self.nodes = [Node(folder, number, port, slots) for number in range(1, nodes + 1)]
        lines = [f"machine {node.ip} login {USER} password {node.password}\n" for node in self.nodes]
        (folder / "netrc").write_text("".join(lines))
        entries = [f'[[nodes]]\nname = "{node.name}"\nurl = "http://{node.ip}:{port}/"\n' for node in self.nodes]
        self.toml = folder / "fleet.toml"
        self.toml.write_text("".join(entries))
        self.environment = os.environ | {"NETRC": str(folder / "netrc")}

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin ``scrapy fleet …``; what it says goes to a pipe."""
        return subprocess.Popen(
            [SCRAPY, "fleet", *arguments, "-s", f"SMTPSURVEY_FLEET={self.toml}"],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, seconds: float = 60.0) -> Said:
        """Run it to its end."""
        process = self.command(*arguments)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{arguments} hangs:\n{out}{err}{self.logs()[-3000:]}") from None
        return Said(process.returncode, out, err)

    def logs(self) -> str:
        return "".join(node.log() for node in self.nodes)


class Said(NamedTuple):
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str


def command_lines() -> Iterator[str]:
    """Give the command line of every process of this machine, as ``ps`` shows them."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode("utf-8", "backslashreplace")
