"""The rates hold at every level, over every interval, and nobody who waits is forgotten."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsurvey.admission.pace import FORGET_ABOVE, SLACK, Pacer, prefix_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


class Asked(NamedTuple):
    """A target of a simulation: when it comes, and the network and AS it is in."""

    time: float
    ip: str
    asn: int | None


class Bucket:
    """A token bucket of the textbook, filled drop by drop: the second opinion on the Pacer's."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.burst = self.tokens = 1 + rate * SLACK
        self.time = 0.0

    def take(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + (now - self.time) * self.rate) - 1
        self.time = now
        assert self.tokens >= -1e-6, f"more than {self.burst} + {self.rate} * time at {now}"


def assert_rates_hold(released: Iterable[tuple[float, Asked]], rate: float, prefix_rate: float, as_rate: float) -> None:
    buckets: dict[Hashable, Bucket] = {}
    for now, asked in released:
        keys = [("all", rate), (("prefix", prefix_of(asked.ip)), prefix_rate)]
        if asked.asn is not None:
            keys.append((("AS", asked.asn), as_rate))
        for key, limit in keys:
            if limit:
                buckets.setdefault(key, Bucket(limit)).take(now)


def run(pacer: Pacer[int], asked: list[Asked], late: float = 0.0) -> list[tuple[float, int]]:
    """Let targets come, wait for each due time (and ``late`` seconds more); return when each was let go."""
    gone = []

    def release_until(end: float) -> None:
        while (due := pacer.next_due()) is not None and due + late <= end:
            now = max(due + late, gone[-1][0] if gone else 0.0)
            gone.extend((now, handle) for handle in pacer.release(now))

    for handle, target in enumerate(asked):
        release_until(target.time)
        now = max(target.time, gone[-1][0] if gone else 0.0)
        if pacer.admit(target.ip, target.asn, now):
            gone.append((now, handle))
        else:
            pacer.park(handle, target.ip, target.asn, now)
    release_until(float("inf"))
    return gone


rates = st.sampled_from([0.0, 0.5, 1.0, 3.0, 20.0, 700.0])
arrivals = st.lists(
    st.builds(
        lambda gap, prefix, asn, host: (
            gap,
            f"2001:db8:{prefix}::{host}" if prefix > 3 else f"9.0.{prefix}.{host}",
            asn,
        ),
        st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.3, 2.0]),
        st.integers(0, 5),
        st.sampled_from([None, 64500, 64501]),
        st.integers(1, 9),
    ),
    max_size=80,
)


@settings(deadline=None)
@given(arrivals, rates, rates, rates, st.sampled_from([0.0, 0.01, 0.5]))
def test_rates_hold_everywhere_and_everyone_goes_once_in_the_order_of_its_network(
    gaps: list[tuple[float, str, int | None]], rate: float, prefix_rate: float, as_rate: float, late: float
) -> None:
    now, asked = 0.0, []
    for gap, ip, asn in gaps:
        now += gap
        asked.append(Asked(now, ip, asn))
    pacer: Pacer[int] = Pacer(rate, prefix_rate, as_rate)
    gone = run(pacer, asked, late)

    assert sorted(handle for _, handle in gone) == list(range(len(asked)))
    assert [when for when, _ in gone] == sorted(when for when, _ in gone)
    assert all(when >= asked[handle].time for when, handle in gone)
    assert_rates_hold(((when, asked[handle]) for when, handle in gone), rate, prefix_rate, as_rate)
    if prefix_rate:
        by_prefix = defaultdict(list)
        for _, handle in gone:
            by_prefix[prefix_of(asked[handle].ip)].append(handle)
        assert all(handles == sorted(handles) for handles in by_prefix.values())
    assert pacer.next_due() is None
    assert pacer._heap == []
    assert all(not level.heads and not level.behind for level in pacer._levels if level)


@settings(deadline=None)
@given(arrivals, rates, rates, rates)
def test_nobody_waits_longer_than_all_before_and_beside_it_can_take(
    gaps: list[tuple[float, str, int | None]], rate: float, prefix_rate: float, as_rate: float
) -> None:
    asked = [Asked(0.0, ip, asn) for _, ip, asn in gaps]
    gone = run(Pacer(rate, prefix_rate, as_rate), asked)
    # Were all of them in one network and one AS, and each level served after the other, it would take this long.
    longest = sum(len(asked) / value for value in (rate, prefix_rate, as_rate) if value)
    assert all(when <= longest + 1e-6 for when, _ in gone)


def test_without_rates_all_go_at_once() -> None:
    pacer: Pacer[int] = Pacer(0, 0, 0)
    assert all(pacer.admit("192.0.2.1", 64500, 0.0) for _ in range(1000))


def test_a_slow_network_gets_one_target_at_a_time_evenly_spaced() -> None:
    gone = run(Pacer(0, 2, 0), [Asked(0.0, f"192.0.2.{i}", None) for i in range(6)])
    assert [when for when, _ in gone] == pytest.approx([0, *(n / 2 - SLACK for n in range(1, 6))])


