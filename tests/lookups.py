"""Items of other kinds than ``probe``, as crawls and ``scrapy targets`` make them, and as feeds may hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from feeds import DAY, MAYBE, TEXT, TRUTH
from hypothesis import strategies as st
from surveys import TIME

from smtpsurvey.items import Software
from smtpsurvey.kinds import DnsItem, DnsRecord, Exchange, MxItem, ReceivedItem
from smtpsurvey.outcomes import DnsOutcome, MxFlag
from smtpsurvey.store.kinds import rows_of
from smtpsurvey.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpsurvey.store.shards import Shards

NAME = st.text("abc-._'%\\\t\x00", min_size=1, max_size=40)
ADDRESS = st.sampled_from(["192.0.2.1", "192.0.2.200", "2001:db8::1", "::"])
TIMES = st.sampled_from([TIME, DAY])
DURATION = st.floats(0, 1e6)
OUTCOME = st.sampled_from(list(map(str, DnsOutcome)))
RECORD = st.builds(DnsRecord, TEXT, TEXT, st.integers(0, 2**32 - 1), TEXT)


def dns_items(survey: str) -> st.SearchStrategy[DnsItem]:
    return st.builds(
        DnsItem,
        st.just(survey),
        TIMES,
        NAME,
        st.sampled_from(["A", "TYPE65535", "NSEC3PARAM"]),
        OUTCOME,
        MAYBE,
        st.none() | st.lists(RECORD, max_size=3),
        st.none() | ADDRESS,
        TRUTH,
        DURATION,
        MAYBE,
    )


def mx_items(survey: str) -> st.SearchStrategy[MxItem]:
    """Items whose exchanges are found again: each name once, in order, with addresses or dangling or not looked up."""
    flags = st.none() | st.lists(st.sampled_from([str(flag) for flag in MxFlag if flag != MxFlag.DANGLING]), min_size=1)
    addresses = st.none() | st.lists(ADDRESS, min_size=1, unique=True).map(sorted)
    exchange = st.builds(Exchange, st.integers(0, 65535), NAME, addresses, flags) | st.builds(
        Exchange, st.integers(0, 65535), NAME, st.just([]), st.just(["dangling"])
    )
    exchanges = st.lists(exchange, min_size=1, max_size=4, unique_by=lambda each: each.name)
    answer = st.none() | exchanges.map(lambda some: sorted(some, key=lambda each: (each.preference, each.name)))
    return st.builds(
        MxItem,
        *(st.just(survey), TIMES, NAME, OUTCOME, st.booleans(), st.just(value=False), answer),
        *(MAYBE, st.none() | ADDRESS, TRUTH, DURATION, MAYBE),
    )


def received_items(survey: str) -> st.SearchStrategy[ReceivedItem]:
    claims = st.none() | st.just({"greeting": "a", "behaviour": "b"})
    software = st.builds(Software, MAYBE, TEXT, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, claims)
    count = st.integers(1, 2**31 - 1)
    seen = st.none() | software, count, TRUTH, count, TEXT
    return st.builds(ReceivedItem, st.just(survey), TIMES, ADDRESS, MAYBE, *seen) | st.builds(
        ReceivedItem, st.just(survey), TIMES, st.none(), TEXT, *seen
    )


def plain(item: Any) -> Any:
    return msgspec.to_builtins(item)


def keyed(items: Iterable[Any]) -> list[Any]:
    return sorted(map(plain, items), key=msgspec.json.encode)


def put(shards: Shards, items: Iterable[Any], writer: Writer | None = None) -> None:
    """Write items one by one."""
    writer = writer or Writer(shards)
    for item in items:
        for server, rows in rows_of(item, shards.placement.server).items():
            writer.write(server, [rows])


def domain(name: str, *exchanges: Exchange, survey: str = "now", outcome: str = "ok", **more: Any) -> MxItem:
    """Make the item of a domain that was looked up at ``surveys.TIME``."""
    return MxItem(survey, more.pop("time", TIME), name, outcome, exchanges=list(exchanges) or None, **more)


def to(name: str, *addresses: str, preference: int = 10, flags: list[str] | None = None) -> Exchange:
    """Make an exchange whose addresses were looked up."""
    return Exchange(preference, name, list(addresses), flags)
