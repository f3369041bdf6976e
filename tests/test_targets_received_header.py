import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpsurvey.classify.rules import read_rules
from smtpsurvey.targets.received_header import Received, read_received, received_time
from smtpsurvey.targets.received_route import Hop, hops
from smtpsurvey.targets.received_software import ReceivedRule, ReceivedSoftware, received_rules

EXCHANGE = """Received: from MBX.example.org (2001:db8::9) by
 hub.example.org (198.51.100.7) with Microsoft SMTP Server
 (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) id
 15.1.2507.31; Wed, 25 Nov 2026 02:35:59 +0000
"""

SOFTWARE = ReceivedSoftware()


@pytest.mark.parametrize("rule", received_rules(), ids=lambda rule: rule.id)
def test_each_rule_names_its_own_examples(rule: ReceivedRule) -> None:
    assert rule.examples
    for example in rule.examples:
        found = SOFTWARE.of(read_received(example.text.encode() + b"; Wed, 25 Nov 2026 02:37:00 +0000").text)
        assert found is not None, example
        assert (found.rule, found.version) == (f"received:{rule.id}", example.version)
        assert (found.vendor, found.product, found.evidence) == (rule.vendor, rule.product, "received")


def test_names_are_those_of_the_fingerprints_so_that_shares_add_up() -> None:
    fingerprints = {(rule.vendor, rule.product) for origin in read_rules("builtin") for rule in [origin.rule]}
    assert {(rule.vendor, rule.product) for rule in received_rules()} <= fingerprints


def test_an_exchange_build_is_named_by_its_release() -> None:
    found = SOFTWARE.of(read_received(EXCHANGE.partition(":")[2].encode()).text)
    assert found is not None
    assert found.edition is not None
    assert found.edition.startswith("2016")
    assert found.cpe is not None


def header(text: str) -> Received:
    return read_received(text.encode())


@pytest.mark.parametrize(
    ("text", "names", "address", "by", "by_address"),
    [
        # Postfix, Sendmail: what the client said, then its name by DNS and its address
        (
            "from a.example (b.example [192.0.2.1]) by c.example (Postfix) with ESMTP id 1; x",
            ("a.example", "b.example"),
            "192.0.2.1",
            "c.example",
            None,
        ),
        (
            "from [10.0.0.1] (unknown [IPv6:2001:db8::1]) by c.example (Postfix); x",
            (),
            "2001:db8::1",
            "c.example",
            None,
        ),
        (
            "from a.example (b.example [192.0.2.1] (may be forged)) by c.example (8.15.2/8.15.2); x",
            ("a.example", "b.example"),
            "192.0.2.1",
            "c.example",
            None,
        ),
        # Exim: the address, and what the client said behind it, which may be an address literal
        (
            "from [192.0.2.1] (port=4242 helo=[192.0.2.9]) by c.example with esmtp (Exim 4.95) id 1; x",
            (),
            "192.0.2.1",
            "c.example",
            None,
        ),
        (
            "from b.example ([192.0.2.1]:4242 helo=a.example) by c.example with esmtp (Exim 4.95); x",
            ("b.example", "a.example"),
            "192.0.2.1",
            "c.example",
            None,
        ),
        # CommuniGate, IronPort, qmail
        (
            "from [192.0.2.1] (HELO [192.0.2.9]) by c.example (CommuniGate Pro SMTP 6.1.2) with ESMTP id 1; x",
            (),
            "192.0.2.1",
            "c.example",
            None,
        ),
        (
            "from unknown (HELO a.example) ([192.0.2.1]) by c.example with ESMTP/TLS/AES256-SHA; x",
            ("a.example",),
            "192.0.2.1",
            "c.example",
            None,
        ),
        ("from unknown (HELO a.example) (192.0.2.1) by 0 with SMTP; x", ("a.example",), "192.0.2.1", None, None),
        # Momentum, Exchange, Gmail, MDaemon
        (
            "from [192.0.2.1] ([192.0.2.1:6387] helo=a.example) by c.example (ecelerity 2.2.2.32 r(1)) with ESMTP; x",
            ("a.example",),
            "192.0.2.1",
            "c.example",
            None,
        ),
        (
            "from A.example (192.0.2.1) by C.example (192.0.2.2) with Microsoft SMTP Server (TLS) id 15.0.1.4; x",
            ("a.example",),
            "192.0.2.1",
            "c.example",
            "192.0.2.2",
        ),
        (
            "from a.example ([fe80::1%3]) by c.example ([fe80::2%4]) with mapi id 15.20.1.2; x",
            ("a.example",),
            "fe80::1",
            "c.example",
            "fe80::2",
        ),
        (
            "from a.example (b.example. [192.0.2.1]) by mx.google.com with ESMTPS id 1 for <x@example.org>; x",
            ("a.example", "b.example"),
            "192.0.2.1",
            "mx.google.com",
            None,
        ),
        ("by 2002:a05:6358:0:b0:1:2:3 with SMTP id x; x", (), None, None, "2002:a05:6358:0:b0:1:2:3"),
        (
            "from a.example ([192.0.2.1]) by c.example (IPv6:2001:db8::2) (MDaemon PRO v23.5.1) with ESMTPSA id md1; x",
            ("a.example",),
            "192.0.2.1",
            "c.example",
            "2001:db8::2",
        ),
        # a version is no address; an IPv4-mapped address is an IPv4 address
        (
            "from a.example ([::ffff:192.0.2.1]) by c.example (IceWarp 11.3.0.4 RHEL6 x64) with ESMTP; x",
            ("a.example",),
            "192.0.2.1",
            "c.example",
            None,
        ),
        ("nonsense", (), None, None, None),
        ("", (), None, None, None),
    ],
)
def test_the_client_and_the_server_are_found_wherever_a_program_puts_them(
    text: str, names: tuple[str, ...], address: str | None, by: str | None, by_address: str | None
) -> None:
    found = header(text)
    assert (found.names, found.address, found.by, found.by_address) == (names, address, by, by_address)