def test_timers_that_are_late_by_less_than_the_slack_cost_no_throughput() -> None:
    gone = run(Pacer(0, 0, 50), [Asked(0.0, f"192.0.2.{i}", 64500) for i in range(200)], late=SLACK / 2)
    assert gone[-1][0] == pytest.approx(200 / 50, abs=2 * SLACK)


def test_a_target_that_may_not_go_takes_no_token_anywhere() -> None:
    pacer: Pacer[int] = Pacer(1, 1, 1)
    assert pacer.admit("192.0.2.1", 64500, 0.0)
    for other_network, asn in (("198.51.100.1", 64500), ("192.0.2.2", 64501), ("198.51.100.1", 64501)):
        assert not pacer.admit(other_network, asn, 0.5)
    # One second after the first (less the slack) everyone's token is back, and nobody else took one.
    assert pacer.admit("198.51.100.1", 64501, 1 - SLACK)


def test_a_newcomer_does_not_overtake_who_waits_for_the_same_bucket() -> None:
    pacer: Pacer[str] = Pacer(0, 1, 0)
    assert pacer.admit("192.0.2.1", None, 0.0)
    pacer.park("second", "192.0.2.2", None, 0.0)
    assert not pacer.admit("192.0.2.3", None, 5.0)
    pacer.park("third", "192.0.2.3", None, 5.0)
    assert pacer.release(5.0) == ["second"]
    assert pacer.release(6 - SLACK) == ["third"]


def test_who_could_go_when_parked_goes_at_the_next_release() -> None:
    pacer: Pacer[str] = Pacer(1, 1, 1)
    pacer.park("late", "192.0.2.1", 64500, 7.0)
    assert pacer.next_due() == 7.0
    assert pacer.release(7.0) == ["late"]
    assert pacer.next_due() is None


def test_a_busy_as_gives_way_to_others_when_the_whole_is_the_bottleneck() -> None:
    asked = [Asked(0.0, f"9.{i >> 8}.{i & 255}.1", 64500) for i in range(300)]
    asked += [Asked(1.0, f"11.{i}.0.1", 64501 + i) for i in range(10)]
    gone = run(Pacer(10, 1, 100), asked)
    last_of_the_others = max(when for when, handle in gone if handle >= 300)
    assert last_of_the_others < 5.0  # behind one of AS64500 at a time, not behind all 300


def test_a_sorted_list_runs_as_fast_as_the_networks_in_the_look_ahead_allow() -> None:
    prefix_rate, hosts, ahead = 5, 10, 1000
    asked = [Asked(0.0, f"9.{n >> 8}.{n & 255}.{host}", None) for n in range(2000) for host in range(hosts)]
    pacer: Pacer[int] = Pacer(0, prefix_rate, 0)
    now, parked, gone = 0.0, 0, []
    for handle, target in enumerate(asked):
        while parked == ahead:
            now = max(now, pacer.next_due() or 0.0)
            released = pacer.release(now)
            parked -= len(released)
            gone += [(now, asked[other]) for other in released]
        if pacer.admit(target.ip, None, now):
            gone.append((now, target))
        else:
            pacer.park(handle, target.ip, None, now)
            parked += 1
    filled = now
    assert_rates_hold(gone, 0, prefix_rate, 0)
    # The window holds the targets of some 100 networks, each of which may be asked 5 times a second.
    assert len(gone) / filled >= 0.9 * prefix_rate * ahead / hosts


def test_idle_networks_are_forgotten() -> None:
    pacer: Pacer[int] = Pacer(0, 2, 50)
    most = 0
    for i in range(200_000):
        assert pacer.admit(f"{i >> 16}.{i >> 8 & 255}.{i & 255}.1", i, i / 10_000)
        most = max(most, *(len(level.due) for level in pacer._levels if level))
    # 10,000 new networks a second, each remembered for half a second: twice that, and no more at the end.
    assert most <= 2 * 5000 + FORGET_ABOVE


def test_a_bucket_is_not_forgotten_before_it_is_full_again() -> None:
    pacer: Pacer[int] = Pacer(0, 2 / SLACK, 0)  # a burst of 3
    assert [pacer.admit("9.9.9.1", None, 0.0) for _ in range(4)] == [True, True, True, False]
    for i in range(3 * FORGET_ABOVE):
        assert pacer.admit(f"10.{i >> 8}.{i & 255}.1", None, 0.9 * SLACK)
    assert [pacer.admit("9.9.9.1", None, 0.9 * SLACK) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("1.2.3.4", "1.2.34.4", False),
        ("2001:db8:1::1", "2001:db8:1:ffff::", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("2001:db8::1", "2001:db8:0:1::1", True),
    ],
)
def test_a_network_is_a_24_or_a_48(one: str, other: str, *, same: bool) -> None:
    assert (prefix_of(one) == prefix_of(other)) == same
