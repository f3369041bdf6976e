"""``scrapy import`` from the command line's side, into SQLite and a real MariaDB."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
from backports import zstd
from feeds import encoded, full, items
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scrapy.cmdline import execute
from scrapy.settings import Settings
from servers.crawl import REPOSITORY
from servers.mariadb import MariaDb, running
from test_store_feeds import GRAB, ZMAP

from smtpsurvey.items import ReplyItem, SmtpItem, Software
from smtpsurvey.store import StoreError, importer
from smtpsurvey.store.feeds import Feed
from smtpsurvey.store.importer import Importer
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.writer import RefusedError, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME = "2026-11-25T01:02:03.456Z"


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


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'one.sqlite3'}"


def scrapy(urls: object, *argv: object, **settings: object) -> int:
    """Run the command as ``scrapy`` does; return its exit status."""
    given = {"COMMANDS_MODULE": "smtpsurvey.commands", "SMTPSURVEY_SHARDS": urls, "SMTPSURVEY_TABLES_PER_SHARD": 2}
    with pytest.raises(SystemExit) as ended:
        execute(["scrapy", "import", *map(str, argv)], Settings({**given, **settings}))
    return int(ended.value.code or 0)


def stored(urls: list[str], survey: str = "2026-11") -> dict[tuple[str, int], SmtpItem]:
    shards = Shards(urls, 2)
    try:
        found = list(Reader(shards).items(survey))
    finally:
        shards.dispose()
    keyed = {(item.ip, item.port): item for item in found}
    assert len(keyed) == len(found)
    return keyed


def plain(item: SmtpItem) -> dict[str, Any]:
    return attrs.asdict(item)


def hosts(count: int) -> list[SmtpItem]:
    made = []
    for number in range(count):
        item = full()
        item.ip = f"10.0.{number // 256}.{number % 256}"
        made.append(item)
    return made


def lines(made: list[SmtpItem]) -> bytes:
    return msgspec.json.Encoder().encode_lines(made)


def test_files_of_every_packing_are_stored_once_however_often_they_come(
    tmp_path: Path, urls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "_BATCH", 7)
    made = hosts(60)
    packed = {"a": bytes, "b.gz": gzip.compress, "c.zst": zstd.compress}
    for number, (name, pack) in enumerate(packed.items()):
        (tmp_path / name).write_bytes(pack(lines(made[20 * number : 20 * number + 20])))
    paths = [tmp_path / name for name in packed]
    for _ in range(2):
        assert scrapy(urls, *paths) == 0
        assert capsys.readouterr() == ("".join(f"{path}: 20 observations stored\n" for path in paths), "")
        found = stored(urls)
        assert [plain(found[item.ip, 25]) for item in made] == [plain(item) for item in made]
    shards = Shards(urls, 2)
    (survey,) = Reader(shards).surveys()
    shards.dispose()
    assert (survey.label, survey.started, survey.finished, survey.observations) == ("2026-11", TIME, TIME, 60)


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def shards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shards]:
    url = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'survey.sqlite3'}"
    if request.param == "mariadb":
        url = request.getfixturevalue("mariadb").url()
    shards = Shards([url])
    shards.create()
    yield shards
    shards.dispose()


@given(st.lists(items(), min_size=1, max_size=3, unique_by=lambda item: (item.ip, item.port)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_an_item_holds_it_is_stored_and_read_back(
    shards: Shards, tmp_path_factory: pytest.TempPathFactory, made: list[SmtpItem]
) -> None:
    path = tmp_path_factory.getbasetemp() / "hypothesis.jsonl"
    path.write_bytes(lines(made))
    told: list[object] = []
    stores = Importer(shards, lambda *refused: told.append(refused))
    stores.add(Feed(str(path), None, lambda *bad: told.append(bad)))
    stores.finish()
    assert (told, stores.stored) == ([], {"probe": len(made)})
    found = {(item.ip, item.port): plain(item) for item in Reader(shards).items("2026-11")}
    assert [found[item.ip, item.port] for item in made] == [plain(item) for item in made]


def test_a_later_line_of_the_same_host_counts(tmp_path: Path, urls: list[str]) -> None:
    first, second = full(), full()
    second.tag = "second"
    (tmp_path / "feed").write_bytes(lines([first, second]))
    assert scrapy(urls, tmp_path / "feed") == 0
    assert [item.tag for item in stored(urls).values()] == ["second"]


def test_bad_lines_are_told_counted_and_left_out(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "feed"
    path.write_bytes(lines(hosts(2)) + encoded(full(), outcome="\x1b[31m") + lines(hosts(3)) + encoded(full())[:50])
    assert scrapy([url], path) == 0
    said, told = capsys.readouterr()
    assert said == f"{path}: 5 observations stored, 2 bad lines left out\n"
    first, second = told.splitlines()
    assert first == rf"import: {path}:3: outcome cannot be '\x1b[31m'"
    assert second.startswith(f"import: {path}:7: half-written last line, left out: ")
    assert len(stored([url])) == 3


def test_of_many_bad_lines_the_first_are_told_and_the_rest_counted(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"{}\n" * 150 + encoded(full()))
    assert scrapy([url], path) == 0
    said, told = capsys.readouterr()
    assert said == f"{path}: 1 observations stored, 150 bad lines left out\n"
    assert len(told.splitlines()) == 101
    assert told.splitlines()[-1] == f"{path}: ... and 50 more bad lines"


@pytest.mark.parametrize("data", [b"", b"{}\n", b"\n\n", b'{"kind":"mx"}\n'])
def test_where_nothing_can_be_stored_the_status_is_1(tmp_path: Path, url: str, data: bytes) -> None:
    (tmp_path / "feed").write_bytes(data)
    assert scrapy([url], tmp_path / "feed") == 1


def test_one_file_that_cannot_be_read_does_not_hold_back_the_next(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = tmp_path / "bad.gz", tmp_path / "good"
    bad.write_bytes(gzip.compress(lines(hosts(5000)))[:-100])
    good.write_bytes(encoded(full()))
    assert scrapy([url], bad, good) == 0
    said, told = capsys.readouterr()
    assert told == f"import: {bad}: the archive is truncated\n"
    assert said.splitlines()[-1] == f"{good}: 1 observations stored"
    assert len(stored([url])) > 1000


def test_what_is_missing_is_told_before_anything_is_stored(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "feed").write_bytes(encoded(full()))
    assert scrapy([url], tmp_path / "feed", tmp_path / "none") == 1
    assert capsys.readouterr() == ("", f"import: {tmp_path / 'none'}: No such file or directory\n")
    assert not (tmp_path / "one.sqlite3").exists()


def test_a_folder_is_told(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scrapy([url], tmp_path) == 1
    assert capsys.readouterr().err == f"import: {tmp_path}: Is a directory\n"


@pytest.mark.parametrize(
    ("urls", "argv", "line"),
    [
        ([], (), "SMTPSURVEY_SHARDS is empty: there is no database to import into"),
        (["nonsense"], (), "SMTPSURVEY_SHARDS, entry 1: no database URL that can be used (ArgumentError)"),
        (["sqlite:///x"], ("--survey", " a"), "survey ' a': a survey's label has 1 to 255 characters and no blank at"),
        (["sqlite:////nowhere/x"], (), "/nowhere/x: unable to open database file"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_1(
    tmp_path: Path, urls: list[str], argv: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "feed").write_bytes(encoded(full()))
    assert scrapy(urls, tmp_path / "feed", *argv) == 1
    said, told = capsys.readouterr()
    assert said == ""
    assert told.startswith(f"import: {line}")
    assert told.count("\n") == 1


def test_without_files_it_is_no_import(url: str) -> None:
    assert scrapy([url]) == 2


def test_standard_input_and_pipes_are_read(tmp_path: Path, url: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    argv = [sys.executable, "-m", "scrapy", "import", "-", str(pipe), "-s", f"SMTPSURVEY_SHARDS={url}"]
    (tmp_path / "feed").write_bytes(lines(hosts(3)))
    writer = subprocess.Popen(["sh", "-c", 'cat "$0" > "$1"', tmp_path / "feed", pipe])
    try:
        ended = subprocess.run(
            [*argv, "-s", "SMTPSURVEY_TABLES_PER_SHARD=2"],
            cwd=REPOSITORY,
            input=encoded(full()),
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
    finally:
        writer.kill()  # where nobody has opened the pipe
        writer.wait()
    assert ended.stdout.decode().splitlines() == ["-: 1 observations stored", f"{pipe}: 3 observations stored"]
    assert len(stored([url])) == 4


def test_verdicts_are_kept_or_made_anew(tmp_path: Path, url: str) -> None:
    known, unknown, refused = hosts(3)
    known.greeting = ReplyItem(220, "mx.example.org ESMTP Exim 4.97 Wed, 25 Nov 2026 01:02:03 +0000")
    unknown.greeting = ReplyItem(220, "x")
    unknown.ehlo = unknown.helo = unknown.starttls_reply = unknown.quit = unknown.tls = unknown.starttls = None
    refused.outcome, refused.greeting, refused.software = "refused", None, Software(None, "x")
    (tmp_path / "feed").write_bytes(lines([known, unknown, refused]))

    def products() -> list[str | None]:
        return [item.software and item.software.product for _, item in sorted(stored([url]).items())]

    assert scrapy([url], tmp_path / "feed") == 0
    assert products() == ["Postfix", "Postfix", "x"]
    assert scrapy([url], tmp_path / "feed", "--classify") == 0
    assert products() == ["Exim", None, None]


def test_fingerprints_that_cannot_be_read_are_one_line(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "feed").write_bytes(encoded(full()))
    assert scrapy([url], tmp_path / "feed", "--classify", SMTPSURVEY_FINGERPRINTS=["none.toml"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_zgrab2_and_zmap_go_into_the_survey_that_is_named(
    tmp_path: Path, urls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grab").write_bytes(GRAB)
    (tmp_path / "zmap").write_bytes(ZMAP)
    assert scrapy(urls, tmp_path / "grab", tmp_path / "zmap", "--survey", "mine") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'grab'}: 1 observations stored",
        f"{tmp_path / 'zmap'}: 2 observations stored",
        (
            f"{tmp_path / 'zmap'}: 1 addresses answered a SYN, and no more is known of them: no observation. "
            f"To see what speaks there: scrapy crawl smtp -a targets={tmp_path / 'zmap'}"
        ),
    ]
    assert {key: item.outcome for key, item in stored(urls, "mine").items()} == {
        ("192.0.2.9", 25): "ok",
        ("192.0.2.2", 2525): "refused",
        ("192.0.2.3", 25): "refused",
    }


def test_without_a_label_zgrab2_is_told_to_need_one(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grab").write_bytes(GRAB * 3)
    assert scrapy([url], tmp_path / "grab") == 1
    assert capsys.readouterr().err == (
        f"import: {tmp_path / 'grab'}: a result of zgrab2 has no survey's label: say --survey LABEL\n"
    )


def test_a_plain_list_of_addresses_is_no_observation(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zmap"
    path.write_bytes(b"192.0.2.1\n192.0.2.2\n")
    assert scrapy([url], path) == 1
    assert capsys.readouterr().out.splitlines()[1].endswith(f"scrapy crawl smtp -a targets={path}")


def test_other_items_are_counted_and_left_out(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "feed"
    path.write_bytes(encoded(full()) + b'{"kind":"mx\\u001b"}\n' + b'{"kind":"log"}\n' * 2)
    assert scrapy([url], path) == 0
    assert capsys.readouterr().out == (
        f"{path}: 1 observations stored, 3 lines that are no observation of SMTP left out (log 2, mx\\x1b 1)\n"
    )


def survey_of(shards: Shards) -> list[tuple[str, str, str | None, dict[str, Any]] | None]:
    found = Reader(shards).find("2026-11")
    return [survey and (survey.label, survey.started, survey.finished, survey.settings) for survey in found]


def test_a_survey_that_a_crawl_made_stays_as_it_is(tmp_path: Path, urls: list[str]) -> None:
    shards = Shards(urls, 2)
    shards.create()
    Writer(shards).begin_survey("2026-11", "2026-11-01T00:00:00.000Z", {"SMTPSURVEY_RATE": 5})
    (tmp_path / "feed").write_bytes(encoded(full()))
    assert scrapy(urls, tmp_path / "feed") == 0
    assert survey_of(shards) == [("2026-11", "2026-11-01T00:00:00.000Z", None, {"SMTPSURVEY_RATE": 5})] * 2
    shards.dispose()


def test_a_server_that_does_not_know_a_crawls_survey_learns_of_it(tmp_path: Path, urls: list[str]) -> None:
    one, both = Shards(urls[:1], 2), Shards(urls, 2)
    both.create()
    Writer(one).begin_survey("2026-11", "2026-11-01T00:00:00.000Z", {"SMTPSURVEY_RATE": 5})
    Writer(one).end_survey("2026-11", "2026-11-02T00:00:00.000Z")
    (tmp_path / "feed").write_bytes(encoded(full()))
    assert scrapy(urls, tmp_path / "feed") == 0
    crawl = ("2026-11", "2026-11-01T00:00:00.000Z", "2026-11-02T00:00:00.000Z", {"SMTPSURVEY_RATE": 5})
    assert survey_of(both) == [crawl, crawl]
    one.dispose()
    both.dispose()


def test_a_survey_of_imports_is_finished_at_its_latest_observation_and_not_before(
    tmp_path: Path, urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last, early = hosts(3)
    last.time, early.time = "2026-11-25T09:00:00.000Z", "2026-11-25T00:00:00.000Z"
    (tmp_path / "feed").write_bytes(lines([first, last]))
    (tmp_path / "more").write_bytes(lines([early]))
    shards = Shards(urls, 2)
    with monkeypatch.context() as broken:
        broken.setattr(Importer, "finish", lambda _self: None)  # as if it had been killed there
        assert scrapy(urls, tmp_path / "feed") == 0
    assert survey_of(shards) == [("2026-11", TIME, None, {"IMPORTED": True})] * 2
    for name in ("feed", "more"):
        assert scrapy(urls, tmp_path / name) == 0
        assert survey_of(shards) == [("2026-11", TIME, last.time, {"IMPORTED": True})] * 2
    shards.dispose()


def test_what_a_database_refuses_is_told_with_its_line_and_the_rest_is_stored(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Writer.write

    def refusing(self: Writer, server: int, batch: list[SmtpItem]) -> None:
        if any(item.ip == "10.0.0.4" for item in batch):
            raise RefusedError("not this one")
        write(self, server, batch)

    monkeypatch.setattr(Writer, "write", refusing)
    path = tmp_path / "feed"
    path.write_bytes(lines(hosts(9)))
    assert scrapy([url], path) == 0
    assert capsys.readouterr() == (
        f"{path}: 8 observations stored, 1 bad lines left out\n",
        f"import: {path}:5: not this one\n",
    )
    assert len(stored([url])) == 8


def test_a_row_that_is_too_long_for_mariadb_is_left_out(
    tmp_path: Path, mariadb: MariaDb, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [mariadb.url()]
    item = full()
    item.name = "'" * 9_000_000  # twice as long in a statement, of which a server takes 16 MiB
    path = tmp_path / "feed"
    path.write_bytes(lines(hosts(3)) + encoded(item, duration=1) + lines(hosts(4)[3:]))
    assert scrapy(urls, path) == 0
    said, told = capsys.readouterr()
    assert said == f"{path}: 4 observations stored, 1 bad lines left out\n"
    assert told.startswith(f"import: {path}:4: ")
    assert told.count("\n") == 1
    assert len(stored(urls)) == 4


def test_a_database_that_goes_away_ends_the_import_with_one_line(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = Writer.write, 0

    def failing(self: Writer, server: int, batch: list[SmtpItem]) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise StoreError("db: gone")
        write(self, server, batch)

    monkeypatch.setattr(Writer, "write", failing)
    monkeypatch.setattr(importer, "_BATCH", 3)
    path = tmp_path / "feed"
    path.write_bytes(lines(hosts(10)))
    assert scrapy([url], path) == 1
    assert capsys.readouterr() == (
        "",
        f"{path}: 6 observations stored; run the same import again\nimport: db: gone\n",
    )
    monkeypatch.undo()
    assert scrapy([url], path) == 0
    assert len(stored([url])) == 10
