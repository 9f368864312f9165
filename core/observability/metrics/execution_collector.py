"""The execution section: counts and rates of orders, latencies, and the costs of execution.

    order, fill   --> ledger: orders, legs --> figures --> groups --> quality
    fill          --> markouts ------------------------->
    quote, print  --> order_market: the prices around the orders

Each step is a module of `execution/`; `quality` defines the figures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from observability.bus import Bus, EventHandler, Remark
from observability.clocks.clock import Clock, EventClock, HostClock
from observability.clocks.timestamps import NS_PER_S
from observability.errors import CheckpointError
from observability.events import Event, Fill, Order, Split, event_time_ns
from observability.history.history import History
from observability.history.standing import StandingSeries
from observability.instruments.table import InstrumentTable
from observability.metrics.arithmetic.decimals import ZERO, nan_if_none
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.arithmetic.sessions import utc_day_end_ns
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.collectors import BusCollector
from observability.metrics.execution.amounts import are_in_several
from observability.metrics.execution.exemplars import BOUNDS_NS, Exemplar
from observability.metrics.execution.groups import LEGS, ExecutionGroups, GroupsState
from observability.metrics.execution.ledger import KnownOrder, LedgerState, OrderLedger
from observability.metrics.execution.markouts import Markouts, MarkoutsState
from observability.metrics.execution.order_breaks import OrderBreaks
from observability.metrics.execution.order_market import OrderMarkets, OrderMarketState
from observability.metrics.execution.orders.report_log import ReportLog
from observability.metrics.execution.quality import SEVERAL_SYMBOLS, cost_bps, ended, ratio, shortfall_bps
from observability.metrics.execution.reject_reasons import ReasonCount, RejectReasons
from observability.metrics.market.time_order import is_dated_ahead
from observability.metrics.market_data_collector import MarketDataCollector
from observability.metrics.trades.booking_log import BookingLog
from observability.metrics.trades.correction import Terms
from observability.metrics.trades.trade import Trade
from observability.metrics.trades.trade_log import CONFLICT, DUPLICATE, EXECUTION, StrategyLookup, TradeLog
from observability.snapshot.sections import Group, JsonPart
from observability.store.checkpoint import pack, unpack

logger = logging.getLogger(__name__)

SERIES_FIELDS = ("orders_today", "fills_today", "fill_rate", "reject_rate", "avg_latency_ms", "latency_p99_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSettings:
    """The session of the execution section, and the most that it keeps in memory."""

    session_end_ns: Callable[[int], int] = utc_day_end_ns
    """Returns the end of the session that a time belongs to."""
    max_open_orders: int = 10_000
    """Beyond them, the oldest no longer counts as open."""
    max_recent_orders: int = 10_000
    """Ended orders that are remembered for late and repeated reports."""
    max_pending_markouts: int = 20_000
    """Fills that wait for a horizon, about 460 bytes each. Beyond them, a new fill has no markouts."""
    max_groups: int = 64
    """As many strategies, symbols and venues each have figures of their own; the rest share a group. Measured: 4 kB per
    group when new, 23 kB with 300 orders, 330 kB with 50,000 whose latencies spread over two decades."""
    max_symbols: int = 256
    """Symbols whose market is followed, at most 190 kB each. Orders in further symbols are measured without prices."""


class ExecutionState(msgspec.Struct):
    """The section in a checkpoint."""

    groups: GroupsState | None = None
    orders: LedgerState = msgspec.field(default_factory=LedgerState)
    markouts: MarkoutsState = msgspec.field(default_factory=MarkoutsState)
    symbols: list[OrderMarketState] = []
    session_end_ns: int | None = None
    last_input_ns: int | None = None
    duplicate_fills: int = 0
    reject_reasons: list[ReasonCount] = []


class ExecutionCollector(BusCollector):
    """Follows every order of ours from its reports and fills, and the market around it.

    All figures are of the session (by default the UTC day of the event clock), except `open_orders`,
    `unacknowledged_cancels`, `latency_total` and the counts of irregularities. An order belongs to the session of its
    first report, a markout to the one in which its horizon passes. `execution/quality.py` defines the figures; besides:
    - latency: from `pending_new` to `new` or `rejected` by `ts`, one per order. An order without that pair counts with
      the `latency_ms` of its first fill that has one. Whichever is known first stays.
    - avg_slippage_bps: arrival slippage, weighted by notional; a cost is positive.
    - unacknowledged_cancels: open orders with a reported `pending_cancel`.

    Prices are those of `market`; without it, figures that need prices are undefined. A symbol is followed from its
    first order on; of its earlier quotes only the touch of that moment is known. Events that are replayed after a
    restart keep the mids in the checkpoint and in the trades; other mids are those of the checkpoint's touch, or are
    left out if it is stale.
    """

    def __init__(
        self,
        *,
        bus: Bus | None = None,
        clock: Clock | None = None,
        history: History | None = None,
        market: MarketDataCollector | None = None,
        trades: TradeLog | None = None,
        reports: ReportLog | None = None,
        bookings: BookingLog | None = None,
        settings: ExecutionSettings | None = None,
        instruments: InstrumentTable | None = None,
        rates: Rates | None = None,
    ) -> None:
        """Without `instruments` and `rates`, which the strategy section has, every contract is linear and in one
        currency."""
        super().__init__("execution", bus)
        self.bookings = BookingLog(self.bus) if bookings is None else bookings
        self.clock: Clock = EventClock(HostClock()) if clock is None else clock
        self.trades = TradeLog() if trades is None else trades
        self.reports = ReportLog() if reports is None else reports
        self.trades.strategy_of_order = self.strategy_of_order
        self.fields = JsonPart()
        self.groups: tuple[Group, ...] = ()
        self._market = market
        self.settings = ExecutionSettings() if settings is None else settings
        self._instruments = instruments
        self._rates = rates
        self._rates_generation = 0
        self.last_input_ns: int | None = None
        self.is_touched = True
        self.duplicate_fills = 0
        self.dated_ahead = 0
        """Order reports and fills of this process's life that were dated ahead of their arrival."""
        self._has_input = True
        self._quality: dict[str, Any] | None = None
        self._set_up(ExecutionState())
        self._row: tuple[float, ...] = (0.0,) * len(SERIES_FIELDS)
        self._series: StandingSeries | None = None
        if history is not None:
            self._series = history.open_standing(self.name, "", SERIES_FIELDS)

    async def get_current_metrics(self) -> dict[str, Any]:
        self._update(self.clock.time_ns())
        return dict(self.fields.to_json())

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        end_ns, rates = self._session_end_ns, self._rates
        if (
            self._has_input
            or self._markouts.pending
            or (end_ns is not None and now_ns >= end_ns)
            or (rates is not None and rates.generation != self._rates_generation)
        ):
            self._update(now_ns)
        if is_recorded and self._series is not None:
            self._series.follow(now_ns, self._row)

    def on_order(self, event: Order) -> None:
        """Applies one order report. Reports may arrive in any order."""
        # hot: once per order report (benchmarks/bench_intake.py)
        self._note_input(event)
        if is_dated_ahead(event):
            self._note_dated_ahead(event)
        evicted = self._orders.evicted
        order = self._orders.report(event, self._markets.follow(event.symbol))
        if order is None:
            self.reports.note_repeated(event)
        else:
            report = self.reports.add(event, is_first=order.n_reports == 1)
            order.seq = order.seq or report.seq
            if event.status == "rejected" and self._orders.is_newly_rejected(order):
                self._reject_reasons.add(event.reason, order.venue)
        if self._orders.evicted != evicted:
            self.bus.remark = Remark(
                event, "order_id", f"the oldest order no longer counts as open: {self.settings.max_open_orders} are"
            )

    def on_fill(self, event: Fill) -> None:
        """Applies one fill; a duplicate or conflicting one changes nothing."""
        # hot: once per fill (benchmarks/bench_intake.py)
        trade = self.trades.admit(event, EXECUTION)
        if trade is DUPLICATE or trade is CONFLICT:
            self.duplicate_fills += trade is DUPLICATE
            self._has_input = True
            return
        self._note_input(event)
        if is_dated_ahead(event):
            self._note_dated_ahead(event)
        now_ns = event.ts_init
        market = self._markets.follow(event.symbol)
        if trade.mid is None and market is not None:
            trade.mid = market.mid(now_ns)
        if not event.order_id:
            self._orders.fill_without_order(event, trade)
            return
        order = self._orders.fill(event, trade, market)
        self._markouts.add(order, event, trade, None if market is None else trade.mid)
        if market is not None and trade.mid is not None:
            market.schedule()

    def correct(self, trade: Trade, before: Terms | None, trades: Sequence[Trade]) -> bool:
        """Counts a fill anew that was corrected, and its order; the trade has its new terms already, `before` are those
        that it has counted with, and `trades` all trades of its order in memory. Returns False if something of it is
        no longer in memory, and stays as it was."""
        is_of_session = trade.seq > self._orders.session_seq
        order = self._orders.find((trade.symbol, trade.order_id))
        is_complete = self._orders.correct(trade, before, trades)
        if order is not None:
            is_complete &= self._markouts.correct(trade, before, order.venue, is_of_session=is_of_session)
        self._orders.drop_empty_groups()
        market = self._markets.follow(trade.symbol)
        if market is not None:
            market.schedule()
        self._has_input = True
        self._quality = None
        return is_complete

    @property
    def ledger(self) -> OrderLedger:
        """The orders in memory; another object once a state has been loaded."""
        return self._orders

    @property
    def order_breaks(self) -> OrderBreaks:
        """Order reports that contradict an earlier delivery of theirs."""
        return self._orders.breaks

    @property
    def evicted_orders(self) -> int:
        """Orders that no longer count as open because too many were."""
        return self._orders.evicted

    def remember_reports(self, archive: Callable[[Order], KnownOrder | None]) -> None:
        """Lets `archive` say what is stored of the order of a report, for orders that are no longer in memory."""
        self._orders.archive = archive

    def strategy_of_order(self, symbol: str, order_id: str) -> str | None:
        """Returns the strategy that a report or fill of an order was the first to name; None if it is not known."""
        return self._orders.strategy_of(symbol, order_id)

    def remember_strategies(self, archive: StrategyLookup) -> None:
        """Lets `archive` return the strategy that an earlier report has named, for orders that are no longer in
        memory."""
        self._orders.strategy_archive = archive

    def quality(self) -> dict[str, Any]:
        """Returns the execution quality of the session, each figure with its sample count `n`; do not modify it."""
        # Called once per tick, computed only after an input or a move of a rate.
        self._note_rates()
        if self._quality is None:
            self._quality = {
                **self._order_groups.to_json(self._rates),
                "reject_reasons": self._reject_reasons.to_json(),
                "pending_markouts": self._markouts.pending,
            }
        return self._quality

    def latencies(self) -> dict[str, tuple[float, int, list[int], Mapping[int, Exemplar]]]:
        """Returns, by leg and since the first start, the sum of all latencies in seconds, their count, how many are at
        most each of BOUNDS_NS, and exemplars by bucket. Those that corrections have taken back are among them."""
        self._order_groups.settle()
        group, exemplars = self._order_groups.all, self._orders.exemplars
        return {leg: (*group.ever_recorded(leg, BOUNDS_NS), exemplars.of(leg)) for leg in LEGS}

    def save(self) -> bytes:
        """Returns the packed state of the section. Orders and groups that have not changed are not packed again."""
        return pack(
            ExecutionState(
                groups=self._order_groups.to_state(),
                orders=self._orders.to_state(),
                markouts=self._markouts.to_state(),
                symbols=self._markets.to_state(),
                session_end_ns=self._session_end_ns,
                last_input_ns=self.last_input_ns,
                duplicate_fills=self.duplicate_fills,
                reject_reasons=self._reject_reasons.to_state(),
            )
        )

    def load(self, data: bytes) -> None:
        """Restores the state that `save` returned. Call it before the first event. Raises CheckpointError for data
        that it cannot read, and then has changed nothing."""
        try:
            self._set_up(unpack(data, ExecutionState))
        except ValueError as error:
            raise CheckpointError(f"the state of the execution section cannot be read: {error}") from None

    def on_split(self, event: Split) -> None:
        """Compares the fills that wait for a horizon with the prices of new shares from now on."""
        if self.bookings.booking_of(event) is not None:
            self._markouts.split(event.symbol, Ratio(event.numerator, event.denominator))

    def _handlers(self) -> dict[type[Event], EventHandler]:
        return {Order: self.on_order, Fill: self.on_fill, Split: self.on_split}

    def _set_up(self, state: ExecutionState) -> None:
        """Replaces every part by one with the given state, or none if that fails."""
        settings = self.settings
        groups = ExecutionGroups(settings.max_groups)
        if state.groups is not None:
            groups.load_state(state.groups)
        orders = OrderLedger(
            groups, self.trades, settings.max_open_orders, settings.max_recent_orders, self._instruments
        )
        orders.load_state(state.orders)
        markouts = Markouts(
            groups.tally, settings.max_pending_markouts, self.trades.multipliers, orders.add_markout, self._instruments
        )
        markouts.load_state(state.markouts)
        markets = OrderMarkets(self._market, markouts, self._note_due, settings.max_symbols)
        markets.load_state(state.symbols)
        self._order_groups, self._orders, self._markouts, self._markets = groups, orders, markouts, markets
        markets.attach()
        self._session_end_ns = state.session_end_ns
        self.last_input_ns = state.last_input_ns
        self.duplicate_fills = state.duplicate_fills
        self._reject_reasons = RejectReasons(state.reject_reasons)
        self._has_input = True
        self._quality = None

    def _note_input(self, event: Event) -> None:
        now_ns = event.ts_init
        if now_ns > (self.last_input_ns or 0):
            self.last_input_ns = now_ns
            self._turn_session(now_ns)
        self._quality = None
        self._has_input = True

    def _note_dated_ahead(self, event: Order | Fill) -> None:
        self.dated_ahead += 1
        if self.dated_ahead == 1:
            logger.warning(
                "a report or fill of order %r in %s is dated %.1f s after its arrival, which cannot be right; "
                "further ones are only counted",
                event.order_id, event.symbol, (event_time_ns(event) - event.ts_init) / NS_PER_S,
                extra={"ids": {"order_id": event.order_id, "symbol": event.symbol}},
            )  # fmt: skip

    def _note_due(self, now_ns: int) -> None:
        self._turn_session(now_ns)
        self._quality = None
        self._has_input = True

    def _turn_session(self, now_ns: int) -> None:
        end_ns = self._session_end_ns
        if end_ns is not None and now_ns < end_ns:
            return
        self._session_end_ns = self.settings.session_end_ns(now_ns)
        if end_ns is not None:
            # A horizon before the end belongs to the session that ends.
            self._markets.settle_all(end_ns)
            self._orders.begin_session()
            self._reject_reasons = RejectReasons()
            self._markouts.begin_session()
            self._quality = None
            self._has_input = True

    def _update(self, now_ns: int) -> None:
        # A tick does not start the first session; the first event does.
        if self._session_end_ns is not None:
            self._turn_session(now_ns)
        if self._markets.settle_all(now_ns):
            self._quality = None
            self._has_input = True
        self._note_rates()
        if self._has_input:
            self._has_input = False
            self.is_touched = True
            self._derive()

    def _note_rates(self) -> None:
        """Computes the figures again if a rate has moved that they may need."""
        rates = self._rates
        if rates is None or rates.generation == self._rates_generation:
            return
        self._rates_generation = rates.generation
        self._order_groups.settle()
        if are_in_several(self._order_groups.all.amounts):
            self._quality = None
            self._has_input = True

    def _derive(self) -> None:
        self._order_groups.settle()
        orders, counts = self._orders, self._order_groups.all.counts
        amounts = self._order_groups.all.sums(self._rates)
        n = counts.get
        latency = orders.latency.summary()
        n_orders, accepted, n_ended = n("orders", 0), n("accepted", 0), ended(counts)
        is_mixed = self._order_groups.all.is_mixed
        fill_rate = None if is_mixed else ratio(amounts.get("executed", ZERO), amounts.get("ordered", ZERO))
        reject_rate = ratio(n("rejected", 0), n_orders)
        self.fields.offer(
            {
                "orders_today": n_orders,
                "fills_today": n("fills", 0),
                "open_orders": len(orders.open),
                "partially_filled": n("partially_filled", 0),
                "filled": n("filled", 0),
                "canceled": n("canceled", 0),
                "cancelled": n("canceled", 0),
                "rejected": n("rejected", 0),
                "expired": n("expired", 0),
                "replaced": n("replaced", 0),
                "fill_rate": fill_rate,
                "fill_rate_reason": SEVERAL_SYMBOLS if is_mixed else None,
                "fill_rate_orders": ratio(n("filled", 0), accepted),
                "fill_rate_terminal": ratio(n("filled", 0), n_ended),
                "reject_rate": reject_rate,
                "cancel_rate": ratio(n("canceled", 0), n_orders),
                "avg_latency_ms": latency["mean_ms"],
                "latency_p50_ms": latency["p50_ms"],
                "latency_p95_ms": latency["p95_ms"],
                "latency_p99_ms": latency["p99_ms"],
                "latency_p999_ms": latency["p999_ms"],
                "latency_max_ms": latency["max_ms"],
                "n_latency": latency["n"],
                "n_latency_negative": latency["n_negative"],
                "avg_slippage_bps": cost_bps(amounts, "slippage"),
                "n_slippage": n("slippage", 0),
                "shortfall_bps": shortfall_bps(amounts),
                "n_shortfall": n("shortfall", 0),
                "commission": amounts.money_json("commission"),
                "duplicate_fills": self.duplicate_fills,
                "conflicting_fills": self.trades.conflicts,
                "conflicting_orders": orders.breaks.count,
                "late_reports": orders.late_reports,
                "missing_reports": n("missing_report", 0),
                "cancels_unacknowledged": len(orders.canceling),
                "unacknowledged_cancels": len(orders.canceling),
                "overfilled": orders.overfilled,
                "evicted_orders": orders.evicted,
            }
        )
        self._row = (
            float(n_orders),
            float(n("fills", 0)),
            nan_if_none(fill_rate),
            nan_if_none(reject_rate),
            nan_if_none(latency["mean_ms"]),
            nan_if_none(latency["p99_ms"]),
        )
