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
# `plain` may do what a survey needs, and obeys read_only.
_SETUP = """\
create user if not exists survey@'127.0.0.1' identified by '{password}';
grant all on *.* to survey@'127.0.0.1';
create user if not exists plain@'127.0.0.1' identified by '{password}';
grant select, insert, update, delete, create, alter, index, drop on *.* to plain@'127.0.0.1';
"""
_OPTIONS = (
    "--bind-address=127.0.0.1 --skip-name-resolve --skip-log-bin --performance-schema=0 --innodb-buffer-pool-size=32M "
    "--innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=2 --max-connections=50 --local-infile=1"
)


class MariaDb:
    """A server; each call of :meth:`url` makes a database of its own. It keeps its port when it starts again."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Make one in an empty folder."""
        self._user = ["--user=root"] if os.geteuid() == 0 else []
        self._folder = folder
        self._databases = 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        (folder / "setup.sql").write_text(_SETUP.format(password=PASSWORD))
        (folder / "tmp").mkdir()  # a server that starts clears away what others have in the system's
        data = [*self._user, f"--datadir={folder}/data", f"--tmpdir={folder}/tmp"]
        install = ["mariadb-install-db", "--no-defaults", *data, "--auth-root-authentication-method=normal"]
        made = subprocess.run([*install, "--skip-test-db"], check=False, capture_output=True, text=True, timeout=60)
        if made.returncode:
            raise RuntimeError(f"MariaDB cannot be set up:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")
        own = f"--socket={folder}/socket --pid-file={folder}/pid --port={self._port} --init-file={folder}/setup.sql"
        self._command = ["mariadbd", "--no-defaults", *data, *own.split(), *_OPTIONS.split(), *options]

    def connect(self, **options: object) -> pymysql.Connection:
        return pymysql.connect(host="127.0.0.1", port=self._port, user="survey", password=PASSWORD, **options)

    def execute(self, statement: str) -> None:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def url(self, user: str = "survey") -> str:
        self._databases += 1
        name = f"survey{self._databases}"
        self.execute(f"create database {name}")
        return f"mysql+pymysql://{user}:{PASSWORD}@127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        """Return when it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self._await()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=30)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)

    def _await(self) -> None:
        for _ in range(_POLLS):
            try:
                self.connect().close()
            except pymysql.OperationalError:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_POLL_SECONDS)
                    break
            else:
                return
        raise RuntimeError(f"MariaDB did not start:\n{(self._folder / 'log').read_text()[-2000:]}")


@contextmanager
def running(folder: Path, *options: str) -> Iterator[MariaDb]:
    """Make a server in an empty folder, start it, and end it afterwards."""
    server = MariaDb(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
