"""Both readers of answers give the same, or both give nothing, whatever comes."""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING

import dns.message
import dns.rrset
import pytest
from doubles.messages import messages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpsurvey.dns import reader
from smtpsurvey.dns.query import query, question
from smtpsurvey.dns.reader import BadMessageError, Read, is_answer, read, read_fast, read_slowly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUIET = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def told(what: Callable[[bytes], Read], wire: bytes) -> object:
    """Give what a reader says, in a form that compares."""
    try:
        found = what(wire)
    except BadMessageError:
        return "bad"
    return found[:3], [(record.name, record.type, record.ttl, record.value) for record in found.records]


def same(wire: bytes) -> bool:
    """Compare the readers where the fast one reads at all; tell whether it did."""
    try:
        read_fast(wire)
    except (reader._UnusualError, IndexError, struct.error):
        assert told(read, wire) == told(read_slowly, wire)
        return False
    assert told(read_fast, wire) == told(read_slowly, wire)
    return True


def answer(
    *records: str,
    name: str = "example.org",
    kind: str = "MX",
    authority: Sequence[str] = (),
    additional: Sequence[str] = (),
) -> bytes:
    response = dns.message.make_response(dns.message.make_query(name, kind, use_edns=0), recursion_available=True)
    for number, section in enumerate((records, authority, additional), 1):
        for record in section:
            owner, ttl, type_, value = record.split(" ", 3)
            response.sections[number].append(dns.rrset.from_text(owner, int(ttl), "IN", type_, value))
    return response.to_wire()


def test_what_is_common_is_read_fast() -> None:
    common = [
        answer("example.org. 60 MX 10 mx1.example.org.", "example.org. 60 MX 20 mx.example.net."),
        answer("example.org. 60 CNAME www.example.com.", "www.example.com. 5 A 192.0.2.1", kind="A"),
        answer("example.org. 60 AAAA 2001:db8::1", kind="AAAA"),
        answer("1.2.0.192.in-addr.arpa. 60 PTR mx.example.org.", name="1.2.0.192.in-addr.arpa", kind="PTR"),
        answer('example.org. 60 TXT "v=spf1 -all" "b"', kind="TXT"),
        answer(),
    ]
    assert all(same(wire) for wire in common)
    found = read(common[0])
    assert (found.rcode, found.truncated, found.ad) == ("NOERROR", False, False)
    assert [record.value for record in found.records] == ["10 mx1.example.org.", "20 mx.example.net."]
    assert [record.value for record in read(common[4]).records] == ['"v=spf1 -all" "b"']


def test_what_is_rare_is_read_too() -> None:
    wire = answer("example.org. 60 MX 10 mx\\032one.example.org.", "example.org. 60 MX 0 .")
    assert not same(wire)
    assert [record.value for record in read(wire).records] == ["10 mx\\032one.example.org.", "0 ."]


@given(messages())
@QUIET
def test_readers_agree_on_good_messages(wire: bytes) -> None:
    same(wire)


@given(messages(), st.data())
@QUIET
def test_readers_agree_on_broken_messages(wire: bytes, data: st.DataObject) -> None:
    broken = bytearray(wire)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at] = data.draw(st.one_of(st.sampled_from([0, 1, 0xC0, 0xFF, 0x3F, 0x40]), st.integers(0, 255)))
    same(bytes(broken[: data.draw(st.integers(0, len(broken)))]) if data.draw(st.booleans()) else bytes(broken))


@given(st.binary(max_size=200))
@QUIET
def test_readers_agree_on_noise(noise: bytes) -> None:
    same(noise)
    same(b"\0\1\x81\x80\0\1\0\1\0\0\0\0" + noise)


def mutations(seed: int, count: int) -> int:
    """Compare the readers on many messages made of a few; give how many were read fast."""
    random = Random(seed)
    seeds = [
        answer("example.org. 60 MX 10 mx1.example.org.", "example.org. 60 MX 20 mx.example.net."),
        answer("example.org. 60 CNAME www.example.com.", "www.example.com. 5 A 192.0.2.1", kind="A"),
        answer('example.org. 60 TXT "v=spf1 -all" "b"', kind="TXT"),
        answer("example.org. 60 AAAA 2001:db8::1", kind="AAAA"),
        answer("1.2.0.192.in-addr.arpa. 60 PTR mx.example.org.", name="1.2.0.192.in-addr.arpa", kind="PTR"),
        answer(authority=("org. 900 SOA a.nic.example. root.nic.example. 1 3600 600 86400 60",)),
        answer(
            authority=("example.org. 900 NS ns1.example.org.", "example.org. 900 NS ns2.example.org."),
            additional=("ns1.example.org. 900 A 192.0.2.1", "ns2.example.org. 900 AAAA 2001:db8::1"),
        ),
    ]
    fast = 0
    for number in range(count):
        wire = bytearray(seeds[number % len(seeds)])
        for _ in range(random.randrange(3)):
            wire[random.randrange(len(wire))] = random.randrange(256)
        if not random.randrange(4):  # a piece again or elsewhere, and a section that may have a record more
            at, size = random.randrange(len(wire)), random.choice((1, 2, 11, 16))
            to = random.choice((at, len(wire), random.randrange(len(wire))))
            wire[to:to] = wire[at : at + size]
            section = random.choice((7, 9, 11))
            wire[section] = (wire[section] + 1) % 256
        fast += same(bytes(wire))
    return fast


def test_readers_agree_on_a_few_thousand_mutations() -> None:
    assert mutations(1, 4000) > 1000


@pytest.mark.soak
def test_readers_agree_on_a_million_mutations() -> None:
    assert mutations(2, 1_000_000) > 300_000


def test_records_that_may_come_once_or_not_at_all() -> None:
    wire = answer("example.org. 60 MX 10 mx1.example.org.")
    option = wire[-11:]
    assert option.startswith(b"\0\0\x29")
    assert same(wire)
    for more in (option, b"\0\0\x29\x04\xd0\1\0\0\0\0\0", b"\0\0\xfa\0\xff\0\0\0\0\0\0"):  # OPT, BADVERS, TSIG
        assert not same(wire[:11] + b"\2" + wire[12:] + more)


def test_only_an_answer_to_our_question_is_one() -> None:
    asked = question("example.org", "MX")
    wire = answer("example.org. 60 MX 10 mx1.example.org.")
    assert is_answer(wire, asked)
    assert is_answer(wire.replace(b"example", b"eXample", 1), asked)
    assert not is_answer(wire, question("example.org", "A"))
    assert not is_answer(wire, question("example.net", "MX"))
    assert not is_answer(query(1, asked), asked)  # no response
    assert not is_answer(wire[:11], asked)
    assert not is_answer(b"", asked)
    assert not is_answer(wire[:2] + bytes((wire[2] | 0x20,)) + wire[3:], asked)  # of an update
    https, ixfr = question("example.org", "HTTPS"), question("example.org", "TYPE97")  # 65 and 97: A and a in ASCII
    assert is_answer(wire[:12] + https, https)
    assert not is_answer(wire[:12] + ixfr, https)
    assert is_answer(b"\0\1\x81\x81\0\0\0\0\0\0\0\0", asked)  # FORMERR, by those who could not read the question
    assert not is_answer(b"\0\1\x81\x80\0\0\0\0\0\0\0\0", asked)
    assert not is_answer(b"\0\1\x81\x83\0\0\0\0\0\0\0\0", asked)
