from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from servers.mariadb import MariaDb, running
from surveys import item, store, tls, write

from smtpsurvey.store import StoreError
from smtpsurvey.store.aggregates import grouped, keys, pairs, require
from smtpsurvey.store.migrations import VERSION, record
from smtpsurvey.store.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTS = 12


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shards]:
    """Make two databases with three tables each, so that every count has to be summed over six."""
    if request.param == "mariadb":
        server: MariaDb = request.getfixturevalue("mariadb")
        urls = [server.url(), server.url()]
    else:
        urls = [f"sqlite:///{tmp_path / name}" for name in ("a.sqlite3", "b.sqlite3")]
    made = store(urls, 3)
    yield made
    made.dispose()


def test_counts_are_summed_over_servers_and_tables(shards: Shards) -> None:
    write(shards, "now", [item(n, "Exim", "Exim", "4.97" if n % 2 else None, asn=64500) for n in range(HOSTS)])
    write(shards, "other", [item(n) for n in range(5)])
    assert grouped(shards, "now", "vendor", "product", "version") == {
        ("Exim", "Exim", "4.97"): 6,
        ("Exim", "Exim", None): 6,
    }
    assert grouped(shards, "now", "asn") == {(64500,): HOSTS}
    assert grouped(shards, "unknown", "asn") == Counter()


def test_answering_leaves_out_what_gave_no_greeting(shards: Shards) -> None:
    write(shards, "now", [item(n, outcome="ok" if n < 3 else "silent") for n in range(HOSTS)])
    assert grouped(shards, "now", "outcome") == {("ok",): 3, ("silent",): 9}
    assert grouped(shards, "now", "outcome", answering=True) == {("ok",): 3}


def test_keys_are_counted_by_host_not_by_certificate(shards: Shards) -> None:
    write(
        shards,
        "now",
        [
            *(item(n, tls=tls("TLSv1.3")) for n in range(5)),
            item(5, tls=tls("TLSv1.3", key="ed25519")),
            item(6, tls=tls("TLSv1.3", key=None)),
            item(7, tls=tls(None, trusted=None)),
            item(8),
        ],
    )
    assert keys(shards, "now") == {"rsa-2048": 5, "ed25519": 1, None: 1}


def test_pairs_are_the_hosts_that_answered_in_either_survey(shards: Shards) -> None:
    exim = ("Exim", "Exim", "4.97")
    write(
        shards,
        "old",
        [
            item(1, *exim, asn=64500),
            item(2, *exim, asn=64500),
            item(3, *exim, asn=64500),
            item(4, outcome="silent"),
            item(5, *exim, asn=64501),
        ],
    )
    write(
        shards,
        "new",
        [
            item(1, *exim, asn=64500),
            item(2, "Exim", "Exim", "4.98", asn=64500),
            item(3, outcome="silent", asn=64500),  # vanished although it was recorded
            item(4, "Postfix", "Postfix", None),  # appeared although it was recorded
            item(6, asn=64502),
        ],
    )
    assert pairs(shards, "old", "new") == {
        (64500, True, True, "Exim", "4.97", "Exim", "4.97"): 1,
        (64500, True, True, "Exim", "4.97", "Exim", "4.98"): 1,
        (64500, True, False, "Exim", "4.97", None, None): 1,
        (None, False, True, None, None, "Postfix", None): 1,
        (64501, True, False, "Exim", "4.97", None, None): 1,
        (64502, False, True, None, None, None, None): 1,
    }


def test_a_column_that_is_none_is_a_key_error(shards: Shards) -> None:
    with pytest.raises(KeyError):
        grouped(shards, "now", "nonsense")


def test_a_complete_store_is_accepted(shards: Shards) -> None:
    require(shards)


def test_a_missing_sqlite_file_is_told_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite3"
    with pytest.raises(StoreError, match=f"^{path}: no such database$"):
        require(Shards([f"sqlite:///{path}"]))
    assert not path.exists()


def test_a_database_without_surveys_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    sqlite3.connect(path).close()
    path.touch()
    shards = Shards([f"sqlite:///{path}"])
    with pytest.raises(StoreError, match="no surveys in this database"):
        require(shards)
    shards.dispose()
    assert sqlite3.connect(path).execute("select count(*) from sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize("version", ["1", "2", "3", str(VERSION - 1)])
def test_an_earlier_version_is_told_what_to_do_and_left_alone(tmp_path: Path, version: str) -> None:
    shards = store([f"sqlite:///{tmp_path / 'a.sqlite3'}"])
    with shards[0].begin() as connection:
        shards.schema.metadata.drop_all(connection, [shards.schema.classifications, *shards.schema.others.values()])
        record(connection, shards.schema, "version", version)
    with pytest.raises(StoreError) as caught:
        require(shards)
    assert str(caught.value) == (
        f"{shards[0].name}: schema version {version}, {VERSION} is needed: run `scrapy shards init`"
    )
    shards.prepare(upgrade=True)
    require(shards)
    shards.dispose()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite3"
    path.write_text("no database at all, but long enough to be read as a header of one, or not " * 20)
    shards = Shards([f"sqlite:///{path}"])
    with pytest.raises(StoreError, match="file is not a database"):
        require(shards)
    shards.dispose()


def test_tables_that_the_settings_do_not_count_are_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.sqlite3'}"
    store([url], 2).dispose()
    shards = Shards([url], 1)
    with pytest.raises(StoreError, match="more tables than SMTPSURVEY_TABLES_PER_SHARD says: observations_01"):
        require(shards)
    shards.dispose()
