"""The execution section: order counts and rates, latency percentiles, slippage and commission of the session.

No P&L here (see `strategy_collector.py`) and no order states (see `order_ledger.py`).
"""

from __future__ import annotations

from typing import Any

from observability.core.bus import Bus, Handler
from observability.core.clock import Clock, EventClock, HostClock
from observability.core.events import Event, Fill, Order
from observability.core.parts import Group
from observability.core.rings import History, Series
from observability.metrics.collectors import BusCollector
from observability.metrics.json_part import JsonPart
from observability.metrics.money import to_float, to_nan
from observability.metrics.order_ledger import OrderLedger, latency_summary, ratio
from observability.metrics.sessions import Session
from observability.metrics.trade_log import Reader, Refusal, TradeLog

SERIES_FIELDS = ("orders_today", "fills_today", "fill_rate", "reject_rate", "avg_latency_ms", "latency_p99_ms")


class ExecutionCollector(BusCollector):
    """Follows every order of ours from its reports and fills.

    All numbers are of the session (UTC day of the event clock), except `open_orders` and the counts of irregularities.
    An order belongs to the session of its first report.
    - fill_rate: quantity filled / quantity ordered, over accepted orders of known quantity, open ones included;
      fill_rate_orders: orders filled whole / orders accepted. Accepted is what was acknowledged other than by a reject.
    - reject_rate, cancel_rate: rejected or cancelled orders / all orders.
    - latency: `pending_new` to `new` or `rejected` by `ts`, one per order. An order without that pair counts with the
      `latency_ms` of its first fill that carries one. Whichever is seen first stays.
    - avg_slippage_bps: arrival slippage, positive when it cost, weighted by quantity.
    """

    def __init__(
        self,
        *,
        bus: Bus | None = None,
        clock: Clock | None = None,
        history: History | None = None,
        trades: TradeLog | None = None,
        max_open_orders: int = 10_000,
        max_recent_orders: int = 10_000,
    ) -> None:
        super().__init__("execution", bus)
        self.clock: Clock = EventClock(HostClock()) if clock is None else clock
        self.trades = TradeLog() if trades is None else trades
        self.fields = JsonPart()
        self.groups: tuple[Group, ...] = ()
        self.last_input_ns: int | None = None
        self.duplicate_fills = 0
        self._orders = OrderLedger(max_open_orders, max_recent_orders)
        self._session = Session()
        self._has_input = True
        self._quality: dict[str, Any] | None = None
        self._row: tuple[float, ...] = (0.0,) * len(SERIES_FIELDS)
        self._series: Series | None = None if history is None else history.open(self.name, "", SERIES_FIELDS)

    async def get_current_metrics(self) -> dict[str, Any]:
        self._update(self.clock.time_ns())
        return dict(self.fields.to_json())

    def refresh(self, now_ns: int) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        self._update(now_ns)
        if self._series is not None:
            self._series.record(now_ns, self._row)

    def on_order(self, event: Order) -> None:
        """Takes one report of an order, in whatever order they arrive."""
        self._note_input(event)
        self._orders.report(event)

    def on_fill(self, event: Fill) -> None:
        """Takes one fill; a repeated or conflicting one changes nothing."""
        trade = self.trades.admit(event, Reader.EXECUTION)
        if isinstance(trade, Refusal):
            self.duplicate_fills += trade is Refusal.DUPLICATE
            self._has_input = True
            return
        self._note_input(event)
        self._orders.fill(event, trade)

    def quality(self) -> dict[str, Any]:
        """Returns the execution quality of the session, each figure with its sample count `n`; not to be changed."""
        # Asked for once per tick; percentiles are looked up only after an input.
        if self._quality is None:
            self._quality = self._derive_quality()
        return self._quality

    def _derive_quality(self) -> dict[str, Any]:
        orders = self._orders
        totals = orders.totals
        return {
            "fill_rate": {"value": ratio(totals.executed, totals.ordered), "n": totals.accepted},
            "fill_rate_orders": {"value": ratio(totals.filled, totals.accepted), "n": totals.accepted},
            "reject_rate": {"value": ratio(totals.rejected, totals.orders), "n": totals.orders},
            "cancel_rate": {"value": ratio(totals.cancelled, totals.orders), "n": totals.orders},
            "latency": {leg: latency_summary(histogram) for leg, histogram in orders.legs.items()},
            "arrival_slippage_bps": {
                "value": ratio(totals.slippage, totals.measured_quantity),
                "n": totals.measured,
                "quantity": to_float(totals.measured_quantity),
            },
        }

    def _handlers(self) -> dict[type[Event], Handler]:
        return {Order: self.on_order, Fill: self.on_fill}

    def _note_input(self, event: Event) -> None:
        now_ns = event.ts_init
        if now_ns > (self.last_input_ns or 0):
            self.last_input_ns = now_ns
            self._turn_session(now_ns)
        self._quality = None
        self._has_input = True

    def _turn_session(self, now_ns: int) -> None:
        if self._session.has_turned(now_ns):
            self._orders.begin_session()
            self._quality = None
            self._has_input = True

    def _update(self, now_ns: int) -> None:
        self._turn_session(now_ns)
        if self._has_input:
            self._has_input = False
            self._derive()

    def _derive(self) -> None:
        orders = self._orders
        totals = orders.totals
        latency = latency_summary(orders.latency)
        fill_rate = ratio(totals.executed, totals.ordered)
        reject_rate = ratio(totals.rejected, totals.orders)
        self.fields.offer(
            {
                "orders_today": totals.orders,
                "fills_today": orders.fills,
                "open_orders": len(orders.open),
                "partially_filled": totals.partially_filled,
                "filled": totals.filled,
                "cancelled": totals.cancelled,
                "rejected": totals.rejected,
                "expired": totals.expired,
                "fill_rate": fill_rate,
                "fill_rate_orders": ratio(totals.filled, totals.accepted),
                "reject_rate": reject_rate,
                "cancel_rate": ratio(totals.cancelled, totals.orders),
                "avg_latency_ms": latency["mean_ms"],
                "latency_p50_ms": latency["p50_ms"],
                "latency_p95_ms": latency["p95_ms"],
                "latency_p99_ms": latency["p99_ms"],
                "latency_p999_ms": latency["p999_ms"],
                "latency_max_ms": latency["max_ms"],
                "n_latency": latency["n"],
                "n_latency_negative": latency["n_negative"],
                "avg_slippage_bps": ratio(totals.slippage, totals.measured_quantity),
                "n_slippage": totals.measured,
                "commission": to_float(orders.commission),
                "duplicate_fills": self.duplicate_fills,
                "conflicting_fills": self.trades.conflicts,
                "late_reports": orders.late_reports,
                "overfilled": orders.overfilled,
                "evicted_orders": orders.evicted,
            }
        )
        self._row = (
            float(totals.orders),
            float(orders.fills),
            to_nan(fill_rate),
            to_nan(reject_rate),
            to_nan(latency["mean_ms"]),
            to_nan(latency["p99_ms"]),
        )
