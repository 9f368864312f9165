"""The event clock: the host's time until a source moves it, and never backwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import NS_PER_S


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


def test_the_clock_moves_evenly_to_the_next_event_and_stands_there() -> None:
    host = FakeClock(1_000 * NS_PER_S)
    clock = EventClock(host)
    clock.advance(50)
    clock.move_to(50 + 60 * NS_PER_S, 5 * NS_PER_S)
    seen = [clock.time_ns()]
    for _ in range(4):
        host.advance(2)
        seen.append(clock.time_ns())
    assert [ns - 50 for ns in seen] == [0, 24 * NS_PER_S, 48 * NS_PER_S, 60 * NS_PER_S, 60 * NS_PER_S]
    clock.advance(50 + 61 * NS_PER_S)
    host.advance(2)
    assert clock.time_ns() == 50 + 61 * NS_PER_S


def test_the_clock_follows_the_host_from_the_end_of_a_replay() -> None:
    host = FakeClock(1_000 * NS_PER_S)
    clock = EventClock(host)
    clock.advance(50)
    clock.follow_host()
    host.advance(7)
    assert (clock.time_ns(), clock.is_replayed) == (50 + 7 * NS_PER_S, True)


def test_the_end_of_a_replay_without_events_leaves_a_live_clock() -> None:
    clock = EventClock(FakeClock(1_000, mono_ns=7))
    clock.follow_host()
    assert (clock.time_ns(), clock.is_replayed) == (1_000, False)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**10), st.integers(0, 10**10)), min_size=1))
def test_a_clock_that_is_moved_in_any_way_never_goes_back(moves: list[tuple[int, int, int]]) -> None:
    host = FakeClock(0)
    clock = EventClock(host)
    clock.advance(0)
    seen = [0]
    for event_ns, host_span_ns, waited_ns in moves:
        clock.move_to(event_ns, host_span_ns)
        host.now_ns += waited_ns
        seen.append(clock.time_ns())
        assert seen[-1] <= max(event_ns, seen[-2])
        clock.advance(event_ns)
        seen.append(clock.time_ns())
    assert seen == sorted(seen)


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
