"""Where mail goes: RFC 5321 section 5.1, RFC 7505, and what domains make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from doubles.resolving import TableResolver, answer_of
from twisted.internet.defer import Deferred

from smtpsurvey.admission.exclusions import Exclusions, networks_of
from smtpsurvey.admission.reserved import SPECIAL_PURPOSE
from smtpsurvey.dns.exchanges import Exchanges, oddity
from smtpsurvey.dns.lines import ListedName
from smtpsurvey.dns.mx import MAX_EXCHANGES, MailExchanges, exchanges_of
from smtpsurvey.outcomes import MxFlag

if TYPE_CHECKING:
    from smtpsurvey.kinds import MxItem

ZONE = {
    "two.example MX": ["20 mx2.example.", "10 MX1.example."],
    "equal.example MX": ["10 mx2.example.", "10 mx1.example.", "10 mx1.example."],
    "mx1.example A": ["8.8.8.1"],
    "mx1.example AAAA": ["2600::1"],
    "mx2.example A": ["8.8.8.2"],
    "implicit.example A": ["8.8.8.3"],
    "v6.example AAAA": ["2600:0:0::6"],
    "none.example TXT": ["text"],
    "null.example MX": ["0 ."],
    "mixed.example MX": ["0 .", "10 mx1.example."],
    "alias.example MX": ["10 cname.example."],
    "cname.example A": ["cname.example 60 CNAME mx1.example.", "mx1.example 60 A 8.8.8.1"],
    "cname.example AAAA": ["cname.example 60 CNAME mx1.example.", "mx1.example 60 AAAA 2600::1"],
    "www.example MX": ["www.example 60 CNAME two.example.", "two.example 60 MX 10 mx1.example."],
    "web.example A": ["web.example 60 CNAME mx2.example.", "mx2.example 60 A 8.8.8.2"],
    "literal.example MX": ["10 192.0.2.1.", "20 [ipv6:2001:db8::1]."],
    "local.example MX": ["10 localhost.", "20 a.localhost."],
    "dangling.example MX": ["10 nowhere.example.", "20 none.example."],
    "private.example MX": ["10 private-mx.example."],
    "private-mx.example A": ["8.8.8.9", "10.0.0.1"],
    "bad.example MX": ["10 a\\032b.example.", "20 1.2.3.", "30 -x.example."],
    "slow.example MX": ["10 slow-mx.example."],
    "slow-mx.example A": ["timeout"],
    "slow-mx.example AAAA": ["no_data"],
    "half.example MX": ["10 half-mx.example."],
    "half-mx.example A": ["8.8.8.4"],
    "half-mx.example AAAA": ["servfail"],
    "mapped.example MX": ["10 mapped-mx.example."],
    "mapped-mx.example AAAA": ["::ffff:8.8.8.8"],
    "broken.example MX": ["servfail"],
    "unknown.example A": ["timeout"],
    "unknown.example MX": ["no_data"],
    "foreign.example MX": ["other.example 60 MX 10 mx1.example."],
}


def look_up(domain: str, zone: dict[str, list[str]] | None = None, **more: Any) -> tuple[MxItem, TableResolver]:
    resolver = TableResolver(ZONE if zone is None else zone)
    mail = MailExchanges(resolver, exchanges(resolver), "s", "list") if more.get("addresses", True) else None  # type: ignore[arg-type]
    mail = mail or MailExchanges(resolver, None, "s", "list")  # type: ignore[arg-type]  # the part of a resolver that is used
    return result(Deferred.fromCoroutine(mail.look_up(ListedName(domain, 0, more.get("good", True))))), resolver


def exchanges(resolver: TableResolver, limit: int = 1 << 20, allow: list[str] | None = None) -> Exchanges:
    return Exchanges(resolver, Exclusions(SPECIAL_PURPOSE, networks_of("", allow or [])), limit)  # type: ignore[arg-type]


def result(deferred: Deferred[Any]) -> Any:
    """Take what has come, or raise."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def shown(item: MxItem) -> list[tuple[Any, ...]]:
    assert item.exchanges is not None
    return [(e.preference, e.name, e.addresses, e.flags) for e in item.exchanges]


