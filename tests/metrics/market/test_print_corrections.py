"""Busted and corrected prints: afterwards the market is that of a run without the fault, as far as prints are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.bus import Bus
from observability.events import Print, Quote
from observability.metrics.market import print_corrections
from observability.metrics.market.print_corrections import PrintChange
from observability.metrics.market_data_collector import MarketDataCollector
from strategy_desk import DAY, NOON, Desk, S

MINUTE = 60 * S
FIGURES = ("last_price", "volume", "buy_volume", "sell_volume", "unknown_volume", "trades", "vwap", "high", "low")


class Market:
    """A collector with the symbol X, and the bars that it has published."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.clock = FakeClock(NOON)
        self.published: dict[int, Any] = {}
        self.collector = self._started()

    def _started(self) -> MarketDataCollector:
        collector = MarketDataCollector(bus=self.bus, clock=self.clock)
        collector.add_bar_listener(lambda _, bar: self.published.update({bar.ts_ns: bar}))
        asyncio.run(collector.start())
        return collector

    def trade(
        self, trade_id: Any, price: float, size: float = 1.0, at: int = 0, *, late: int = 0, side: Any = "buy",
        venue: str = "",
    ) -> None:  # fmt: skip
        self.clock.now_ns = NOON + at
        self.bus.publish(Print("X", price, size, side, trade_id, venue, ts=NOON + at - late, ts_init=NOON + at))

    def bust(self, trade_id: str, venue: str = "", ts: int = 0) -> dict[str, Any]:
        return self.collector.correct_print(PrintChange("X", trade_id, venue, ts, is_bust=True))

    def correct(self, trade_id: str, ts: int = 0, *, venue: str = "", **values: float) -> dict[str, Any]:
        return self.collector.correct_print(PrintChange("X", trade_id, venue, ts, **values))

    def shown(self, at: int | None = None) -> dict[str, Any]:
        if at is not None:
            self.clock.now_ns = NOON + at
        self.collector.refresh(self.clock.now_ns)
        return dict(self.collector.groups[0].parts["X"].to_json()) if self.collector.symbols else {}

    def figures(self) -> list[Any]:
        metrics = self.shown()
        return [metrics.get(name, 0 if "volume" in name or name == "trades" else None) for name in FIGURES]

    def bars(self) -> list[Any]:
        """Returns all bars as they were published, those in progress too."""
        self.collector.finish_bars()
        in_memory = [bar._replace(is_corrected=False) for bar in self.collector.bars("X", 0, NOON + 9 * DAY)]
        published = [bar._replace(is_corrected=False) for _, bar in sorted(self.published.items()) if bar.trades]
        # Those of the last day are in memory, too.
        assert in_memory == published[len(published) - len(in_memory) :]
        return published

    def restart(self) -> None:
        saved = self.collector.save()
        asyncio.run(self.collector.stop())
        # The bars in memory outlive the process only where it shares them.
        finished = list(self.collector.bars("X", 0, NOON + 9 * DAY))
        self.collector = self._started()
        self.collector.load(saved)
        tracked = self.collector.symbol("X")
        for bar in finished if tracked is not None else ():
            tracked.bars._put(bar)


# -- one at a time


def test_a_busted_print_counts_no_more() -> None:
    market = Market()
    for number, price in enumerate((10.0, 11.0, 99.0)):
        market.trade(number, price, 2.0, number * S)
    effect = market.bust("2")
    assert effect == {"status": "applied", "before": {"price": 99.0, "size": 2.0}, "after": None, "reason": None}
    metrics = market.shown()
    assert (metrics["last_price"], metrics["high"], metrics["volume"], metrics["trades"]) == (11.0, 11.0, 4.0, 2)
    assert [bar[1:8] for bar in market.bars()] == [(10.0, 11.0, 10.0, 11.0, 4.0, 2, 10.5)]


def test_a_corrected_print_counts_with_what_is_named_anew() -> None:
    market = Market()
    market.trade("a", 10.0, 2.0)
    market.trade("b", 99.0, 1.0, S)
    effect = market.correct("b", price=9.0)
    assert (effect["before"], effect["after"]) == ({"price": 99.0, "size": 1.0}, {"price": 9.0, "size": 1.0})
    metrics = market.shown()
    assert (metrics["last_price"], metrics["high"], metrics["low"], metrics["volume"]) == (9.0, 10.0, 9.0, 3.0)
    market.correct("b", size=4.0)
    assert (market.shown()["volume"], market.shown()["low"]) == (6.0, 9.0)


def test_the_correction_with_the_latest_time_counts_in_whatever_order_they_come() -> None:
    market = Market()
    market.trade("a", 10.0)
    market.correct("a", 2, price=12.0)
    market.correct("a", 1, price=11.0)
    assert market.shown()["last_price"] == 12.0


