"""A private MariaDB server on the loopback address."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pymysql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "not-in-any-log"
_POLLS = 300
_POLL_SECONDS = 0.05
_SETUP = """\
create user survey@'127.0.0.1' identified by '{password}';
grant all on *.* to survey@'127.0.0.1';
"""


class MariaDb:
    """A running server; each call of :meth:`url` makes a database of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._databases = 0

    def connect(self) -> pymysql.Connection:
        return pymysql.connect(host="127.0.0.1", port=self._port, user="survey", password=PASSWORD)

    def url(self) -> str:
        self._databases += 1
        name = f"survey{self._databases}"
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"create database {name}")
        return f"mysql+pymysql://survey:{PASSWORD}@127.0.0.1:{self._port}/{name}"


@contextmanager
def running(folder: Path) -> Iterator[MariaDb]:
    """Make a server in an empty folder, start it, and end it afterwards."""
    user = ["--user=root"] if os.geteuid() == 0 else []
    data, setup = f"--datadir={folder}/data", folder / "setup.sql"
    setup.write_text(_SETUP.format(password=PASSWORD))
    install = ["mariadb-install-db", "--no-defaults", *user, data, "--auth-root-authentication-method=normal"]
    subprocess.run([*install, "--skip-test-db"], check=True, capture_output=True, timeout=60)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = (
        f"--socket={folder}/socket --pid-file={folder}/pid --port={port} --bind-address=127.0.0.1 --init-file={setup} "
        "--skip-name-resolve --skip-log-bin --performance-schema=0 --innodb-buffer-pool-size=32M "
        "--innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=2 --max-connections=50"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["mariadbd", "--no-defaults", *user, data, *options.split()], stdout=log, stderr=log)
    try:
        server = MariaDb(port)
        _await(server, process, folder / "log")
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def _await(server: MariaDb, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(_POLLS):
        try:
            server.connect().close()
        except pymysql.OperationalError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
                break
        else:
            return
    raise RuntimeError(f"MariaDB did not start:\n{log.read_text()[-2000:]}")
