"""The timer wheel against a plain list of deadlines."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from smtpsurvey.probe.wheel import TICK, TimerWheel


class Alarm:
    def __init__(self) -> None:
        self.deadline = 0.0
        self.slot: int | None = None


@given(
    start=st.floats(0, 1e6),
    delays=st.lists(st.floats(0, 500), min_size=1, max_size=30),
)
def test_each_timer_fires_after_its_deadline_and_within_one_tick(start: float, delays: list[float]) -> None:
    wheel = TimerWheel(start)
    alarms = {Alarm(): start + delay for delay in delays}
    for alarm, deadline in alarms.items():
        wheel.set(alarm, deadline)
    fired = set()
    for moment in sorted(set(alarms.values()) | {d + TICK for d in alarms.values()}):
        for alarm in wheel.advance(moment):
            assert alarm not in fired
            assert moment > alarms[alarm]  # type: ignore[index]  # the wheel gives back what it was given
            fired.add(alarm)
        assert all(alarm in fired for alarm, deadline in alarms.items() if deadline + TICK <= moment)
    assert len(fired) == len(alarms)
    assert not len(wheel)


class WheelMachine(RuleBasedStateMachine):
    """Set, set again, cancel and move the clock in any order; a dict of deadlines says what must be."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.wheel = TimerWheel(self.now)
        self.alarms = [Alarm() for _ in range(6)]
        self.due: dict[Alarm, float] = {}  # when each may fire
        self.late: dict[Alarm, float] = {}  # when each must have fired

    @rule(which=st.integers(0, 5), delay=st.floats(-5, 300))
    def set(self, which: int, delay: float) -> None:
        alarm, deadline = self.alarms[which], self.now + delay
        self.wheel.set(alarm, deadline)
        self.due[alarm], self.late[alarm] = deadline, max(deadline, self.now) + TICK

    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        self.wheel.cancel(self.alarms[which])
        self.due.pop(self.alarms[which], None)

    @rule(step=st.one_of(st.floats(0, 1), st.floats(0, 1000)))
    def advance(self, step: float) -> None:
        self.now += step
        for alarm in self.wheel.advance(self.now):
            assert self.due.pop(alarm) < self.now  # type: ignore[arg-type]  # the wheel gives back what it was given
            assert alarm.slot is None
        assert all(self.late[alarm] > self.now for alarm in self.due)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.wheel) == len(self.due)
        assert all(alarm.slot is not None for alarm in self.due)


WheelMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestWheel = WheelMachine.TestCase


def test_a_deadline_that_has_passed_fires_with_the_next_tick() -> None:
    wheel, alarm = TimerWheel(100.0), Alarm()
    wheel.set(alarm, 3.0)
    assert wheel.advance(100.1) == []
    assert wheel.advance(100.0 + TICK) == [alarm]


def test_a_clock_that_steps_back_fires_nothing_and_loses_nothing() -> None:
    wheel, alarm = TimerWheel(100.0), Alarm()
    wheel.set(alarm, 101.0)
    assert wheel.advance(90.0) == []
    assert wheel.advance(101.0 + TICK) == [alarm]


def test_setting_again_moves_the_timer_earlier_and_later() -> None:
    wheel, alarm = TimerWheel(0.0), Alarm()
    wheel.set(alarm, 10.0)
    wheel.set(alarm, 20.0)
    assert wheel.advance(15.0) == []
    wheel.set(alarm, 16.0)
    wheel.set(alarm, 16.01)  # the same slot
    assert len(wheel) == 1
    assert wheel.advance(16.3) == [alarm]
    wheel.cancel(alarm)  # which is not set
    assert wheel.advance(10_000.0) == []


def test_a_jump_over_many_slots_gives_the_timers_in_order_of_their_ticks() -> None:
    wheel = TimerWheel(0.0)
    alarms = [Alarm() for _ in range(5)]
    for alarm, deadline in zip(alarms, (50.0, 10.0, 40.0, 20.0, 1e6), strict=True):
        wheel.set(alarm, deadline)
    assert wheel.advance(1e5) == [alarms[1], alarms[3], alarms[2], alarms[0]]
    assert len(wheel) == 1