def test_a_bust_is_final() -> None:
    market = Market()
    market.trade("a", 10.0)
    market.bust("a")
    assert market.correct("a", 9, price=11.0)["status"] == "void"
    assert market.bust("a")["status"] == "void"
    assert (market.shown()["trades"], market.shown()["last_price"], market.bars()) == (0, None, [])


def test_a_busted_print_that_is_delivered_again_stays_busted() -> None:
    market = Market()
    market.trade("a", 10.0)
    market.bust("a")
    market.trade("a", 10.0, at=S)
    assert (market.shown()["trades"], market.collector.repeated_prints) == (0, 1)


def test_a_bust_waits_for_its_print() -> None:
    market = Market()
    assert market.bust("b", "A") == {"status": "pending", "reason": print_corrections.UNKNOWN}
    market.trade("a", 10.0, venue="A")
    market.trade("b", 99.0, venue="B")
    assert market.shown()["trades"] == 2
    market.trade("b", 99.0, venue="A", at=S)
    assert (market.shown()["trades"], market.shown()["venues"]["A"]["trades"]) == (2, 1)


def test_an_id_that_two_venues_have_must_name_one() -> None:
    market = Market()
    market.trade("7", 10.0, venue="A")
    market.trade("7", 11.0, venue="B")
    assert market.bust("7") == {"status": "pending", "reason": print_corrections.AMBIGUOUS}
    assert market.bust("7", "A")["status"] == "applied"
    venues = market.shown()["venues"]
    assert [one["trades"] for one in venues.values()] == [0, 1]


def test_corrections_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(print_corrections, "MAX_CORRECTED", 2)
    market = Market()
    for trade_id in "abc":
        market.bust(trade_id)
    assert "correction 0 of print 'a' of X is given up" in caplog.text
    for number, trade_id in enumerate("abc"):
        market.trade(trade_id, 10.0, at=number * S)
    assert market.shown()["trades"] == 1


def test_a_position_is_marked_anew_when_the_last_price_is_busted() -> None:
    desk = Desk()
    desk.fill(1, 10)
    for number, price in enumerate((11.0, 99.0)):
        desk.bus.publish(Print("AAPL", price, 1.0, "buy", number, ts=NOON + number, ts_init=NOON + number))
    assert desk.tick(NOON + 2)["unrealized_pnl"] == 89.0
    desk.market.correct_print(PrintChange("AAPL", "1", is_bust=True))
    assert desk.tick(NOON + 2)["unrealized_pnl"] == 1.0


def test_a_mark_that_falls_with_a_bust_is_part_of_the_drawdown_without_a_tick() -> None:
    desk = Desk()
    desk.fill(1, 10)
    for number, price in enumerate((11.0, 99.0)):
        desk.bus.publish(Print("AAPL", price, 1.0, "buy", number, ts=NOON + number, ts_init=NOON + number))
    desk.market.correct_print(PrintChange("AAPL", "1", is_bust=True))
    desk.bus.publish(Print("AAPL", 99.0, 1.0, "buy", 2, ts=NOON + 2, ts_init=NOON + 2))
    assert desk.tick(NOON + 3)["max_drawdown"] == 88.0


# -- what is not kept


def test_a_bar_with_prints_without_an_id_keeps_its_prices_and_says_so() -> None:
    market = Market()
    market.trade(None, 10.0)
    market.trade("a", 99.0, 2.0, S)
    effect = market.bust("a")
    assert effect["reason"] == print_corrections.NOT_ALL_KEPT
    metrics = market.shown()
    assert (metrics["volume"], metrics["trades"], metrics["vwap"]) == (1.0, 1, 10.0)
    assert (metrics["high"], metrics["last_price"]) == (99.0, 99.0)
    assert [bar[1:7] for bar in market.bars()] == [(10.0, 99.0, 10.0, 99.0, 1.0, 1)]


def test_a_high_is_found_among_the_bars_where_not_all_prints_have_an_id() -> None:
    market = Market()
    market.trade(None, 10.0)
    market.trade("a", 99.0, at=MINUTE)
    market.trade("b", 11.0, at=MINUTE + S)
    market.bust("a")
    assert (market.shown()["high"], market.shown()["low"]) == (11.0, 10.0)


def test_the_last_price_is_that_of_a_print_without_an_id_in_an_earlier_minute() -> None:
    market = Market()
    market.trade("a", 9.0)
    market.trade(None, 10.0, at=S)
    market.trade("b", 99.0, at=MINUTE)
    market.bust("b")
    assert market.shown()["last_price"] == 10.0


def test_a_print_of_an_earlier_session_changes_only_its_bar() -> None:
    market = Market()
    market.trade("a", 10.0)
    market.trade("b", 11.0, at=S)
    market.trade("c", 12.0, at=DAY)
    market.bust("b")
    assert market.figures() == [12.0, 1.0, 1.0, 0.0, 0.0, 1, 12.0, 12.0, 12.0]


