"""Routes of earlier surveys, from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surveys import store

from smtpsurvey.kinds import Hop, RouteItem
from smtpsurvey.routes.known import KnownRoutes
from smtpsurvey.store.kinds import rows_of
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PREFIX = "192.0.2.0/24"


def route(day: int, *hops: Hop, prefix: str = PREFIX) -> RouteItem:
    return RouteItem(f"s{day}", f"2026-11-{day:02}T00:00:00.000Z", "192.0.2.1", prefix, list(hops), "completed", "icmp")


def test_the_latest_route_to_a_prefix_that_is_young_enough_and_has_hops(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{number}.sqlite3" for number in (1, 2)]
    shards = store(urls)
    writer = Writer(shards)
    early, late = Hop(1, "10.0.0.1", 1.0), Hop(2, "10.0.0.2", 0.5, 64500, "10.0.0.0/8")
    items = (route(4, late, early), route(2, early), route(6), route(3, early, prefix="192.0.3.0/24"))
    for item in items:
        for server, rows in rows_of(item, shards.placement.server).items():
            writer.write(server, [rows])
    shards.dispose()
    known = KnownRoutes(urls, 1)

    def found(prefix: str, since: str) -> list[tuple[int, str, int | None]] | None:
        hops = known.hops(prefix, since)
        return None if hops is None else [(hop.ttl, hop.address, hop.asn) for hop in hops]

    assert found(PREFIX, "2026-11-01") == [(2, "10.0.0.2", 64500), (1, "10.0.0.1", None)]
    assert found("192.0.3.0/24", "2026-11-01") == [(1, "10.0.0.1", None)]
    assert found(PREFIX, "2026-11-05") is None  # the one of the 6th has no hops
    assert found("192.0.4.0/24", "2026-11-01") is None
    known.close()


def test_a_database_that_does_not_answer_knows_nothing_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = KnownRoutes([f"sqlite:///{tmp_path}/away/x.sqlite3"], 1)
    assert [known.hops(PREFIX, ""), known.hops(PREFIX, "")] == [None, None]
    assert len(caplog.messages) == 1
    assert "Stored routes cannot be read" in caplog.text
    known.close()
