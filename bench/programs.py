"""The C programs of a bench and the certificate they use, built into its folder; the cheap server, running."""

from __future__ import annotations

import contextlib
import hashlib
import json
import select
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import BenchError, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Argument, Usage

HERE = Path(__file__).parent
HOST = "mx.example.net"
GREETING = f"{HOST} ESMTP Postfix"
IN_FLIGHT = 1000  # what floor and survey may have open at once
LISTENERS = 10_000  # listening sockets of one responder; it needs descriptors for connections too
_PORTS = range(26_250, 26_350)  # below the ephemeral ports of Linux


class Programs:
    """What is built once for a bench: ``floor``, ``responder``, a self-signed ECDSA P-256 certificate."""

    def __init__(self, work: Path) -> None:
        """Compile and sign into the folder ``work``."""
        self.work = work
        self.port = _free_port()
        for name in ("floor", "responder"):
            _tool("gcc", "-O2", "-Wall", "-o", work / name, HERE / f"{name}.c", "-lssl", "-lcrypto")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
        subject = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
        _tool("openssl", "req", "-x509", *curve, *subject, "-keyout", work / "key.pem", "-out", work / "cert.pem")
        der = ssl.PEM_cert_to_DER_cert((work / "cert.pem").read_text())
        self.leaf = hashlib.sha256(der).hexdigest()

    @contextlib.contextmanager
    def responder(
        self, live: Path | None = None, *, tls: bool = False, arrivals: Path | None = None, seconds: int = 900
    ) -> Iterator[None]:
        """Serve all of 127.0.0.0/8, or the addresses of the file ``live`` alone, until the context ends."""
        argv: list[Argument] = [self.work / "responder", "-p", str(self.port), "-x", str(seconds)]
        if tls:
            argv += ["-c", self.work / "cert.pem", "-k", self.work / "key.pem"]
        if arrivals is not None:
            argv += ["-a", arrivals]
        with contextlib.ExitStack() as running:
            for part in [None] if live is None else self._parts(live):
                running.enter_context(_serving(argv if part is None else [*argv, "-l", part]))
            yield

    def floor(self, targets: Path, live: int, *, tls: bool = False, seconds: int = 300) -> Usage:
        """Measure the C client on a list of which ``live`` answer."""
        argv: list[Argument] = [self.work / "floor", "-f", targets, "-p", str(self.port), "-c", str(IN_FLIGHT)]
        usage = measure([*argv, "-x", str(seconds), *(["-t"] if tls else [])], seconds=seconds)
        seen: dict[str, Any] = json.loads(usage.output)
        if seen["ok"] != live or seen["failed"] or seen["tls"] != (live if tls else 0):
            raise BenchError(f"the floor found {seen}, where {live} hosts are live")
        return usage

    def _parts(self, live: Path) -> Iterator[Path]:
        lines = live.read_text().splitlines(keepends=True)
        for start in range(0, len(lines), LISTENERS):
            part = self.work / f"live.{start}"
            part.write_text("".join(lines[start : start + LISTENERS]))
            yield part


@contextlib.contextmanager
def _serving(argv: list[Argument]) -> Iterator[None]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None  # noqa: S101  # a pipe was asked for
            if not select.select([server.stdout], [], [], 60)[0] or server.stdout.readline() != "ready\n":
                raise BenchError("the responder does not listen")
            yield
        finally:
            server.terminate()
            server.wait()


def _tool(*argv: str | Path) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchError(f"{argv[0]} is needed: install gcc, libssl-dev and openssl") from None
    if done.returncode:
        raise BenchError(f"{argv[0]}: {done.stderr[-2000:]}")


def _free_port() -> int:
    for port in _PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                probe.listen()
                return port
    raise BenchError(f"no free port in {_PORTS}")
