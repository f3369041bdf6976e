"""DNS messages of every shape, for tests of what reads them."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from hypothesis import strategies as st

LABELS = st.one_of(
    st.sampled_from([b"example", b"mx1", b"a", b"MX", b"_tcp", b"x-y", b"www"]),
    st.binary(min_size=1, max_size=63),
)
NAMES = st.lists(LABELS, max_size=6).map(
    lambda labels: dns.name.Name([*labels, b""]) if sum(map(len, labels)) + len(labels) < 250 else dns.name.root
)
TEXTS = st.lists(st.one_of(st.just(b"v=spf1 -all"), st.binary(max_size=255)), min_size=1, max_size=4)


def _rdata(kind: str, name: dns.name.Name, number: int, raw: bytes, texts: list[bytes]) -> dns.rdata.Rdata:
    """Make a record of a type of some bytes that are good for it."""
    wire = name.to_wire() or b""
    body = {
        "A": raw[:4],
        "AAAA": raw[:16],
        "MX": number.to_bytes(2, "big") + wire,
        "TXT": b"".join(bytes((len(text),)) + text for text in texts),
        "SOA": wire + wire + raw[:16] + raw[:4],
        "SRV": number.to_bytes(2, "big") * 3 + wire,
        "CAA": b"\0\5issue" + raw,
        "TLSA": b"\3\1\1" + raw * 2,
        "TYPE65280": raw,
    }.get(kind, wire)
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.from_text(kind), body, 0, len(body))


RECORDS = st.builds(
    dns.rrset.from_rdata,
    NAMES,
    st.one_of(st.just(60), st.integers(0, 2**31 - 1)),
    st.builds(
        _rdata,
        st.sampled_from(
            ["A", "A", "AAAA", "MX", "MX", "NS", "CNAME", "PTR", "TXT", "SOA", "SRV", "CAA", "TLSA", "TYPE65280"]
        ),
        NAMES,
        st.integers(0, 65535),
        st.one_of(
            st.binary(min_size=16, max_size=16), st.just(bytes(15) + b"\1"), st.just(bytes(10) + b"\xff\xff\1\2\3\4")
        ),
        TEXTS,
    ),
)
"""One record each, of common types and some that are rare."""


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw a well-formed response, with whatever servers put beside the answer."""
    name = draw(NAMES)
    query = dns.message.make_query(name, draw(st.sampled_from(["A", "MX", "PTR", "AAAA"])))
    response = dns.message.make_response(query, recursion_available=draw(st.booleans()))
    response.set_rcode(dns.rcode.Rcode(draw(st.sampled_from([0, 0, 0, 2, 3, 5, 1, 4, 9]))))
    if draw(st.booleans()):
        response.flags |= dns.flags.AD
    for section, most in ((response.answer, 4), (response.authority, 2), (response.additional, 2)):
        for record in draw(st.lists(RECORDS, max_size=most)):
            if draw(st.booleans()):
                record.name = name
            section.append(record)
    if draw(st.booleans()):
        response.use_edns(0, payload=1232, ednsflags=draw(st.sampled_from([0, dns.flags.DO])))
    return response.to_wire(max_size=65535)
