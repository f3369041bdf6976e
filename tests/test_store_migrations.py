from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lookups import domain, put, to
from servers.mariadb import MariaDb, running
from sqlalchemy import MetaData, func, insert, inspect, select
from sqlalchemy.schema import CreateTable
from surveys import item, write

from smtpsurvey.store import StoreError, migrations
from smtpsurvey.store.migrations import REBALANCE, VERSION, record, recorded
from smtpsurvey.store.reader import Reader
from smtpsurvey.store.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from smtpsurvey.store.schema import Schema

PROCESSES = 4
# Each process has imported everything, and opens the database when it is told to.
OPEN = """\
import sys
from smtpsurvey.store.shards import Shards
shards = Shards([sys.argv[1]], 8)
print("ready", flush=True)
sys.stdin.readline()
shards.prepare(upgrade=True)
"""


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    if request.param == "mariadb":
        return request.getfixturevalue("mariadb").url
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'survey.sqlite3'}"


@pytest.fixture
def shards(new_url: Callable[[], str]) -> Iterator[Shards]:
    shards = Shards([new_url()], 2)
    yield shards
    shards.dispose()


def about(shards: Shards, name: str) -> str | None:
    with shards[0].begin() as connection:
        return recorded(connection, shards.schema, name)


def tables(shards: Shards) -> set[str]:
    with shards[0].begin() as connection:
        return set(inspect(connection).get_table_names())


def definitions(shards: Shards) -> dict[str, str]:
    """What the database itself says its tables are."""
    found = MetaData()
    with shards[0].begin() as connection:
        found.reflect(connection)
        return {name: str(CreateTable(table).compile(connection)) for name, table in found.tables.items()}


def first_version(shards: Shards) -> None:
    """Make the tables as they were before databases told their version."""
    schema = shards.schema
    later = {"store", "classifications", "verdicts", *schema.others}
    old = [table for table in schema.metadata.sorted_tables if table.name not in later]
    with shards[0].begin() as connection:
        schema.metadata.create_all(connection, old)
        connection.execute(insert(schema.surveys), {"label": "old", "started": "2026", "settings": "{}"})


def surveys(shards: Shards) -> int | None:
    with shards[0].begin() as connection:
        return connection.scalar(select(func.count()).select_from(shards.schema.surveys))


def test_a_new_database_tells_its_version_and_has_an_identity_that_stays(shards: Shards) -> None:
    shards.create()
    assert about(shards, "version") == str(VERSION)
    identity = about(shards, "id")
    shards.prepare(upgrade=True)
    assert about(shards, "id") == identity
    assert identity is not None
    assert len(identity) == 32


def test_an_earlier_version_is_refused_until_it_is_upgraded_and_keeps_its_rows(
    shards: Shards, new_url: Callable[[], str]
) -> None:
    first_version(shards)
    with pytest.raises(StoreError, match=f"schema version 1, {VERSION} is needed: run `scrapy shards init`"):
        shards.create()
    shards.prepare(upgrade=True)
    shards.create()
    assert about(shards, "version") == str(VERSION)
    assert surveys(shards) == 1
    new = Shards([new_url()], 2)
    new.create()
    assert definitions(shards) == definitions(new)
    new.dispose()


@pytest.mark.parametrize("version", [str(VERSION + 1), "99", "two", "-1"])
def test_a_version_we_do_not_know_is_refused_in_one_line(shards: Shards, version: str) -> None:
    shards.create()
    with shards[0].begin() as connection:
        record(connection, shards.schema, "version", version)
    for upgrade in (False, True):
        with pytest.raises(StoreError) as caught:
            shards.prepare(upgrade=upgrade)
        assert str(caught.value) == (
            f"{shards[0].name}: schema version {version}, we know {VERSION}: a newer smtpsurvey made this database"
        )


def test_a_creation_that_was_broken_off_is_completed(shards: Shards) -> None:
    schema = shards.schema
    with shards[0].begin() as connection:
        schema.metadata.create_all(connection, [schema.store, schema.observations[0], schema.surveys])
        record(connection, schema, "version", "0")
    shards.create()
    assert tables(shards) == set(schema.metadata.tables)
    assert about(shards, "version") == str(VERSION)


