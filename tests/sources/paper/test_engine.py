"""The paper engine on a bus: properties that hold on any market, and its trading on a recorded day."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.bus import Bus
from observability.events import TERMINAL_STATUSES, Equity, Event, Fill, Order, Print, Quote, Signal
from observability.sources.paper.engine import PaperConfig, PaperEngine
from observability.sources.recordings.recording import Recording
from observability.sources.simulator import SimulatedInstrument, Simulator

DATA = Path(__file__).parents[3] / "../shared/data"
START_NS = 1_700_000_000 * 10**9
FLUSH_NS = 2**62
REPORTS = (Order, Fill, Signal, Equity)
# The statuses that may follow each status of an order; None is before the first.
NEXT_STATUSES: dict[str | None, set[str]] = {
    None: {"pending_new"},
    "pending_new": {"new", "rejected"},
    "new": {"partially_filled", "filled", "canceled"},
    "partially_filled": {"partially_filled", "filled", "canceled"},
}
needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside the checkout")


def discard(events: Sequence[Event]) -> None:
    """Publishes to no subscriber."""


class Session:
    """All events on the bus, in order, while the engine traded on a market."""

    def __init__(self, market: Iterable[Event], config: PaperConfig | None = None) -> None:
        bus = Bus()
        self.events: list[Event] = []
        for kind in (Quote, Print, *REPORTS):
            bus.subscribe(kind, self.events.append)
        self.engine = PaperEngine(bus, config)
        self.engine.start()
        bus.publish_all(market)
        self.engine.flush(FLUSH_NS)
        assert bus.handler_errors == 0

    def reports(self) -> list[Event]:
        return [event for event in self.events if isinstance(event, REPORTS)]

    def fills(self) -> list[Fill]:
        return [event for event in self.events if isinstance(event, Fill)]

    def orders(self) -> dict[str, list[Order]]:
        orders: dict[str, list[Order]] = defaultdict(list)
        for event in self.events:
            if isinstance(event, Order):
                orders[event.order_id].append(event)
        return orders


def simulated_market(seed: int) -> list[Event]:
    """Five minutes of two simulated symbols, one of them with sizes that force partial fills."""
    simulator = Simulator(
        publish=discard,
        seed=seed,
        instruments=(SimulatedInstrument("A.SIM", 20), SimulatedInstrument("B.SIM", 400)),
        quotes_per_second=30,
        prints_per_second=10,
    )
    return [event for second in range(300) for event in simulator.step(START_NS + second * 10**9)]


@cache
def recorded_day() -> Session:
    recordings = [Recording(path) for path in sorted((DATA / "lobster").glob("*_message_1.csv.gz"))]
    return Session(heapq.merge(*(recording.events() for recording in recordings), key=attrgetter("ts_init")))


def check_orders(session: Session) -> None:
    """Statuses follow each other as they may; fills never exceed their order or are worse than its limit."""
    filled: dict[str, Decimal] = defaultdict(Decimal)
    by_order = session.orders()
    for fill in session.fills():
        order = by_order[fill.order_id][0]
        filled[fill.order_id] += fill.quantity
        assert order.price is not None
        assert fill.price <= order.price if order.side == "buy" else fill.price >= order.price
    for order_id, reports in by_order.items():
        before = None
        for report in reports:
            assert report.status in NEXT_STATUSES[before]
            before = report.status
        assert before in TERMINAL_STATUSES
        assert filled[order_id] <= reports[0].quantity
        assert (filled[order_id] == reports[0].quantity) == (before == "filled")


def check_liquidity(session: Session) -> None:
    """The fills from one state of one side of the touch, or from one print, never exceed its size."""
    # The remaining size of each side of the touch, in a list that stays the same object while the side is unchanged.
    shown: dict[tuple[str, str], tuple[object, list[Decimal]]] = {}
    shown_before = dict(shown)
    newest: Event | None = None
    left_of_print = Decimal(0)
    for event in session.events:
        if isinstance(event, Quote):
            newest = event
            for side, touch in (("buy", (event.ask, event.ask_size)), ("sell", (event.bid, event.bid_size))):
                key = (event.symbol, side)
                state = (touch, [Decimal(repr(touch[1] or 0.0))])
                shown_before[key] = shown.get(key, state)
                if shown_before[key][0] != touch or key not in shown:
                    shown[key] = state
        elif isinstance(event, Print):
            newest = event
            left_of_print = Decimal(repr(event.size))
        elif isinstance(event, Fill):
            is_own = newest is not None and newest.symbol == event.symbol  # type: ignore[attr-defined]
            if event.liquidity == "maker" and is_own and isinstance(newest, Print):
                left_of_print -= event.quantity
                assert left_of_print >= 0
            else:
                # An order that arrives between two market events is reported with the second, but met the touch of the
                # first.
                is_before = event.liquidity == "taker" and is_own and isinstance(newest, Quote)
                left = (shown_before if is_before else shown)[event.symbol, event.side][1]
                left[0] -= event.quantity
                assert left[0] >= 0


def check_positions(session: Session) -> None:
    positions: dict[str, Decimal] = defaultdict(Decimal)
    for fill in session.fills():
        positions[fill.symbol] += fill.quantity if fill.side == "buy" else -fill.quantity
        limit = session.engine.position_limit(fill.symbol)
        assert limit is not None and abs(positions[fill.symbol]) <= limit
    for symbol, position in positions.items():
        assert session.engine.position(symbol) == position


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32))
def test_orders_fills_and_positions_are_valid_on_any_simulated_market(seed: int) -> None:
    session = Session(simulated_market(seed))
    check_orders(session)
    check_liquidity(session)
    check_positions(session)


@needs_recordings
def test_orders_fills_and_positions_are_valid_on_the_recorded_day() -> None:
    check_orders(recorded_day())
    check_positions(recorded_day())


@needs_recordings
def test_no_fill_exceeds_the_displayed_size_on_the_recorded_day() -> None:
    check_liquidity(recorded_day())


@needs_recordings
def test_every_kind_of_report_occurs_on_the_recorded_day() -> None:
    counts = recorded_day().engine.counts
    for what in ("fills", "filled", "partially_filled", "canceled", "rejected"):
        assert counts[what] >= 20, what
    assert counts["orders"] == counts["pending_new"] == counts["new"] + counts["rejected"]
    assert 100 < counts["orders"] < 10_000


def test_only_the_same_market_and_seed_give_the_same_reports() -> None:
    first, second = Session(simulated_market(3)), Session(simulated_market(3))
    assert first.fills()
    assert first.reports() == second.reports()
    assert first.reports() != Session(simulated_market(3), PaperConfig(seed=2)).reports()


def test_the_starting_capital_is_the_first_report() -> None:
    reports = Session(simulated_market(1)).reports()
    equities = [event for event in reports if isinstance(event, Equity)]
    assert equities == [reports[0]] == [Equity(Decimal(250_000), "paper_mean_reversion", ts=START_NS, ts_init=START_NS)]


def test_every_order_has_a_signal() -> None:
    reports = Session(simulated_market(3)).reports()
    wanted = [(event.symbol, event.action) for event in reports if isinstance(event, Signal)]
    sent = [(e.symbol, e.side) for e in reports if isinstance(e, Order) and e.status == "pending_new"]
    assert wanted and sorted(wanted) == sorted(sent)


def test_a_report_arrives_with_the_first_market_event_after_it() -> None:
    market_ns = market_before_ns = 0
    for event in Session(simulated_market(3)).events:
        assert isinstance(event.ts, int)
        if isinstance(event, Quote | Print):
            if event.ts_init > market_ns:
                market_before_ns, market_ns = market_ns, event.ts_init
        elif event.ts_init == market_ns:
            assert market_before_ns < event.ts <= market_ns
        else:
            assert event.ts_init == FLUSH_NS


def test_entries_join_the_touch_and_exits_cross_it() -> None:
    touch: dict[str, Quote] = {}
    positions: dict[str, Decimal] = defaultdict(Decimal)
    exits = 0
    for event in Session(simulated_market(3)).events:
        if isinstance(event, Quote):
            touch[event.symbol] = event
        elif isinstance(event, Fill):
            positions[event.symbol] += event.quantity if event.side == "buy" else -event.quantity
        elif isinstance(event, Order) and event.status == "pending_new":
            position = positions[event.symbol]
            is_exit = abs(position) == event.quantity and (position > 0) is (event.side == "sell")
            exits += is_exit
            quote = touch[event.symbol]
            price = quote.bid if (event.side == "buy") is not is_exit else quote.ask
            assert event.price == Decimal(repr(price))
    assert exits


@needs_recordings
def test_orders_follow_one_another_with_a_pause_after_a_rejection() -> None:
    ended: dict[str, tuple[int, str]] = {}
    for reports in recorded_day().orders().values():
        first, last = reports[0], reports[-1]
        assert isinstance(first.ts, int) and isinstance(last.ts, int)
        ended_ns, status = ended.get(first.symbol, (0, ""))
        assert first.ts >= ended_ns + (30 * 10**9 if status == "rejected" else 0)
        ended[first.symbol] = (last.ts, last.status)


def test_a_position_is_not_closed_at_an_absurd_price() -> None:
    bus = Bus()
    engine = PaperEngine(bus)
    engine.start()
    prices: list[Decimal | None] = []
    bus.subscribe(Order, lambda order: prices.append(order.price))
    for event in simulated_market(3):
        bus.publish(event)
        if engine.position("B.SIM") < 0:
            break
    assert engine.position("B.SIM") < 0
    for step in range(1, 8):
        at_ns = event.ts_init + step * 40 * 10**9
        bus.publish(Quote("B.SIM", 400.0, 1e300, 1.0, 1.0, "SIM", ts=at_ns, ts_init=at_ns))
    assert bus.handler_errors == 0
    assert max(price for price in prices if price is not None) < 1000


def test_ids_never_repeat_and_begin_with_the_prefix() -> None:
    session = Session(simulated_market(3), PaperConfig(id_prefix="run7-"))
    trade_ids = [fill.trade_id for fill in session.fills()]
    assert len(set(trade_ids)) == len(trade_ids)
    assert all(name.startswith("run7-") for name in [*trade_ids, *session.orders()])


def test_symbols_beyond_the_maximum_are_counted_and_not_traded() -> None:
    quotes = [Quote(f"S{number}", 1.0, 1.01, 1.0, 1.0, ts=START_NS, ts_init=START_NS) for number in range(5)]
    engine = Session(quotes, PaperConfig(max_symbols=3)).engine
    assert engine.symbols_refused == 2
    assert engine.position_limit("S2") is not None and engine.position_limit("S3") is None


@settings(max_examples=30)
@given(
    touches=st.lists(
        st.tuples(
            st.none() | st.floats(allow_nan=False),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.floats(0, allow_nan=False),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_no_touch_that_an_order_meets_makes_the_engine_fail(
    touches: list[tuple[float | None, float | None, float | None]],
) -> None:
    bus = Bus()
    PaperEngine(bus).start()
    remaining = [*touches]

    def on_order(order: Order) -> None:
        while remaining:
            bid, ask, size = remaining.pop()
            at_ns = order.ts_init + 10**8
            bus.publish(Quote(order.symbol, bid, ask, size, size, "SIM", ts=at_ns, ts_init=at_ns))

    bus.subscribe(Order, on_order)
    bus.publish_all(simulated_market(3))
    assert not remaining
    assert bus.handler_errors == 0


def test_reports_stay_in_order_when_a_subscriber_publishes_quotes() -> None:
    bus = Bus()
    PaperEngine(bus).start()
    status: dict[str, str] = {}

    def on_order(order: Order) -> None:
        if order.status == "new":
            # The order is filled by this quote, in the middle of the reports of its arrival.
            at_ns = order.ts_init + 1
            bid, ask = (0.01, 0.02) if order.side == "buy" else (9998.0, 9999.0)
            bus.publish(Quote(order.symbol, bid, ask, 1e6, 1e6, "SIM", ts=at_ns, ts_init=at_ns))

    def check_status(order: Order) -> None:
        assert order.status in NEXT_STATUSES[status.get(order.order_id)]
        status[order.order_id] = order.status

    bus.subscribe(Order, on_order)
    bus.subscribe(Order, check_status)
    bus.publish_all(simulated_market(3))
    assert bus.handler_errors == 0
    assert "filled" in status.values()


def test_a_stopped_engine_ignores_quotes() -> None:
    bus = Bus()
    engine = PaperEngine(bus)
    engine.start()
    engine.start()
    engine.stop()
    bus.publish_all(simulated_market(3))
    assert engine.counts["orders"] == 0 and engine.position_limit("A.SIM") is None
