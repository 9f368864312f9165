"""The market data and execution sections on one bus, for tests that need prices around orders."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from observability.bus import Bus
from observability.events import Event, Fill, Order, Print, Quote
from observability.metrics import ExecutionCollector, MarketDataCollector
from observability.metrics.trades.trade_log import TradeLog

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
MS = 1_000_000
S = 1_000 * MS
DAY = 86_400 * S
D = Decimal


def quote(bid: float | None, ask: float | None, at_ms: float = 0, symbol: str = "AAPL") -> Quote:
    ts = NOON + round(at_ms * MS)
    return Quote(symbol, bid, ask, ts=ts, ts_init=ts)


def market_print(price: float, size: float, at_ms: float = 0, symbol: str = "AAPL") -> Print:
    ts = NOON + round(at_ms * MS)
    return Print(symbol, price, size, ts=ts, ts_init=ts)


def order(status: Any, at_ms: float = 0, order_id: str = "o", **changes: Any) -> Order:
    ts = NOON + round(at_ms * MS)
    fields: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "quantity": D(10), "ts": ts, "ts_init": ts}
    return Order(order_id, status=status, **(fields | changes))


def fill(
    trade_id: str, quantity: int | Decimal, price: str, at_ms: float = 0, order_id: str = "o", **changes: Any
) -> Fill:
    ts = NOON + round(at_ms * MS)
    fields: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "ts": ts, "ts_init": ts}
    return Fill(trade_id, order_id=order_id, quantity=D(quantity), price=D(price), **(fields | changes))


class TradingDesk:
    """Both sections; market data subscribes first."""

    def __init__(self, trades: TradeLog | None = None, **settings: Any) -> None:
        self.bus = Bus()
        self.trades = TradeLog() if trades is None else trades
        self.market = MarketDataCollector(bus=self.bus)
        self.execution = ExecutionCollector(bus=self.bus, market=self.market, trades=self.trades, **settings)
        for collector in (self.market, self.execution):
            asyncio.run(collector.start())

    def publish(self, *events: Event) -> None:
        self.bus.publish_all(events)
        assert self.bus.handler_errors == 0

    def tick(self, at_ms: float = 0) -> dict[str, Any]:
        now_ns = NOON + round(at_ms * MS)
        self.market.refresh(now_ns)
        self.execution.refresh(now_ns)
        return self.execution.fields.to_json()

    def quality(self) -> dict[str, Any]:
        return self.execution.quality()