def test_the_second_version_gets_the_tables_of_verdicts_and_keeps_its_rows(shards: Shards) -> None:
    first_version(shards)
    with shards[0].begin() as connection:
        shards.schema.store.create(connection)
        record(connection, shards.schema, "version", "2")
    with pytest.raises(StoreError, match=f"schema version 2, {VERSION} is needed: run `scrapy shards init`"):
        shards.create()
    assert not {"classifications", "verdicts"} & tables(shards)
    shards.prepare(upgrade=True)
    assert {"classifications", "verdicts"} < tables(shards)
    assert about(shards, "version") == str(VERSION)
    assert surveys(shards) == 1


def test_an_upgrade_that_was_broken_off_is_taken_again(shards: Shards) -> None:
    first_version(shards)
    with shards[0].begin() as connection:
        shards.schema.store.create(connection)
    with pytest.raises(StoreError, match="schema version 1"):
        shards.create()
    shards.prepare(upgrade=True)
    assert about(shards, "version") == str(VERSION)
    assert surveys(shards) == 1


def test_steps_are_taken_from_the_version_that_is_there_and_a_failure_is_taken_up_there(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards.create()
    taken: list[str] = []

    def step(name: str, *, broken: bool = False) -> Any:
        def take(_connection: Connection, _schema: Schema) -> None:
            taken.append(name)
            if broken:
                raise StoreError("the disk is full")

        return take

    def release(*steps: Any) -> None:
        monkeypatch.setattr(migrations, "STEPS", (*steps,))
        monkeypatch.setattr(migrations, "VERSION", 1 + len(steps))

    with shards[0].begin() as connection:
        record(connection, shards.schema, "version", "2")
    release(step("2"), step("3"), step("4", broken=True))
    with pytest.raises(StoreError, match="the disk is full"):
        shards.prepare(upgrade=True)
    assert taken == ["3", "4"]
    release(step("2"), step("3"), step("4"))
    shards.prepare(upgrade=True)
    assert taken == ["3", "4", "3", "4"]  # what no DDL committed is rolled back on both kinds
    assert about(shards, "version") == "4"
    shards.prepare(upgrade=True)
    assert taken == ["3", "4", "3", "4"]


def test_processes_that_create_the_same_database_at_once_do_not_hinder_each_other(new_url: Callable[[], str]) -> None:
    url = new_url()
    run = [sys.executable, "-c", OPEN, url]
    started = [
        subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * PROCESSES
    shards = Shards([url], 8)
    shards.create()
    with shards[0].begin() as connection:
        names = list(connection.scalars(select(shards.schema.store.c.name)))
    assert sorted(names) == ["id", "version"]
    shards.dispose()


def test_a_database_that_another_process_holds_is_not_waited_for_without_end(
    mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mariadb.url()
    shards, other = Shards([url]), Shards([url])
    monkeypatch.setattr(migrations, "_LOCK_SECONDS", 0)
    with (
        other[0].begin() as connection,
        migrations._alone(connection),
        pytest.raises(StoreError, match="another process has been preparing this database"),
    ):
        shards.create()
    shards.create()  # the lock is given back
    shards.dispose()
    other.dispose()


def test_two_urls_of_one_database_are_refused(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> None:
    url = mariadb.url()
    folder = tmp_path_factory.mktemp("links")
    (folder / "link.sqlite3").symlink_to(folder / "file.sqlite3")
    for first, second in (
        (url, url.replace("127.0.0.1", "127.0.0.01")),
        (f"sqlite:///{folder}/file.sqlite3", f"sqlite:///{folder}/link.sqlite3"),
    ):
        shards = Shards([first, second])
        with pytest.raises(StoreError, match="are the same database"):
            shards.create()
        shards.dispose()


def test_a_survey_does_not_start_while_rows_are_on_their_way_elsewhere(shards: Shards) -> None:
    shards.create()
    with shards[0].begin() as connection:
        record(connection, shards.schema, REBALANCE, "{}")
    with pytest.raises(StoreError, match="`scrapy shards rebalance` was begun and has to be finished first"):
        shards.create()


@pytest.mark.parametrize(("kind", "version"), [("MariaDB", (10, 5, 99)), ("MySQL", (5, 7, 44))])
def test_a_server_that_is_too_old_is_refused_in_one_line(
    mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch, kind: str, version: tuple[int, ...]
) -> None:
    shards = Shards([mariadb.url()])
    with shards[0].begin():
        pass  # the dialect asks for the version once
    dialect = shards[0].engine.dialect
    monkeypatch.setattr(dialect, "is_mariadb", kind == "MariaDB")
    monkeypatch.setattr(dialect, "server_version_info", version)
    found, needed = ".".join(map(str, version)), {"MariaDB": "10.6", "MySQL": "8.0"}[kind]
    with pytest.raises(StoreError) as caught:
        shards.create()
    assert str(caught.value) == f"{shards[0].name}: {kind} {found} is too old; {needed} or later is needed"
    shards.dispose()


def test_the_third_version_gets_the_tables_of_other_kinds_and_keeps_its_rows(
    shards: Shards, new_url: Callable[[], str]
) -> None:
    shards.create()
    schema = shards.schema
    write(shards, "old", [item(1), item(2)])
    with shards[0].begin() as connection:
        schema.metadata.drop_all(connection, schema.others.values())
        record(connection, schema, "version", "3")
    with pytest.raises(StoreError, match=f"schema version 3, {VERSION} is needed: run `scrapy shards init`"):
        shards.create()
    with shards[0].begin() as connection:  # an upgrade that was broken off behind a table and before its index
        sought = schema.others["addresses"]
        sought.create(connection)
        for index in sought.indexes:
            index.drop(connection)
    shards.prepare(upgrade=True)
    assert set(schema.others) < tables(shards)
    assert len(list(Reader(shards).items("old"))) == 2
    put(shards, [domain("a.example", to("mx.example", "192.0.2.1"))])
    new = Shards([new_url()], 2)
    new.create()
    names = set(schema.others)
    with shards[0].begin() as here, new[0].begin() as there:
        assert {name: inspect(here).get_indexes(name) for name in names} == {
            name: inspect(there).get_indexes(name) for name in names
        }
    assert {name: definitions(shards)[name] for name in names} == {name: definitions(new)[name] for name in names}
    new.dispose()


def test_the_fourth_version_gets_columns_for_more_of_tls_and_keeps_its_rows(
    shards: Shards, new_url: Callable[[], str]
) -> None:
    shards.create()
    schema, digest = shards.schema, "ab" * 32
    last = ("domain", "tls_group", "sni", "matches_domain", "staple", "second_tls", "dane")
    with shards[0].begin() as connection:
        connection.execute(insert(schema.certificates), {"sha256": digest, "key": "rsa-2048"})
        for table, columns in (
            *((table.name, last) for table in schema.observations),
            ("certificates", ("signature", "self_signed")),
        ):
            for column in columns:
                connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        record(connection, schema, "version", "4")
    with pytest.raises(StoreError, match="schema version 4"):
        shards.create()
    with shards[0].begin() as connection:  # an upgrade that was broken off
        connection.exec_driver_sql("ALTER TABLE certificates ADD COLUMN signature MEDIUMTEXT")
    shards.prepare(upgrade=True)
    with shards[0].begin() as connection:
        stored = connection.execute(select(schema.certificates)).one()
    assert (stored.sha256, stored.key, stored.signature, stored.self_signed) == (digest, "rsa-2048", None, None)
    new = Shards([new_url()], 2)
    new.create()
    names = {name: re.findall(r"^\t(\w+) ", text, re.MULTILINE) for name, text in definitions(new).items()}
    assert {name: re.findall(r"^\t(\w+) ", text, re.MULTILINE) for name, text in definitions(shards).items()} == names
    new.dispose()
