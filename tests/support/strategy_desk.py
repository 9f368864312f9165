"""A market and a strategy section on one bus, and fills, quotes and ticks for them."""

from __future__ import annotations

import asyncio
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

    def refusal(self) -> str:
        """Returns why the newest event that was remarked on was refused."""
        assert self.bus.remark is not None, "nothing was refused"
        assert self.bus.remark.is_refusal
        return self.bus.remark.text

    def part(self, group: int, key: str) -> dict[str, Any]:
        return self.strategy.groups[group].parts[key].to_json()

    def positions(self) -> list[dict[str, Any]]:
        return [part.to_json() for part in self.strategy.groups[1].parts.values()]
