from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from surveys import item, store, tls, write

from smtpsurvey.store import StoreError
from smtpsurvey.store import verify as verify_module
from smtpsurvey.store.shards import Shards
from smtpsurvey.store.verify import Findings, chunks, verify
from smtpsurvey.store.writer import Tally, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Shards]:
    """Three databases with a survey in its place."""
    shards = store([f"sqlite:///{tmp_path / name}.sqlite3" for name in "abc"], 2)
    write(
        shards, "now", [item(number, tls=tls("TLSv1.3")) for number in range(1, 101)], [Tally("a", "timeout", None, 5)]
    )
    yield shards
    shards.dispose()


def counts(found: Findings) -> tuple[int, int, int, int, int]:
    return found.duplicates, found.orphans, found.certificates, found.tallies, found.surveys


def test_nothing_is_wrong_with_what_a_survey_wrote(shards: Shards) -> None:
    found = verify(shards)
    assert counts(found) == (0,) * 5
    assert found.problems == 0
    assert sum(found.rows.values()) == 100
    assert list(found.rows) == shards.names


def test_a_copy_on_another_server_is_a_duplicate(shards: Shards) -> None:
    home = shards.placement.server("192.0.2.7")
    for server in {0, 1, 2} - {home}:
        Writer(shards).write(server, [item(7, tls=tls("TLSv1.3"))])
    found = verify(shards)
    assert counts(found) == (2, 0, 0, 0, 0)
    (example,) = found.examples
    assert example.startswith("now, 192.0.2.7 port 25: in ")
    assert all(name in example for name in shards.names)


def test_a_row_that_is_only_where_it_does_not_belong_is_an_orphan(shards: Shards) -> None:
    away = (shards.placement.server("192.0.2.200") + 1) % 3
    Writer(shards).write(away, [item(200)])
    assert counts(verify(shards)) == (0, 1, 0, 0, 0)


def test_two_orphans_of_one_key_are_one_orphan_and_one_duplicate(shards: Shards) -> None:
    home = shards.placement.server("192.0.2.200")
    for server in {0, 1, 2} - {home}:
        Writer(shards).write(server, [item(200)])
    assert counts(verify(shards)) == (1, 1, 0, 0, 0)


def test_a_row_in_another_table_of_its_server_is_found(shards: Shards) -> None:
    server = shards.placement.server("192.0.2.7")
    tables = shards.schema.observations
    number = shards.placement.table("192.0.2.7")
    with shards[server].begin() as connection:
        copied = tables[number].select().where(tables[number].c.ip == "192.0.2.7")
        connection.execute(tables[1 - number].insert().from_select(tables[0].c.keys(), copied))
    assert counts(verify(shards)) == (1, 0, 0, 0, 0)


def test_certificates_tallies_and_surveys_that_are_missing_or_elsewhere_are_found(shards: Shards) -> None:
    schema, rows = shards.schema, verify(shards).rows
    with shards[0].begin() as connection:
        connection.execute(schema.certificates.delete())
        connection.execute(schema.surveys.delete())
    away = (shards.placement.server("now") + 1) % 3
    with shards[away].begin() as connection:
        connection.execute(
            schema.tallies.insert(), {"survey": "now", "source": "a", "outcome": "timeout", "count": 5, "reason": None}
        )
    found = verify(shards)
    assert counts(found) == (0, 0, rows[shards.names[0]], 1, 1)
    assert found.problems == rows[shards.names[0]] + 2
    assert sum("no certificate" in line for line in found.examples) == 2
    assert f"tallies of now: in {shards.names[away]}" in "".join(found.examples)
    assert f"survey now: unknown to {shards.names[0]}" in found.examples


def test_only_the_first_examples_are_kept(shards: Shards) -> None:
    # As if another list had been used: everything but the share of one server is in the wrong place.
    turned = Shards([str(shard.engine.url) for shard in shards][:2][::-1], 2)
    alone = Shards([str(shards[0].engine.url)], 2)
    write(alone, "other", [item(number) for number in range(1, 101)])
    found = verify(turned)
    assert found.orphans > 20
    assert len(found.examples) == 10
    turned.dispose()
    alone.dispose()


def test_memory_is_bounded_by_chunks_that_together_are_all_rows(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sorted(ip for chunk in chunks(shards) for ip in chunk.ips)
    monkeypatch.setattr(verify_module, "_SCAN", 3)
    pieces = [chunk.ips for chunk in chunks(shards)]
    assert max(map(len, pieces)) == 3
    assert sorted(ip for ips in pieces for ip in ips) == whole
    assert len(whole) == 100


def test_labels_that_differ_in_case_alone_are_two_surveys(shards: Shards) -> None:
    write(shards, "Now", [item(1), item(2)])
    labels = [chunk.survey for chunk in chunks(shards) for _ in chunk.ips]
    assert (labels.count("now"), labels.count("Now")) == (100, 2)
    assert verify(shards).problems == 0


def test_a_database_without_tables_is_one_clear_line(tmp_path: Path) -> None:
    shards = Shards([f"sqlite:///{tmp_path / 'none.sqlite3'}"])
    with pytest.raises(StoreError, match="no such database"):
        verify(shards)
    assert not (tmp_path / "none.sqlite3").exists()
