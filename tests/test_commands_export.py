"""``scrapy export`` from the command line's side, out of SQLite and a real MariaDB; and back in again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pytest
from backports import zstd
from feeds import HOSTILE, full
from scrapy.cmdline import execute
from scrapy.settings import Settings
from servers.crawl import REPOSITORY
from servers.mariadb import MariaDb, running

from smtpsurvey.items import EhloItem, ReplyItem, SmtpItem
from smtpsurvey.outcomes import Outcome
from smtpsurvey.store import StoreError, exports, reader
from smtpsurvey.store.exports import CSV_COLUMNS
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAST = {
    "SMTPSURVEY_ALLOW": "127.0.0.0/8",
    "SMTPSURVEY_RATE": "0",
    "SMTPSURVEY_PREFIX_RATE": "0",
    "SMTPSURVEY_AS_RATE": "0",
    "SMTPSURVEY_TIMEOUTS": '{"connect": 2, "greeting": 2, "reply": 2, "tls": 2, "total": 6}',
}


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def urls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two databases that do not have their tables yet."""
    if request.param == "mariadb":
        server: MariaDb = request.getfixturevalue("mariadb")
        return [server.url(), server.url()]
    folder = tmp_path_factory.mktemp("sqlite")
    return [f"sqlite:///{folder / name}.sqlite3" for name in "ab"]


def hostile() -> list[SmtpItem]:
    """Make items with hostile text in every field that takes text."""
    made = [full(), SmtpItem("2026-11", "2001:db8::1", 587, None, None, None, full().time, 0.0, "refused")]
    for number, text in enumerate(HOSTILE):
        item = full()
        item.ip = f"10.0.0.{number}"
        item.name = item.tag = item.source = item.reason = item.prefix = item.country = text
        item.greeting, item.ehlo = ReplyItem(220, text), EhloItem(250, text, {text: text})
        assert item.tls is not None
        item.tls.stray_plaintext = item.tls.version = item.tls.cipher = text
        item.tls.error = f"other:{text}"
        assert item.software is not None
        item.software.product = item.software.version = text
        made.append(item)
    return made


def fill(urls: list[str], made: list[SmtpItem]) -> None:
    shards = Shards(urls, 2)
    shards.create()
    writer = Writer(shards)
    writer.begin_survey("2026-11", full().time, {})
    for server in range(len(shards)):
        writer.write(server, [item for item in made if shards.placement.server(item.ip) == server])
    shards.dispose()


def scrapy(urls: object, *argv: object) -> int:
    """Run a command as ``scrapy`` does; return its exit status."""
    given = {"COMMANDS_MODULE": "smtpsurvey.commands", "SMTPSURVEY_SHARDS": urls, "SMTPSURVEY_TABLES_PER_SHARD": 2}
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", *map(str, argv)], Settings(given))
    return int(ended.value.code or 0)


def export(urls: object, kind: str, *argv: object) -> int:
    return scrapy(urls, "export", "--survey", "2026-11", "--format", kind, *argv)


def by_key(lines: bytes) -> dict[tuple[str, int], dict[str, Any]]:
    made = [json.loads(line) for line in lines.splitlines()]
    return {(item["ip"], item["port"]): item for item in made}


