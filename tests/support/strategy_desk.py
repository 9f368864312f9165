"""A market and a strategy section on one bus, and fills, quotes and ticks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from decimal import Decimal
from typing import Any

from observability.bus import Bus
from observability.events import Fill, Quote
from observability.history.history import History
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings
from observability.metrics.strategy_collector import StrategyCollector, StrategySettings
from observability.metrics.trades.trade_log import TradeLog

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000
DAY = 86_400 * S
D = Decimal


class Desk:
    """Both sections, of which the market section has the calendar of the other."""

    def __init__(self, trades: TradeLog | None = None, history: History | None = None, **settings: Any) -> None:
        self.bus = Bus()
        self.settings = StrategySettings(**settings)
        market_settings = MarketDataSettings(session_end_ns=self.settings.calendar.end_ns)
        self.market = MarketDataCollector(bus=self.bus, settings=market_settings)
        self.strategy = self.make_section(trades, history)
        asyncio.run(self.market.start())
        asyncio.run(self.strategy.start())
        self.now = NOON
        self._trade_ids = 0

    def make_section(self, trades: TradeLog | None, history: History | None = None) -> StrategyCollector:
        return StrategyCollector(
            bus=self.bus, history=history, market=self.market, trades=trades, settings=self.settings
        )

    def fill(self, quantity: int | str, price: int | str, *, strategy: str = "mean", **changes: Any) -> Fill:
        self._trade_ids += 1
        signed = D(quantity)
        fields: dict[str, Any] = {"trade_id": f"t{self._trade_ids}", "symbol": "AAPL", "ts": NOON, "ts_init": NOON}
        event = Fill(
            order_id="o",
            side="buy" if signed > 0 else "sell",
            quantity=abs(signed),
            price=D(price),
            strategy=strategy,
            **(fields | changes),
        )
        self.bus.publish(event)
        return event

    def quote(self, bid: float | None, ask: float | None, ts: int = NOON, symbol: str = "AAPL") -> None:
        self.bus.publish(Quote(symbol, bid, ask, ts=ts, ts_init=ts))

    def tick(self, now_ns: int = NOON) -> dict[str, Any]:
        self.strategy.refresh(now_ns)
        return self.strategy.fields.to_json()

    def book(self, event: Any) -> None:
        """Publishes a booking that arrives now, if it has no time yet."""
        event.ts_init = event.ts_init or self.now
        event.ts = event.ts or event.ts_init
        self.bus.publish(event)

    def accept(self, event: Any) -> None:
        """Publishes an event that arrives a nanosecond after the one before; nothing may be remarked on."""
        self.now += 1
        event.ts, event.ts_init = self.now, self.now + 1
        self.bus.remark = None
        self.bus.publish(event)
        assert self.bus.remark is None, self.bus.remark

    def refusal(self) -> str:
        """Returns why the newest event that was remarked on was refused."""
        assert self.bus.remark is not None, "nothing was refused"
        assert self.bus.remark.is_refusal
        return self.bus.remark.text

    def part(self, group: int, key: str) -> dict[str, Any]:
        return self.strategy.groups[group].parts[key].to_json()

    def positions(self) -> list[dict[str, Any]]:
        return [part.to_json() for part in self.strategy.groups[1].parts.values()]


def play_to_two(
    moves: Sequence[Any],
    ticks: Sequence[bool],
    publish: Callable[[Desk, Any, int], None],
    tick: Callable[[Desk, int], dict[str, Any]],
    quoted_by: Callable[[Any], Hashable],
) -> tuple[Desk, Desk, int]:
    """Plays moves to two desks, and compares what they show in the end; returns them, and the time.

    A move begins with its kind and ends with the time that passes before it. One desk ticks only in the end, the other
    also when `ticks` says so. Their drawdown must be that of an account that is looked at after every event and
    whenever a quote becomes stale; `quoted_by` names what each quote of a move replaces.
    """
    rare, often = Desk(starting_capital=D(100_000)), Desk(starting_capital=D(100_000))
    peak = fall = D(0)
    now = NOON
    stale_at: dict[Hashable, int] = {}

    def look(moment: int) -> None:
        nonlocal peak, fall
        total = next(often.strategy.equity_rows(moment))[1]
        peak = max(peak, total)
        fall = max(fall, peak - total)

    for move, is_ticking in zip(moves, ticks, strict=False):
        elapsed = move[-1]
        for moment in sorted(stale_at.values()):
            if now < moment <= now + elapsed:
                look(moment)
        now += elapsed
        if move[0] == "quote":
            stale_at[quoted_by(move)] = now + 5 * S + 1
        for desk in (rare, often):
            publish(desk, move, now)
        if is_ticking:
            tick(often, now)
        look(now)
    assert tick(rare, now) == tick(often, now)
    assert often.strategy.fields.to_json()["max_drawdown"] == float(fall)
    return rare, often, now
