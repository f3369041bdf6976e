"""What scamper says of a trace, also when it says what nobody expects."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsurvey.outcomes import RouteStop
from smtpsurvey.routes.trace import Method, Step, Trace, network_around, read_trace


def said(*hops: tuple[int, str, float], **more: Any) -> bytes:
    listed = [{"addr": addr, "probe_ttl": ttl, "rtt": rtt, "icmp_type": 11} for ttl, addr, rtt in hops]
    return json.dumps({"type": "trace", "userid": 7, "stop_reason": "GAPLIMIT", "hops": listed} | more).encode()


def test_a_trace_is_read_with_its_hops_by_ttl_and_the_first_answer_of_each() -> None:
    record = said((2, "10.0.0.2", 2.5), (1, "10.0.0.1", 1.5), (1, "10.0.0.1", 9.0), (4, "2001:DB8::0", 4.0))
    steps = [Step(1, "10.0.0.1", 1.5), Step(2, "10.0.0.2", 2.5), Step(4, "2001:db8::", 4.0)]
    assert read_trace(record) == Trace(7, RouteStop.GAPLIMIT, steps)


@pytest.mark.parametrize("stop", [stop for stop in RouteStop if stop != RouteStop.NONE])
def test_every_reason_to_stop_is_known(stop: RouteStop) -> None:
    trace = read_trace(said(stop_reason=stop.upper()))
    assert trace is not None
    assert trace.stop is stop


def test_a_reason_that_nobody_knows_is_none() -> None:
    trace = read_trace(said(stop_reason="HALTED"))
    assert trace is not None
    assert (trace.stop, trace.steps) == (RouteStop.NONE, [])


def test_other_records_are_no_traces() -> None:
    assert read_trace(b'{"type":"cycle-start", "id":1}') is None


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"null", said((1, "not an address", 1.0)), said(hops=3)])
def test_what_is_no_record_is_an_error_of_value(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_trace(record)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with suppress(ValueError):
        read_trace(data)


def test_the_commands_that_scamper_takes() -> None:
    assert Method.TCP.command("192.0.2.1", 5) == "trace -P tcp -d 25 -q 2 -w 2 -g 5 -m 40 -U 5 192.0.2.1"
    assert Method.ICMP.command("2001:db8::1", 6) == "trace -P icmp-paris -q 2 -w 2 -g 5 -m 40 -U 6 2001:db8::1"


def test_the_network_of_an_address_that_no_map_knows() -> None:
    assert network_around("192.0.2.77") == "192.0.2.0/24"
    assert network_around("2001:db8:1:2::3") == "2001:db8:1::/48"