BOTH = ["8.8.8.1", "2600::1"]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("two.example", [(10, "mx1.example", BOTH, None), (20, "mx2.example", ["8.8.8.2"], None)]),
        ("equal.example", [(10, "mx1.example", BOTH, None), (10, "mx2.example", ["8.8.8.2"], None)]),
        ("www.example", [(10, "mx1.example", BOTH, None)]),
        ("alias.example", [(10, "cname.example", BOTH, ["cname"])]),
        (
            "literal.example",
            [(10, "192.0.2.1", None, ["literal"]), (20, "[ipv6:2001:db8::1]", None, ["literal"])],
        ),
        ("local.example", [(10, "localhost", None, ["localhost"]), (20, "a.localhost", None, ["localhost"])]),
        (
            "dangling.example",
            [(10, "nowhere.example", [], ["dangling"]), (20, "none.example", [], ["dangling"])],
        ),
        ("private.example", [(10, "private-mx.example", ["8.8.8.9", "10.0.0.1"], ["reserved"])]),
        (
            "bad.example",
            [
                (10, "a\\032b.example", None, ["bad_name"]),
                (20, "1.2.3", None, ["bad_name"]),
                (30, "-x.example", None, ["bad_name"]),
            ],
        ),
        ("slow.example", [(10, "slow-mx.example", None, None)]),  # not known is not dangling
        ("half.example", [(10, "half-mx.example", ["8.8.8.4"], None)]),
        ("mapped.example", [(10, "mapped-mx.example", [], ["dangling"])]),
        ("mixed.example", [(0, "", None, ["bad_name"]), (10, "mx1.example", BOTH, None)]),
    ],
)
def test_exchanges_by_preference_with_addresses_and_flags(domain: str, expected: list[tuple[Any, ...]]) -> None:
    item, _ = look_up(domain)
    assert (item.outcome, item.implicit, item.null_mx) == ("ok", False, False)
    assert shown(item) == expected


@pytest.mark.parametrize(
    ("domain", "addresses"),
    [("implicit.example", ["8.8.8.3"]), ("v6.example", ["2600::6"]), ("web.example", ["8.8.8.2"])],
)
def test_a_domain_without_mx_is_its_own_exchange(domain: str, addresses: list[str]) -> None:
    item, _ = look_up(domain)
    assert (item.outcome, item.implicit) == ("ok", True)
    assert shown(item) == [(None, domain, addresses, None)]


def test_a_null_mx_is_nothing_to_probe() -> None:
    item, resolver = look_up("null.example")
    assert (item.outcome, item.null_mx, item.exchanges, item.implicit) == ("ok", True, [], False)
    assert resolver.asked == ["null.example MX"]


@pytest.mark.parametrize(
    ("domain", "outcome"),
    [
        ("none.example", "no_data"),
        ("missing.example", "nxdomain"),
        ("broken.example", "servfail"),
        ("unknown.example", "timeout"),  # whether it has an implicit MX
        ("foreign.example", "no_data"),  # records of another name are no answer
    ],
)
def test_a_domain_without_exchanges_has_its_outcome(domain: str, outcome: str) -> None:
    item, _ = look_up(domain)
    assert (item.outcome, item.exchanges, item.implicit, item.null_mx) == (outcome, None, False, False)


def test_a_domain_that_does_not_exist_has_no_implicit_mx_to_ask_for() -> None:
    assert look_up("missing.example")[1].asked == ["missing.example MX"]


def test_a_bad_name_is_never_asked_for() -> None:
    item, resolver = look_up("a..b", good=False)
    assert (item.domain, item.outcome, resolver.asked) == ("a..b", "bad_name", [])
    assert item.time.endswith("Z")


def test_without_addresses_one_query_a_domain() -> None:
    item, resolver = look_up("two.example", addresses=False)
    assert shown(item) == [(10, "mx1.example", None, None), (20, "mx2.example", None, None)]
    assert resolver.asked == ["two.example MX"]
    item, resolver = look_up("implicit.example", addresses=False)
    assert (item.outcome, item.implicit, resolver.asked) == ("no_data", False, ["implicit.example MX"])


