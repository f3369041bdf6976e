"""Store the same observations by the survey's writer and by LOAD DATA, and print as JSON how long each took.

Run by case_store in a process of its own: ``rows.py COUNT BATCH URL URL``. Each server has a thread and each thread
works through its own rows; the databases are empty. Afterwards the rows of both are compared.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from smtpsurvey.items import Observation, SmtpItem, Software, Target
from smtpsurvey.outcomes import Outcome, StartTls, TrustError
from smtpsurvey.smtp.capabilities import extensions
from smtpsurvey.smtp.certificate import Certificate
from smtpsurvey.smtp.reply import complete
from smtpsurvey.smtp.tls import TlsFacts
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

TABLES = 16
CERTIFICATES = 2_000  # distinct ones: they go into the writer's share, and LOAD DATA is spared them
_EHLO = "PIPELINING SIZE*10240000 VRFY ETRN STARTTLS ENHANCEDSTATUSCODES 8BITMIME DSN SMTPUTF8 CHUNKING".split()  # noqa: SIM905
_TEXT = {None: "\\N", True: "1", False: "0"}


def main() -> None:
    """Take the number of rows, those a batch, and the databases from the command line."""
    count, batch = int(sys.argv[1]), int(sys.argv[2])
    shards = Shards(sys.argv[3:], TABLES)
    writer = Writer(shards)
    shards.create()
    chains = [_chain(number) for number in range(CERTIFICATES)]
    items: list[list[SmtpItem]] = [[] for _ in shards]
    for number in range(count):
        item = _item(number, chains)
        items[shards.placement.server(item.ip)].append(item)
    gc.freeze()  # in a crawl the items of a batch are all that there are
    files = [_files(shards, writer, server, mine) for server, mine in enumerate(items)]
    ours, cpu = _timed(shards, lambda server: _write(writer, server, items[server], batch))
    stored = _sums(shards)
    for shard in shards:
        with shard.begin() as connection:
            for table in shards.schema.observations:
                connection.exec_driver_sql(f"TRUNCATE {table.name}")
    load, _ = _timed(shards, lambda server: _load(shards, server, files[server]))
    result = {"ours": count / ours, "load": count / load, "cpu": cpu / count * 1e6, "same": stored == _sums(shards)}
    json.dump(result | {"rows": sum(rows for rows, *_ in stored)}, sys.stdout)


def _timed(shards: Shards, work: Callable[[int], float]) -> tuple[float, float]:
    """Do both servers' work side by side; give the seconds it took, and those of CPU of its threads."""
    start = time.perf_counter()
    with ThreadPoolExecutor(len(shards)) as threads:
        cpu = sum(threads.map(work, range(len(shards))))
    return time.perf_counter() - start, cpu


def _write(writer: Writer, server: int, items: list[SmtpItem], batch: int) -> float:
    start = time.thread_time()
    for first in range(0, len(items), batch):
        writer.write(server, items[first : first + batch])
    return time.thread_time() - start


def _files(shards: Shards, writer: Writer, server: int, items: list[SmtpItem]) -> list[Path]:
    """Write a server's rows into a file a table, as LOAD DATA reads them, in the order in which the survey has them."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    paths = [folder / table.name for table in shards.schema.observations]
    lines: list[list[str]] = [[] for _ in paths]
    for row in writer.batch(server, items).observations:
        lines[shards.placement.table(row[1])].append("\t".join(map(_literal, row)))
    for path, rows in zip(paths, lines, strict=True):
        path.write_text("".join(f"{row}\n" for row in rows), "latin-1")
    return paths


def _literal(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return _TEXT[value]
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value).encode().decode("latin-1")
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\0", "\\0")


def _load(shards: Shards, server: int, paths: list[Path]) -> float:
    with shards[server].begin() as connection:
        for path, table in zip(paths, shards.schema.observations, strict=True):
            columns = ",".join(f"`{column.name}`" for column in table.c)
            # One transaction as long as a table is the best that it can do.
            connection.exec_driver_sql(
                f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {table.name} CHARACTER SET utf8mb4 ({columns})"
            )
    return 0.0


def _sums(shards: Shards) -> list[tuple[int, int]]:
    """Count the rows of every table, and sum up their checksums."""
    found = []
    for shard in shards:
        with shard.begin() as connection:
            for table in shards.schema.observations:
                value = func.crc32(func.concat_ws("\t", *(func.coalesce(column, "-") for column in table.c)))
                found.append(tuple(connection.execute(select(func.count(), func.sum(value)).select_from(table)).one()))
    return [(int(rows), int(checksum or 0)) for rows, checksum in found]


def _chain(number: int) -> TlsFacts:
    der = hashlib.shake_128(b"%d" % number).digest(900)
    digest, name = hashlib.sha256(der).hexdigest(), f"mx{number}.example.org"
    times = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
    leaf = Certificate(f"CN={name}", "CN=example CA", [name], *times, "rsa-2048", digest)
    facts = partial(TlsFacts, "TLSv1.3", "TLS_AES_256_GCM_SHA384", (der,), (digest,), leaf)
    return facts(trusted=False, trust_error=TrustError.SELF_SIGNED)


def _item(number: int, chains: list[TlsFacts]) -> SmtpItem:
    name = f"mx{number}.example.org"
    words = [name, *(word.replace("*", " ") for word in _EHLO)]
    plain = _reply(250, words)
    item = SmtpItem.from_observation(
        Observation(
            Target(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", source="targets.txt"),
            1.7e9 + number / 1000,
            0.1 + number % 100 / 1000,
            Outcome.OK,
            greeting=_reply(220, [f"{name} ESMTP Postfix (Debian/GNU)"]),
            ehlo=plain,
            extensions=extensions(plain.lines),
            starttls=StartTls.OK,
            starttls_reply=_reply(220, ["2.0.0 Ready to start TLS"]),
            tls=chains[number % len(chains)],
            tls_ehlo=_reply(250, [word for word in words if word != "STARTTLS"]),
            quit=_reply(221, ["2.0.0 Bye"]),
        ),
        "2026-11",
    )
    item.asn, item.prefix = 64_512 + number % 500, f"10.{number >> 16}.{number >> 8 & 255}.0/24"
    item.software = Software("Postfix", "Postfix", None, "postfix", "greeting")
    return item


def _reply(code: int, lines: list[str]) -> Any:
    raw = "".join(f"{code}-{line}\r\n" for line in lines[:-1]) + f"{code} {lines[-1]}\r\n"
    return complete(b"%d" % code, raw.encode())


if __name__ == "__main__":
    main()