def test_the_with_clause_says_the_protocol() -> None:
    assert header("from a by b.example (with love) with ESMTPSA id with; x").protocol == "ESMTPSA"
    assert header("from a by b.example; x").protocol is None


def test_times_are_read_and_what_is_none_is_none() -> None:
    assert received_time(b"by x; Wed, 25 Nov 2026 03:37:00 +0100 (CET)") == 1795574220.0
    for text in (b"by x", b"by x; yesterday", b"by x; Wed, 99 Nov 99999999 02:37:00 +9999999999"):
        assert received_time(text) is None


def route(*texts: str) -> list[Hop]:
    read_ = [header(text) for text in texts]
    return list(hops([(each, SOFTWARE.of(each.text)) for each in read_]))


def test_a_forged_header_is_not_consistent_with_the_one_above_it() -> None:
    found = route(
        "from evil.example (evil.example [192.0.2.66]) by mx.example.com (Postfix) with ESMTP id 1; x",
        "from bank.example ([192.0.2.1]) by relay.bank.example (8.15.2/8.15.2) with ESMTP id 2; x",
    )
    assert [(hop.address, hop.name, hop.hop, hop.consistent) for hop in found] == [
        (None, "mx.example.com", 1, None),
        (None, "relay.bank.example", 2, False),
        ("192.0.2.66", "evil.example", 2, False),
        ("192.0.2.1", "bank.example", 3, None),
    ]


def test_an_address_alone_makes_hops_consistent() -> None:
    found = route(
        "from x ([192.0.2.2]) by mx.example.com (Postfix); x",
        "from y ([192.0.2.3]) by INTERNAL.example (192.0.2.2) with Microsoft SMTP Server id 15.1.1.1; x",
    )
    assert (found[1].address, found[1].name, found[1].consistent) == ("192.0.2.2", "internal.example", True)


def test_a_filter_on_the_same_host_gives_no_loopback_address() -> None:
    found = route(
        "from localhost (localhost [127.0.0.1]) by mx.example.com (Postfix) with ESMTP id 1; x",
        "from mx.example.com ([127.0.0.1]) by localhost (mx.example.com [127.0.0.1]) (amavisd-new, port 10024); x",
        "from out.example.net (out.example.net [192.0.2.1]) by mx.example.com (Postfix) with ESMTP id 3; x",
    )
    assert [(hop.address, hop.name, hop.hop, hop.consistent) for hop in found] == [
        (None, "mx.example.com", 1, None),
        (None, "mx.example.com", 3, True),
        ("192.0.2.1", "out.example.net", 4, None),
    ]


def test_qmail_tells_of_itself_in_a_header_above() -> None:
    (first, second) = route(
        "(qmail 2401 invoked from network); 25 Nov 2026 02:37:00 -0000",
        "from unknown (HELO a.example) (192.0.2.1) by mx.example.com with SMTP; x",
    )
    assert first.software is not None
    assert (first.name, first.software.product, first.hop) == ("mx.example.com", "qmail", 1)
    assert second.software is None


WORDS = st.one_of(
    st.sampled_from(["from", "by", "with", "id", "(", ")", "[", "]", "helo=", "HELO", ";", "\t", "\n ", "xn--", "\0"]),
    st.sampled_from(["a.example", "[192.0.2.1]", "::1", "1.2.3.4", "IPv6:", "(Postfix)", "(Exim 4.9)", "\xff"]),
    st.just("Wed, 25 Nov 2026 25:61:00"),
)
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(
    st.lists(st.one_of(st.lists(WORDS).map(" ".join).map(lambda text: text.encode("latin-1")), st.binary(max_size=100)))
)
def test_forged_headers_crash_nothing(values: list[bytes]) -> None:
    read_ = [read_received(value) for value in values]
    for value in values:
        received_time(value)
    for hop in hops([(each, SOFTWARE.of(each.text)) for each in read_]):
        assert hop.address or hop.name
        assert 1 <= hop.hop <= len(values) + 1
