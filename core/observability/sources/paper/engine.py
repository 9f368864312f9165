"""The paper engine: a small strategy that trades on the quotes of the bus through the paper venue.

    bus --- quotes, prints ---------> engine --- touch --> strategy --- decision --> venue
        <-- orders, fills, signals ---                                                 |
                                      <---------------------------------- reports -----+

The strategy decides and the venue fills; the engine publishes the signals of the one and the reports of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from observability.bus import Bus
from observability.clocks.timestamps import NS_PER_S
from observability.events import Equity, Event, Fill, Order, Print, Quote, Signal
from observability.sources.paper.strategy import SAMPLE_INTERVAL_NS, MeanReversion
from observability.sources.paper.venue import LatencyModel, PaperMarket, PaperOrder, PaperVenue, VenueRules

STRATEGY = "paper_mean_reversion"
PAPER_SOURCE = "paper"

_ENTRY_TIME_IN_FORCE_NS = 5 * NS_PER_S
_EXIT_TIME_IN_FORCE_NS = NS_PER_S
# A price beyond this is an error of its sender, and too large for the exact arithmetic of orders.
_MAX_PRICE = 1e12
# Tick and lot by quoting venue. Where each symbol has a tick of its own it is not checked: a smaller one is used.
_STEPS = {
    "NASDAQ": (Decimal("0.01"), Decimal(1)),
    "SIM": (Decimal("0.01"), Decimal(1)),
    "BINANCE": (Decimal("0.00000001"), Decimal("0.0001")),
}
_OTHER_STEPS = (Decimal("0.00000001"), Decimal("0.0001"))


@dataclass(frozen=True, slots=True)
class PaperConfig:
    """The engine's settings; money is in the currency of the quotes."""

    seed: int = 1
    starting_capital: Decimal = Decimal(250_000)
    order_notional: Decimal = Decimal(20_000)
    position_limit_orders: int = 3
    """The position limit of a symbol, in orders of its size."""
    max_symbols: int = 256
    id_prefix: str = "P"
    """Begins every order id. A repeated replay gives the same ids; a new prefix makes a run distinct."""
    latency_median_ms: float = 1.0
    rules: VenueRules = field(default_factory=VenueRules)


class _Trader:
    """The strategy and its venue, for one symbol."""

    __slots__ = ("last_order", "market", "next_sample_ns", "order_quantity", "strategy")

    def __init__(self, market: PaperMarket) -> None:
        self.market = market
        self.strategy = MeanReversion()
        self.next_sample_ns = 0
        self.order_quantity = Decimal(0)
        self.last_order: PaperOrder | None = None


