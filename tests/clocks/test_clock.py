"""The event clock: the host's time until a source moves it, and never backwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.clocks.clock import EventClock, HostClock


def test_a_live_event_clock_shows_the_hosts_time() -> None:
    clock = EventClock(FakeClock(1_000, mono_ns=7))
    assert (clock.time_ns(), clock.mono_ns(), clock.is_replayed) == (1_000, 7, False)


def test_a_replay_can_be_long_before_the_hosts_time() -> None:
    clock = EventClock(FakeClock(1_000, mono_ns=7))
    clock.advance(5)
    assert (clock.time_ns(), clock.is_replayed) == (5, True)


def test_a_replay_does_not_move_the_monotonic_clock() -> None:
    clock = EventClock(FakeClock(1_000, mono_ns=7))
    clock.advance(5_000)
    assert clock.mono_ns() == 7


def test_a_replay_holds_the_clock_until_its_first_event() -> None:
    clock = EventClock(FakeClock(1_000, mono_ns=7))
    clock.hold(5)
    assert (clock.time_ns(), clock.is_replayed, clock.is_waiting) == (5, True, True)
    clock.advance(5)
    assert (clock.time_ns(), clock.is_waiting) == (5, False)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_events_out_of_order_never_move_the_clock_back(times: list[int]) -> None:
    clock = EventClock(FakeClock(1_000, mono_ns=7))
    seen = []
    for time_ns in times:
        clock.advance(time_ns)
        seen.append(clock.time_ns())
    assert seen == sorted(seen)
    assert seen[-1] == max(times)


def test_the_hosts_monotonic_clock_does_not_go_back() -> None:
    clock = HostClock()
    assert clock.mono_ns() <= clock.mono_ns()