def test_an_hour_old_bar_is_made_anew() -> None:
    market = Market()
    for number, price in enumerate((10.0, 99.0, 11.0)):
        market.trade(number, price, at=number * S)
    market.trade("later", 12.0, at=60 * MINUTE)
    market.bust("1")
    assert (market.shown()["high"], market.bars()[0][1:7]) == (12.0, (10.0, 11.0, 10.0, 11.0, 2.0, 2))


def test_a_bar_that_was_finished_is_published_again_with_fewer_prints() -> None:
    market = Market()
    market.trade("a", 10.0)
    market.trade("b", 11.0, at=S)
    market.trade("c", 12.0, at=2 * MINUTE)
    market.shown()
    assert market.published[NOON].trades == 2
    market.bust("b")
    market.shown(3 * MINUTE)
    assert market.published[NOON].is_corrected
    assert [bar.trades for bar in market.bars()] == [1, 1]


def test_an_hour_old_bar_with_prints_without_an_id_stays_as_it_was() -> None:
    market = Market()
    market.trade(None, 10.0)
    market.trade("b", 11.0, at=S)
    market.trade("c", 12.0, at=60 * MINUTE)
    assert market.bust("b")["reason"] == print_corrections.NOT_ALL_KEPT
    assert (market.bars()[0].trades, market.shown()["trades"]) == (2, 2)


def test_a_minute_whose_print_was_busted_begins_anew_with_the_next() -> None:
    market = Market()
    market.trade("a", 10.0)
    market.bust("a")
    market.trade("b", 11.0, at=S)
    market.trade("c", 12.0, at=2 * S)
    assert [bar[1:7] for bar in market.bars()] == [(11.0, 12.0, 11.0, 12.0, 2.0, 2)]


# -- against a run without the fault

PRINTS = st.lists(
    st.tuples(
        st.sampled_from(["", "A", "B"]),
        st.integers(1, 20),
        st.integers(1, 9),
        st.sampled_from(["buy", "sell", None]),
        st.sampled_from([0, S, 7 * S, MINUTE, 3 * MINUTE, 10 * MINUTE, DAY // 8]),
        st.sampled_from([0, 0, 2 * S, 70 * S]),
        # What is told of the print, and how many prints later.
        st.one_of(
            st.none(),
            st.tuples(
                st.sampled_from(["bust", "price", "size", "both"]), st.integers(0, 6), st.integers(1, 20), st.booleans()
            ),
        ),
        st.sampled_from(["", "", "tick", "restart"]),
    ),
    min_size=1,
    max_size=14,
)


@given(PRINTS, st.booleans())
def test_the_market_is_that_of_a_run_without_the_fault(prints: list[Any], is_of_several: bool) -> None:
    real, ideal = Market(), Market()
    now = 0
    due: list[tuple[int, str, str, dict[str, Any], bool]] = []

    def tell(upto: int) -> None:
        for one in [each for each in due if each[0] <= upto]:
            due.remove(one)
            _, trade_id, venue, values, is_twice = one
            for _ in range(1 + is_twice):
                real.correct(trade_id, venue=venue, **values) if values else real.bust(trade_id, venue)

    for number, (venue, price, size, side, wait, late, told, then) in enumerate(prints):
        venue = venue if is_of_several else ""
        now += wait
        trade_id = f"t{number}"
        real.trade(trade_id, float(price), float(size), now, late=late, side=side, venue=venue)
        if told is None:
            ideal.trade(trade_id, float(price), float(size), now, late=late, side=side, venue=venue)
        else:
            what, delay, value, is_twice = told
            names = {"bust": (), "price": ("price",), "size": ("size",), "both": ("price", "size")}[what]
            right = {"price": float(price), "size": float(size)} | {name: float(value) for name in names}
            due.append((number + delay, trade_id, venue, {name: float(value) for name in names}, is_twice))
            if what != "bust":
                ideal.trade(trade_id, right["price"], right["size"], now, late=late, side=side, venue=venue)
        tell(number)
        for market in (real, ideal):
            market.clock.now_ns = NOON + now
            if then == "tick":
                market.shown(now)
            elif then == "restart" and market is real:
                market.restart()
    tell(99)
    tracked = ideal.collector.symbol("X")
    # A busted print has begun a session that would not have begun without it.
    if tracked is not None and tracked.updated_ns // DAY == (NOON + now) // DAY:
        assert real.figures() == ideal.figures()
        for name, one in ideal.shown().get("venues", {}).items():
            found = real.shown()["venues"][name]
            for figure in ("last_price", "volume", "trades", "vwap"):
                assert found[figure] == one[figure]
    assert real.bars() == ideal.bars()


def test_a_quote_is_never_taken_for_a_print_that_is_corrected() -> None:
    market = Market()
    market.bus.publish(Quote("X", 9.0, 11.0, ts=NOON, ts_init=NOON))
    assert market.bust("a")["status"] == "pending"
    assert market.shown()["bid"] == 9.0
