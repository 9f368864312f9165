"""The clock that never goes back: it continues after a step of the host's clock, says so, and meets it again."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.clocks.clock import EventClock
from observability.clocks.steady import SteadyClock

S = 1_000_000_000
START = 1_700_000_000 * S


class Host(FakeClock):
    """A host whose wall clock can be set without its monotonic one."""

    def __init__(self) -> None:
        super().__init__(START, mono_ns=5 * S)

    def pass_time(self, ns: int) -> None:
        self.now_ns += ns
        assert self._mono_ns is not None
        self._mono_ns += ns


def test_the_time_is_the_hosts_also_after_a_step_forward() -> None:
    host = Host()
    clock = SteadyClock(host)
    assert (clock.time_ns(), clock.mono_ns()) == (START, 5 * S)
    host.now_ns += 3600 * S
    assert (clock.time_ns(), clock.ahead_ns) == (START + 3600 * S, 0)


@pytest.mark.parametrize("step", [S // 1000, 3 * S, 7200 * S])
def test_after_a_step_back_time_goes_on_until_the_host_has_caught_up(step: int) -> None:
    host, steps = Host(), list[int]()
    clock = SteadyClock(host, steps.append)
    clock.time_ns()
    host.now_ns -= step
    assert clock.time_ns() == START
    host.pass_time(step)
    assert clock.time_ns() == START + step * 19 // 20
    assert clock.ahead_ns == step * 19 // 20
    for _ in range(25):
        host.pass_time(step)
        clock.time_ns()
    assert (clock.time_ns(), clock.ahead_ns, steps) == (host.now_ns, 0, [step])


def test_each_step_is_logged_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    host, steps = Host(), list[int]()
    clock = SteadyClock(host, steps.append)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            clock.time_ns()
            host.now_ns -= 60 * S
            for _ in range(100):
                host.pass_time(S // 10)
                clock.time_ns()
    assert [round(step / S) for step in steps] == [60, 60]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "set back by 60.000 s, to 2023-11-14T22:12:20.100Z" in caplog.records[0].getMessage().replace(
        "59.900", "60.000"
    )


def test_a_thread_that_reads_the_clock_slower_than_another_sees_no_step() -> None:
    class SlowHost(Host):
        is_overtaken = False

        def time_ns(self) -> int:
            read_ns = super().time_ns()
            if self.is_overtaken:
                self.is_overtaken = False
                self.pass_time(S)
                clock.time_ns()
            return read_ns

    host = SlowHost()
    steps: list[int] = []
    clock = SteadyClock(host, steps.append)
    clock.time_ns()
    host.is_overtaken = True
    assert clock.time_ns() == START + S
    assert (clock.ahead_ns, steps) == (0, [])


def test_a_clock_can_continue_that_of_an_earlier_process() -> None:
    host = Host()
    clock = SteadyClock(host, not_before_ns=START + 60 * S)
    assert clock.time_ns() == START + 60 * S
    host.pass_time(20 * S)
    assert clock.time_ns() == START + 79 * S


def test_a_clock_set_back_since_the_last_run_is_told_and_not_followed() -> None:
    host = Host()
    steps: list[int] = []
    clock = SteadyClock(host, steps.append)
    clock.note_stored(START - 60 * S)
    assert (clock.set_back_ns, steps) == (0, [])
    clock.note_stored(START + 60 * S)
    assert (clock.time_ns(), clock.set_back_ns, steps) == (START, 60 * S, [60 * S])
    host.pass_time(20 * S)
    assert (clock.time_ns(), clock.set_back_ns) == (START + 20 * S, 40 * S)
    host.pass_time(50 * S)
    assert clock.set_back_ns == 0


def test_a_clock_that_continues_is_not_set_back_a_second_time_by_what_is_stored() -> None:
    steps: list[int] = []
    clock = SteadyClock(Host(), steps.append, not_before_ns=START + 60 * S)
    for _ in range(2):
        assert clock.time_ns() == START + 60 * S
        clock.note_stored(START + 60 * S)
    assert (clock.set_back_ns, steps) == (60 * S, [60 * S])


@given(st.lists(st.tuples(st.integers(0, 10 * S), st.integers(-100 * S, 100 * S)), max_size=40))
def test_time_never_goes_back_and_never_behind_the_hosts(steps: list[tuple[int, int]]) -> None:
    host = Host()
    clock = EventClock(SteadyClock(host))
    before = clock.time_ns()
    for passed, step in steps:
        host.pass_time(passed)
        host.now_ns += step
        now = clock.time_ns()
        assert now >= before and now >= host.now_ns
        before = now
