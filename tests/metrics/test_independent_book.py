"""The accounting agrees to the last digit with an implementation that shares nothing with it, over random years."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book_comparison import ROUNDING, compare_section
from fake_clock import FakeClock
from independent_book import Book
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.config.config import Config
from observability.events import BOOKING_TYPES, TYPE_NAMES, Event, Fill, Position
from observability.ingest.decoder import EventDecoder
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.durability.corrector import Corrector
from observability.metrics.trades.trade import TradeFilter
from observability.metrics.trades.trade_log import Reader, Rejection
from observability.store.checkpoint import EventSequence
from random_year import FEATURES, MULTIPLIERS, START_NS, RandomYear

# An event that arrives at its own time is taken to have none.
LATENCY_NS = 1_000
BOOKED = {TYPE_NAMES[kind] for kind in BOOKING_TYPES}


class Desk:
    """The collectors on one bus, which take events as a sender writes them."""

    def __init__(self) -> None:
        self.bus = Bus()
        multipliers = tuple((name, Decimal(value)) for name, value in MULTIPLIERS.items())
        config = Config(contract_multipliers=multipliers, max_positions=10_000)
        clock, history = EventClock(FakeClock(START_NS)), make_history(config.max_symbols)
        # Fills and bookings have one order.
        collectors = make_collectors(config, self.bus, clock, history, EventSequence())
        self.strategy, self.trades = collectors.strategy, collectors.execution.trades
        self._corrector = Corrector(collectors, None, clock)
        for section in collectors.sections[:3]:
            asyncio.run(section.start())
        self._decoder = EventDecoder()
        self._now_ns = 0

    def take(self, event: dict[str, Any]) -> str:
        # What is delivered again has an old time of its own.
        self._now_ns = max(self._now_ns, event["ts"] + LATENCY_NS)
        decoded = self._decoder.decode_element(orjson.dumps(event), 0, self._now_ns)
        assert isinstance(decoded, Event), decoded
        self.bus.remark = None
        self.bus.publish(decoded)
        if self.bus.remark is not None and self.bus.remark.is_refusal:
            return "refused"
        if isinstance(decoded, Fill):
            trade = self.trades.admit(decoded, Reader.JOURNAL)
            self._corrector.take_arrived()
            return trade.value if isinstance(trade, Rejection) else "accepted"
        if event["type"] in BOOKED or (isinstance(decoded, Position) and decoded.adopt):
            bookings = self.strategy.bookings
            booking = bookings.booking_of(decoded)  # type: ignore[arg-type]
            if booking is not None:
                self._corrector.take(booking)
            return bookings.verdict.value
        return "accepted"

    def section(self, now_ns: int) -> dict[str, Any]:
        self.strategy.refresh(now_ns + LATENCY_NS)
        strategies, positions, _ = self.strategy.groups
        return {
            **self.strategy.fields.to_json(),
            "strategies": {name: part.to_json() for name, part in strategies.parts.items()},
            "positions": [part.to_json() for part in positions.parts.values()],
        }


def run(seed: int, n: int, features: frozenset[str], checks: int = 5) -> None:
    """Gives a random year to both, and compares them again and again."""
    desk, book, year = Desk(), Book(multipliers=MULTIPLIERS), RandomYear(seed, n, features)
    outcomes: Counter[tuple[str, str]] = Counter()
    for number, event in enumerate([*year.events(), *year.closing_quotes()]):
        expected = book.take(event)
        assert desk.take(event) == expected, (number, event)
        outcomes[event["type"], expected] += 1
        if number % max(n // checks, 1) == 0:
            compare(desk, book)
    compare(desk, book)
    compare_trades(desk, book)
    if n >= 1000:
        assert outcomes["fill", "duplicate"] and outcomes["fill", "conflict"]
        assert outcomes["fill", "refused"] or "hedge" not in features


def compare(desk: Desk, book: Book) -> None:
    compare_section(desk.section(book.state.now_ns), book)
    compare_exact_totals(desk, book)


def compare_exact_totals(desk: Desk, book: Book) -> None:
    """Compares the exact totals, which are sums of products and in which no quotient is left."""
    for name, total, realized, unrealized, _ in desk.strategy.equity_rows(book.state.now_ns):
        strategy = name or None
        wanted = book.total("total", strategy)
        if wanted is None:
            assert total is None
            continue
        assert total is not None and abs(Fraction(total) - wanted) < ROUNDING, name
        for ours, theirs in ((realized, "realized"), (unrealized, "unrealized")):
            part = book.total(theirs, strategy)
            assert ours is not None and part is not None and abs(Fraction(ours) - part) < ROUNDING, (name, theirs)


def compare_trades(desk: Desk, book: Book) -> None:
    page, _ = desk.trades.query(TradeFilter(), limit=10_000)
    ours = list(reversed(page))
    theirs = list(book.trades())
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.trade_id, one.strategy, one.position_side) == (
            other.event["trade_id"],
            other.place[0],
            other.place[2],
        )
        if other.is_busted:
            continue
        for pnl, wanted in ((one.gross_pnl, other.gross), (one.pnl, other.pnl)):
            assert (pnl is None) == (wanted is None), one
            assert pnl is None or wanted is None or abs(Fraction(pnl) - wanted) < ROUNDING, one


@pytest.mark.parametrize("seed", range(2))
def test_a_random_year_of_everything_agrees_to_the_last_digit(seed: int) -> None:
    run(seed, 1_200, frozenset(FEATURES))


@pytest.mark.parametrize("feature", FEATURES)
def test_a_random_year_of_one_thing_agrees_to_the_last_digit(feature: str) -> None:
    run(11, 150, frozenset({feature}))


@given(st.integers(0, 2**32), st.sets(st.sampled_from(FEATURES)))
def test_any_short_year_agrees_to_the_last_digit(seed: int, features: set[str]) -> None:
    run(seed, 60, frozenset(features), checks=2)


@given(st.integers(0, 2**32), st.sets(st.sampled_from(FEATURES)))
def test_any_year_with_corrections_agrees_to_the_last_digit(seed: int, features: set[str]) -> None:
    run(seed, 120, frozenset({*features, "corrections"}), checks=1)


def test_the_year_is_of_this_length() -> None:
    events = list(RandomYear(1, 500).events())
    assert events[0]["ts"] > START_NS and len(events) >= 500


def test_a_split_stays_in_the_mark_when_a_later_fill_is_busted() -> None:
    fill = {"type": "fill", "symbol": "ACME", "side": "sell", "quantity": "36", "price": "700", "order_id": "o"}
    events = [
        fill | {"trade_id": "1"},
        {"type": "split", "split_id": "s", "symbol": "ACME", "numerator": "1", "denominator": "2"},
        fill | {"trade_id": "2", "price": "1410"},
        {"type": "bust", "trade_id": "2", "order_id": "o", "symbol": "ACME", "side": "sell"},
    ]
    desk, book = Desk(), Book()
    for number, event in enumerate(events, 1):
        assert (
            book.take(event | {"ts": START_NS + number}) == desk.take(event | {"ts": START_NS + number}) == "accepted"
        )
    compare(desk, book)
    (position,) = desk.section(book.state.now_ns)["positions"]
    assert (position["quantity"], position["mark"]) == (-18.0, 1400.0)