def test_the_item_says_who_answered_and_when() -> None:
    item, _ = look_up("two.example")
    assert (item.survey, item.source, item.time) == ("s", "list", "2026-11-25T00:00:00.000Z")
    assert (item.rcode, item.server, item.ad, item.duration, item.kind) == ("NOERROR", "192.0.2.53", False, 0.25, "mx")


def test_a_domain_with_thousands_of_exchanges_does_not_make_us_ask_for_all() -> None:
    zone = {"many.example MX": [f"10 mx{n:04}.example." for n in range(1000)]}
    item, resolver = look_up("many.example", zone)
    assert item.exchanges is not None
    assert len(item.exchanges) == 1000
    assert len(resolver.asked) == 1 + MAX_EXCHANGES
    assert [e.addresses for e in item.exchanges] == [[]] * MAX_EXCHANGES + [None] * (1000 - MAX_EXCHANGES)


def test_each_exchange_is_asked_for_once() -> None:
    resolver = TableResolver(ZONE)
    cache = exchanges(resolver)
    mail = MailExchanges(resolver, cache, "s", None)  # type: ignore[arg-type]
    for domain in ("two.example", "equal.example", "www.example", "dangling.example", "dangling.example"):
        result(Deferred.fromCoroutine(mail.look_up(ListedName(domain, 0))))
    assert sorted(q for q in resolver.asked if "MX" not in q) == [
        "mx1.example A",
        "mx1.example AAAA",
        "mx2.example A",
        "mx2.example AAAA",
        "none.example A",
        "none.example AAAA",
        "nowhere.example A",
    ]
    assert (cache.asked, cache.hits) == (9, 5)


def test_what_is_not_sure_is_asked_for_again() -> None:
    resolver = TableResolver(ZONE)
    cache = exchanges(resolver)
    for _ in range(2):
        assert cache.known("slow-mx.example") is None
        result(Deferred.fromCoroutine(cache.find("slow-mx.example")))
    assert resolver.asked.count("slow-mx.example A") == 2


def test_look_ups_at_the_same_time_share_the_queries() -> None:
    resolver = TableResolver(ZONE, later=True)
    cache = exchanges(resolver)
    looking = [Deferred.fromCoroutine(cache.find("mx1.example")) for _ in range(5)]
    while resolver.answer_all():
        pass
    assert resolver.asked == ["mx1.example A", "mx1.example AAAA"]
    assert [result(each).addresses for each in looking] == [tuple(BOTH)] * 5


def test_the_cache_is_bounded_and_forgets_what_was_not_used() -> None:
    resolver = TableResolver({f"mx{n}.example A": ["8.8.8.8"] for n in range(1000)})
    cache = exchanges(resolver, limit=50_000)
    for n in range(1000):
        if cache.known(f"mx{n}.example") is None:
            result(Deferred.fromCoroutine(cache.find(f"mx{n}.example")))
        assert cache.known("mx0.example") is not None  # used all the time
        assert cache.bytes <= 50_000
    assert cache.known("mx999.example") is not None
    assert cache.known("mx1.example") is None


def test_an_address_that_is_allowed_is_not_flagged() -> None:
    resolver = TableResolver(ZONE)
    host = result(Deferred.fromCoroutine(exchanges(resolver, allow=["10.0.0.0/8"]).find("private-mx.example")))
    assert host.flags == ()


def test_loops_of_aliases_end() -> None:
    answer = answer_of("a.example", "MX", ["a.example 1 CNAME b.example.", "b.example 1 CNAME a.example."])
    assert exchanges_of(answer) == []


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("mx.example", None),
        ("_mx.example", None),
        ("192.0.2.1", MxFlag.LITERAL),
        ("[192.0.2.1]", MxFlag.LITERAL),
        ("::1", MxFlag.LITERAL),
        ("300.1.1.1", MxFlag.BAD_NAME),
        ("1.2.3", MxFlag.BAD_NAME),
        ("localhost", MxFlag.LOCALHOST),
        ("x.localhost", MxFlag.LOCALHOST),
        ("*.example", MxFlag.BAD_NAME),
        ("a@b.example", MxFlag.BAD_NAME),
        ("", MxFlag.BAD_NAME),
    ],
)
def test_odd_names_are_flagged(name: str, flag: MxFlag | None) -> None:
    assert oddity(name) is flag
