"""The simulator's events are labelled, repeatable and consistent with each other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.errors import ConfigError
from observability.events import Event, Print, Quote
from observability.sources.simulator import INSTRUMENTS, Simulator

START_NS = 1_700_000_000 * 10**9
S_NS = 10**9


def discard(events: Sequence[Event]) -> None:
    """Publishes to no subscriber."""


def simulator(seed: int = 1, quotes_per_second: float = 200.0) -> Simulator:
    return Simulator(publish=discard, seed=seed, quotes_per_second=quotes_per_second)


def run_for(simulation: Simulator, seconds: int, step_ns: int = S_NS // 10) -> list[Event]:
    events: list[Event] = []
    for now_ns in range(START_NS, START_NS + seconds * S_NS + 1, step_ns):
        events += simulation.step(now_ns)
    return events


def test_only_the_same_seed_gives_the_same_events() -> None:
    assert run_for(simulator(7), 5) == run_for(simulator(7), 5)
    assert run_for(simulator(7), 5) != run_for(simulator(8), 5)


@given(cuts=st.lists(st.integers(0, S_NS), max_size=10).map(sorted))
def test_the_division_of_time_into_steps_changes_nothing(cuts: list[int]) -> None:
    whole, cut = simulator(), simulator()
    expected = whole.step(START_NS) + whole.step(START_NS + S_NS)
    events = cut.step(START_NS)
    for offset in [*cuts, S_NS]:
        events += cut.step(START_NS + offset)
    assert events == expected


def test_every_event_is_labelled_as_simulated() -> None:
    for event in run_for(simulator(), 5):
        assert isinstance(event, Quote | Print)
        assert event.venue == "SIM"
        assert event.symbol.endswith(".SIM")


def test_the_first_step_quotes_every_symbol() -> None:
    first = simulator().step(START_NS)
    assert [event.symbol for event in first if isinstance(event, Quote)] == [item.symbol for item in INSTRUMENTS]


def test_the_rates_are_those_requested() -> None:
    events = run_for(simulator(), 100)
    quotes = sum(isinstance(event, Quote) for event in events)
    assert 19_000 < quotes < 21_000
    assert 3_500 < len(events) - quotes < 4_500


@given(seed=st.integers(0, 2**32))
def test_prices_are_multiples_of_the_tick_and_never_crossed(seed: int) -> None:
    for event in run_for(simulator(seed), 2):
        if isinstance(event, Quote):
            assert event.bid is not None and event.ask is not None
            assert 0 < event.bid < event.ask
            assert event.bid == round(event.bid, 2)
            assert event.bid_size and event.ask_size


@given(seed=st.integers(0, 2**32))
def test_a_trade_is_at_the_touch_and_no_larger_than_its_size(seed: int) -> None:
    touch: dict[str, Quote] = {}
    for event in run_for(simulator(seed), 2):
        if isinstance(event, Quote):
            touch[event.symbol] = event
        elif isinstance(event, Print):
            quote = touch[event.symbol]
            price, size = (quote.ask, quote.ask_size) if event.aggressor_side == "buy" else (quote.bid, quote.bid_size)
            assert size is not None
            assert event.price == price and event.size <= size


def test_times_never_go_back_and_never_lead_the_clock() -> None:
    simulation = simulator()
    newest = 0
    for now_ns in range(START_NS, START_NS + 2 * S_NS, S_NS // 50):
        for event in simulation.step(now_ns):
            assert newest <= event.ts_init <= now_ns
            newest = event.ts_init


def test_trade_ids_do_not_repeat() -> None:
    keys = [(event.symbol, event.trade_id) for event in run_for(simulator(), 20) if isinstance(event, Print)]
    assert len(keys) > 100 and len(set(keys)) == len(keys)


def test_the_events_of_a_pause_are_skipped() -> None:
    simulation = simulator()
    simulation.step(START_NS)
    assert len(simulation.step(START_NS + 3_600 * S_NS)) < 10


def test_a_poll_publishes_the_events_until_the_clocks_time() -> None:
    published: list[Event] = []
    clock = FakeClock(START_NS)
    simulation = Simulator(publish=published.extend, clock=clock)
    for _ in range(5):
        simulation.poll()
        clock.now_ns += S_NS // 10
    assert len(published) >= 50
    assert published[0].ts_init == START_NS < published[-1].ts_init <= clock.now_ns


def test_no_event_is_lost_between_polls_that_are_far_apart() -> None:
    simulation = Simulator(publish=discard, longest_step_seconds=20)
    simulation.step(START_NS)
    assert len(simulation.step(START_NS + 10 * S_NS)) > 1000


def test_all_impossible_arguments_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        Simulator(publish=discard, instruments=(), quotes_per_second=0, prints_per_second=-1)
    assert len(raised.value.faults) == 3