def test_json_lines_are_the_items_and_come_back_through_import(
    tmp_path: Path, urls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_PAGE", 4)
    fill(urls, hostile())
    out = tmp_path / "out.jsonl"
    assert export(urls, "jsonl", "--out", out) == 0
    assert capsys.readouterr() == (f"{out}: {len(hostile())} observations\n", "")
    expected = {(item.ip, item.port): msgspec.to_builtins(item) for item in hostile()}
    assert by_key(out.read_bytes()) == expected
    other = [f"sqlite:///{tmp_path / 'other'}"]
    assert scrapy(other, "import", out) == 0
    assert export(other, "jsonl", "--out", tmp_path / "again.jsonl") == 0
    assert sorted((tmp_path / "again.jsonl").read_bytes().splitlines()) == sorted(out.read_bytes().splitlines())


def test_a_feed_of_a_real_crawl_of_the_lab_is_what_its_export_says_and_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [part for name, value in FAST.items() for part in ("-s", f"{name}={value}")]
    url, feed = f"sqlite:///{tmp_path / 'crawled'}", tmp_path / "feed.jsonl"
    files = ["--targets", "targets", "--truth", "truth", "--ca", "ca"]
    files = [part if part.startswith("-") else str(tmp_path / part) for part in files]
    command = [sys.executable, "-m", "scrapy"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lab = subprocess.Popen(
        [*command, "lab", "--hosts=80", "--live=0.9", "--nasty=0.5", f"--port={port}", *files],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert lab.stdout is not None
        assert "ready" in lab.stdout.readline()
        crawl = [*command, "crawl", "smtp", "-a", f"targets={tmp_path / 'targets'}", "-a", f"port={port}"]
        crawl += ["-a", "survey=2026-11", "-a", "record=all", "-O", f"{feed}:jsonlines", "-L", "ERROR", *settings]
        crawl += ["-s", f"SMTPSURVEY_SHARDS={url}", "-s", f"SMTPSURVEY_CA_FILE={tmp_path / 'ca'}"]
        subprocess.run([*crawl, "-s", "SMTPSURVEY_TABLES_PER_SHARD=2"], cwd=REPOSITORY, check=True, timeout=60)
    finally:
        lab.terminate()
        lab.communicate(timeout=20)
    items = by_key(feed.read_bytes())
    assert len(items) == 80
    assert len({item["outcome"] for item in items.values()}) >= 4
    assert any(item["tls"] and item["tls"]["certificate"] for item in items.values())
    assert export([url], "jsonl", "--out", tmp_path / "out.jsonl") == 0
    assert by_key((tmp_path / "out.jsonl").read_bytes()) == items
    other = [f"sqlite:///{tmp_path / 'other'}", f"sqlite:///{tmp_path / 'another'}"]
    assert scrapy(other, "import", feed) == 0
    assert capsys.readouterr().err == ""
    assert export(other, "jsonl", "--out", tmp_path / "again.jsonl") == 0
    assert by_key((tmp_path / "again.jsonl").read_bytes()) == items
    # zgrab2's form keeps what zgrab2 has words for.
    assert export([url], "zgrab2", "--out", tmp_path / "grab.jsonl") == 0
    third = [f"sqlite:///{tmp_path / 'third'}"]
    assert scrapy(third, "import", tmp_path / "grab.jsonl", "--survey", "2026-11") == 0
    assert capsys.readouterr().err == ""
    assert export(third, "jsonl", "--out", tmp_path / "third.jsonl") == 0
    found = by_key((tmp_path / "third.jsonl").read_bytes())
    answered = {key: item for key, item in items.items() if item["outcome"] == Outcome.OK}
    assert len(answered) > 20
    for key, item in answered.items():
        assert found[key]["outcome"] == "ok"
        assert found[key]["greeting"]["code"] == item["greeting"]["code"]
        if item["starttls"] == "ok":
            assert found[key]["tls"]["version"] == item["tls"]["version"]
            assert found[key]["tls"]["cipher"] == item["tls"]["cipher"]
            assert found[key]["tls"]["chain"] == item["tls"]["chain"]
            assert found[key]["tls"]["certificate"] == item["tls"]["certificate"]


def test_standard_output_gets_the_same_and_nothing_else(
    tmp_path: Path, urls: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    fill(urls, hostile())
    for kind in ("jsonl", "csv", "zgrab2"):
        assert export(urls, kind) == 0
        said, told = capfdbinary.readouterr()
        assert told == b""
        assert export(urls, kind, "--out", tmp_path / kind) == 0
        assert said == (tmp_path / kind).read_bytes() != b""
        capfdbinary.readouterr()


def test_csv_has_documented_columns_and_no_formula(tmp_path: Path, urls: list[str]) -> None:
    fill(urls, hostile())
    out = tmp_path / "out.csv"
    assert export(urls, "csv", "--out", out) == 0
    text = out.read_bytes().decode()
    assert text.isprintable() or {c for c in text if not c.isprintable()} == {"\r", "\n"}
    assert text.count("\n") == len(hostile()) + 1
    limit = csv.field_size_limit(1_000_000)
    rows = {row["ip"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    csv.field_size_limit(limit)
    assert len(rows) == len(hostile())
    assert tuple(rows["192.0.2.1"]) == CSV_COLUMNS
    for row in rows.values():
        assert not [value for value in row.values() if value.lstrip()[:1] in {"=", "+", "-", "@", "\t"} and value]
    row = rows["192.0.2.1"]
    digests = full().tls.chain  # type: ignore[union-attr]  # it has TLS
    assert digests is not None
    assert (row["trusted"], row["matches_name"], row["trust_error"]) == ("false", "true", "expired")
    assert (row["certificate"], row["subject"], row["key"]) == (digests[0], "CN=mx.example.org", "ecdsa-p256")
    assert json.loads(row["chain"]) == digests
    assert json.loads(row["extensions"]) == {"SIZE": "10240000", "STARTTLS": "", "8BITMIME": ""}
    assert row["ehlo"] == r"mx.example.org\x0aSIZE 10240000\x0aSTARTTLS\x0a8BITMIME"
    assert (row["duration"], row["interrupted_stage"], row["evidence"]) == ("0.125", "quit", "greeting")
    empty = rows["2001:db8::1"]
    assert {name for name, value in empty.items() if value} == {"survey", "ip", "port", "time", "duration", "outcome"}


def test_the_documentation_names_every_column_of_csv() -> None:
    page = (REPOSITORY / "docs/usage/import-export.md").read_text("utf-8")
    assert [name for name in CSV_COLUMNS if f"`{name}`" not in page] == []


def test_parquet_has_the_items_nested_as_they_are(tmp_path: Path, urls: list[str]) -> None:
    fill(urls, hostile())
    folder = tmp_path / "a 'b' [c]*"
    folder.mkdir()
    out = folder / "out.parquet"
    assert export(urls, "parquet", "--out", out) == 0
    assert [path.name for path in folder.iterdir()] == ["out.parquet"]
    (tmp_path / "read.parquet").write_bytes(out.read_bytes())
    with duckdb.connect() as database:
        found = database.read_parquet(str(tmp_path / "read.parquet"))
        assert found.columns == [*msgspec.to_builtins(full())]
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    read = {(row["ip"], row["port"]): row for row in rows}
    assert read == {(item.ip, item.port): msgspec.to_builtins(item) for item in hostile()}


def test_a_survey_without_observations_is_an_empty_file_of_each_kind(tmp_path: Path, urls: list[str]) -> None:
    fill(urls, [])
    for kind in ("jsonl", "csv", "zgrab2", "parquet"):
        assert export(urls, kind, "--out", tmp_path / kind) == 0
    assert (tmp_path / "jsonl").read_bytes() == (tmp_path / "zgrab2").read_bytes() == b""
    assert (tmp_path / "csv").read_text() == ",".join(CSV_COLUMNS) + "\n"  # text mode reads CRLF as this
    with duckdb.connect() as database:
        assert database.read_parquet(str(tmp_path / "parquet")).fetchall() == []


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'one.sqlite3'}"
    fill([url], hostile())
    return url


def test_the_name_of_the_file_says_how_it_is_packed(tmp_path: Path, url: str) -> None:
    for name in ("plain", "a.gz", "b.zst"):
        assert export([url], "jsonl", "--out", tmp_path / name) == 0
    plain = (tmp_path / "plain").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == plain
    assert zstd.decompress((tmp_path / "b.zst").read_bytes()) == plain
    assert scrapy([f"sqlite:///{tmp_path / 'other'}"], "import", tmp_path / "b.zst") == 0


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_is_whole_or_as_it_was(
    tmp_path: Path, url: str, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "folder" / "out"
    out.parent.mkdir()
    out.write_text("before")
    pages = reader.Reader.pages

    def breaking(self: reader.Reader, survey: str) -> Iterator[Any]:
        yield next(pages(self, survey))
        raise StoreError("db: gone")

    monkeypatch.setattr(reader.Reader, "pages", breaking)
    assert export([url], kind, "--out", out) == 1
    assert capsys.readouterr() == ("", "export: db: gone\n")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert out.read_text() == "before"
    monkeypatch.undo()
    assert export([url], kind, "--out", out) == 0
    assert out.read_bytes() != b"before"


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path, url: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert export([url], "jsonl", "--out", tmp_path / "link") == 0
    assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()), daemon=True)
    thread.start()
    assert export([url], "jsonl", "--out", tmp_path / "pipe") == 0
    thread.join(20)
    assert got == [(tmp_path / "real").read_bytes()]


def test_whoever_has_read_enough_gets_no_traceback(url: str) -> None:
    argv = [sys.executable, "-m", "scrapy", "export", "--survey", "2026-11", "--format", "jsonl"]
    argv += ["-s", f"SMTPSURVEY_SHARDS={url}", "-s", "SMTPSURVEY_TABLES_PER_SHARD=2"]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 1


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--survey", "esc\x1b", "--format", "csv"), r"no survey 'esc\\x1b' in the store"),
        (("--survey", "2026-11", "--format", "csv", "--out", "{folder}/none/x"), "{folder}/none: no such folder"),
        (("--survey", "2026-11", "--format", "csv", "--out", "{folder}"), "{folder}: Is a directory"),
        (("--survey", "2026-11", "--format", "parquet", "--out", "{folder}"), "{folder}: not a regular file"),
        (("--survey", "2026-11", "--format", "parquet", "--out", "{folder}/none/x"), "{folder}/none: no such folder"),
        (("--survey", "2026-11", "--format", "parquet", "--out", "/dev/null"), "/dev/null: not a regular file"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_status_1(
    tmp_path: Path, url: str, argv: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert scrapy([url], "export", *(part.format(folder=tmp_path) for part in argv)) == 1
    said, told = capsys.readouterr()
    assert said == ""
    assert told.startswith(f"export: {line.format(folder=tmp_path)}")
    assert told.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_database_that_is_not_there_is_one_line_and_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.sqlite3"
    for urls, line in (
        ([f"sqlite:///{missing}"], f"{missing}: no such database"),
        ([], "SMTPSURVEY_SHARDS is empty: there is no database to export from"),
    ):
        assert export(urls, "jsonl") == 1
        assert capsys.readouterr() == ("", f"export: {line}\n")
    assert not missing.exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("--format", "csv"),
        ("--survey", "a"),
        ("--survey", "a", "--format", "csv", "more"),
        ("--survey", "a", "--format", "xml"),
        ("--survey", "a", "--format", "parquet"),
        ("--survey", "a", "--format", "parquet", "--out", "x.gz"),
    ],
)
def test_wrong_arguments_are_told(url: str, argv: tuple[str, ...]) -> None:
    assert scrapy([url], "export", *argv) == 2


def test_columns_of_parquet_are_those_of_an_item() -> None:
    columns = exports.parquet_columns(SmtpItem)
    assert list(columns) == [*msgspec.to_builtins(full())]
    assert columns["port"] == "BIGINT"
    assert columns["ehlo"] == 'STRUCT("code" BIGINT, "text" VARCHAR, "extensions" MAP(VARCHAR, VARCHAR))'
    assert columns["flags"] == "VARCHAR[]"