class PaperEngine:
    """Trades on every symbol quoted on the bus, up to `max_symbols`; a symbol quoted by several venues is one market.

    Times are those of the events (`ts_init`). A report's `ts` is when it happened at the venue, its `ts_init` that of
    the market event with which it becomes known. The same seed and the same events give the same reports.
    """

    def __init__(self, bus: Bus, config: PaperConfig | None = None) -> None:
        self._bus = bus
        self._config = PaperConfig() if config is None else config
        self._venue = PaperVenue(
            LatencyModel(self._config.seed, self._config.latency_median_ms), self._config.rules, self._config.id_prefix
        )
        self._reports = self._venue.reports
        self._traders: dict[str, _Trader] = {}
        self._unsubscribe: list[Callable[[], None]] = []
        self._has_capital = False
        self._is_publishing = False
        self.counts: dict[str, int] = {"orders": 0, "fills": 0}
        """Orders, fills, and reports by status."""
        self.symbols_refused = 0
        """Quotes ignored because their symbol was beyond `max_symbols`."""

    def start(self) -> None:
        """Subscribes to the bus; a second call does nothing. The starting capital is published with the first quote."""
        if not self._unsubscribe:
            self._unsubscribe = [
                self._bus.subscribe(Quote, self._on_quote),
                self._bus.subscribe(Print, self._on_print),
            ]

    def stop(self) -> None:
        """Ends the subscriptions; open orders stay as they are."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []

    def flush(self, now_ns: int) -> None:
        """Publishes the reports that are due by `now_ns` (event time), without waiting for the next quote."""
        if now_ns >= self._venue.next_due_ns:
            self._venue.advance(now_ns)
        self._publish()

    def position(self, symbol: str) -> Decimal:
        """Returns our signed position."""
        return self._traders[symbol].market.position if symbol in self._traders else Decimal(0)

    def position_limit(self, symbol: str) -> Decimal | None:
        """Returns the largest position allowed, long or short; None before the first two-sided quote."""
        return self._traders[symbol].market.position_limit if symbol in self._traders else None

    def _on_quote(self, quote: Quote) -> None:
        # hot: once per quote
        now_ns = quote.ts_init
        venue = self._venue
        if now_ns >= venue.next_due_ns:
            venue.advance(now_ns)
        trader = self._traders.get(quote.symbol)
        if trader is None:
            trader = self._add_trader(quote)
            if trader is None:
                return
        venue.on_quote(trader.market, quote)
        if now_ns >= trader.next_sample_ns:
            self._sample(trader, now_ns)
        if self._reports:
            self._publish()

    def _on_print(self, trade: Print) -> None:
        # hot: once per print
        now_ns = trade.ts_init
        if now_ns >= self._venue.next_due_ns:
            self._venue.advance(now_ns)
        trader = self._traders.get(trade.symbol)
        if trader is not None and trader.market.resting:
            self._venue.on_print(trader.market, trade)
        if self._reports:
            self._publish()

    def _add_trader(self, quote: Quote) -> _Trader | None:
        if len(self._traders) >= self._config.max_symbols:
            self.symbols_refused += 1
            return None
        tick, lot = _STEPS.get(quote.venue, _OTHER_STEPS)
        trader = self._traders[quote.symbol] = _Trader(PaperMarket(quote.symbol, tick, lot))
        if not self._has_capital:
            self._has_capital = True
            self._reports.append(
                Equity(self._config.starting_capital, STRATEGY, ts=quote.ts_init, ts_init=quote.ts_init)
            )
        return trader

    def _sample(self, trader: _Trader, now_ns: int) -> None:
        trader.next_sample_ns = now_ns + SAMPLE_INTERVAL_NS
        market = trader.market
        bid, ask = market.bid, market.ask
        if bid is None or ask is None or bid <= 0 or ask > _MAX_PRICE:
            return
        if not trader.order_quantity:
            self._size_orders(trader)
        last_order = trader.last_order
        if last_order is not None and not market.live_orders:
            trader.last_order = None
            if last_order.status == "rejected":
                trader.strategy.on_reject(now_ns)
        position = market.position
        direction = 0 if not position else 1 if position > 0 else -1
        decision = trader.strategy.sample(now_ns, bid, ask, direction, market.live_orders > 0)
        if decision is None:
            return
        side = decision.side
        # An entry joins its own side of the touch, an exit takes the opposite one.
        price = bid if (side == "buy") is not decision.is_exit else ask
        self._reports.append(Signal(STRATEGY, market.symbol, side, decision.confidence, ts=now_ns, ts_init=now_ns))
        trader.last_order = self._venue.submit(
            market,
            side,
            abs(position) if decision.is_exit else trader.order_quantity,
            Decimal(repr(price)),
            now_ns=now_ns,
            time_in_force_ns=_EXIT_TIME_IN_FORCE_NS if decision.is_exit else _ENTRY_TIME_IN_FORCE_NS,
            strategy=STRATEGY,
        )

    def _size_orders(self, trader: _Trader) -> None:
        """Sets the order size, and with it the position limit, by the first mid."""
        market = trader.market
        mid = market.mid()
        assert mid is not None
        trader.order_quantity = max(market.lot, market.round_down(self._config.order_notional / mid))
        market.position_limit = trader.order_quantity * self._config.position_limit_orders

    def _publish(self) -> None:
        # A subscriber that publishes a quote re-enters here. The reports caused by that quote wait until every
        # subscriber has seen the reports before it.
        if self._is_publishing:
            return
        self._is_publishing = True
        try:
            while self._reports:
                reports: list[Event] = self._reports[:]
                self._reports.clear()
                self._count(reports)
                self._bus.publish_all(reports, PAPER_SOURCE)
        finally:
            self._is_publishing = False

    def _count(self, reports: list[Event]) -> None:
        counts = self.counts
        for report in reports:
            if isinstance(report, Order):
                counts[report.status] = counts.get(report.status, 0) + 1
                if report.status == "pending_new":
                    counts["orders"] += 1
            elif isinstance(report, Fill):
                counts["fills"] += 1
