"""Our orders: the open ones, a memory of recent ones, and their legs.

No fills' records here (see `trade_log.py`), no sums (see `execution_group.py`) and no JSON (see
`execution_collector.py`).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from observability.clocks.timestamps import NS_PER_MS
from observability.events import Fill, Order
from observability.metrics.arithmetic.decimals import EXACT, ZERO, finite_or_none
from observability.metrics.arithmetic.histogram import HistogramState, SparseHistogram
from observability.metrics.execution.figures import NO_FIGURES, Figures, figures_of
from observability.metrics.execution.groups import LEGS, ExecutionGroup, ExecutionGroups
from observability.metrics.execution.order import OrderState, new_order
from observability.metrics.execution.order_market import OrderMarket
from observability.metrics.trades.trade import Trade
from observability.metrics.trades.trade_log import TradeLog
from observability.store.checkpoint import pack, unpack

logger = logging.getLogger(__name__)

Key = tuple[str, str]

_LEG_BITS: Final = {leg: 1 << index for index, leg in enumerate(LEGS)}


class LedgerState(msgspec.Struct, array_like=True):
    """What a checkpoint holds of the ledger; each order is a packed OrderState."""

    session: int = 0
    evicted: int = 0
    late_reports: int = 0
    overfilled: int = 0
    latency: HistogramState = msgspec.field(default_factory=HistogramState)
    open: list[msgspec.Raw] = []
    recent: list[msgspec.Raw] = []


class OrderLedger:
    """Follows every order by (symbol, order id), since exchanges number orders per symbol.

    At most `max_open` orders are open: beyond, the oldest is no longer counted as open (`evicted`). Of the others,
    `max_recent` are remembered for late and repeated reports. A report of one forgotten counts as a new order, unless
    an archive has the very same report.
    """

    def __init__(self, groups: ExecutionGroups, trades: TradeLog, max_open: int, max_recent: int) -> None:
        self.open: dict[Key, OrderState] = {}
        self.canceling: set[Key] = set()
        """Open orders whose cancel was requested and not acknowledged."""
        self.evicted = 0
        self.late_reports = 0
        self.overfilled = 0
        """Fills that brought an order above its quantity."""
        self.archive: Callable[[Order], bool] | None = None
        """Says whether a report was taken before; asked for orders that may have been forgotten."""
        self.latency = SparseHistogram()
        """One per order of the session: sent to acknowledged, else what its first fill reports."""
        self._groups = groups
        self._trades = trades
        # The first entry of a plain dict is found behind the gaps of all that went before it.
        self._recent: OrderedDict[Key, OrderState] = OrderedDict()
        self._packed: dict[Key, msgspec.Raw] = {}
        self._max_open = max_open
        self._max_recent = max_recent
        self._session = 0

    def begin_session(self) -> None:
        """Starts all counts and latencies of the session anew. Orders still open stay open; what becomes of them is no
        longer counted, except for their fills."""
        self._session += 1
        self.latency = SparseHistogram()
        self._groups.begin_session()

    def report(self, event: Order, market: OrderMarket | None) -> None:
        """Takes one report of an order."""
        key = (event.symbol, event.order_id)
        if self._is_archived(key, event):
            self.late_reports += 1
            return
        order, before = self._find(key, event, market)
        self.late_reports += order.report(event, market)
        if order.waiting and order.arrival_price is not None:
            self._amend(order)
        self._put(key, order, before)

    def fill(self, event: Fill, trade: Trade, market: OrderMarket | None) -> OrderState:
        """Takes one fill, which must not be a repeated one; returns its order."""
        key = (event.symbol, event.order_id)
        order, before = self._find(key, event, market)
        order.fill(event, trade, market)
        if order.arrival_price is not None:
            order.measure(trade)
        if order.quantity is not None and order.filled > order.quantity:
            self.overfilled += 1
        groups = self._groups_of(order)
        for group in groups:
            group.count(("fills",))
            group.add((("commission", event.commission),))
        latency_ms = finite_or_none(event.latency_ms)
        if latency_ms is not None:
            latency_ns = round(latency_ms * NS_PER_MS)
            for group in groups:
                group.record("reported_by_fills", latency_ns, is_of_session=True)
            if not order.is_latency_known:
                order.is_latency_known = True
                self.latency.record(latency_ns)
        self._put(key, order, before)
        return order

    def _is_archived(self, key: Key, event: Order) -> bool:
        """Whether the report of an order that is not in memory was taken when it was."""
        if self.archive is None or len(self._recent) < self._max_recent or key in self.open or key in self._recent:
            return False
        return self.archive(event)

    def dump_state(self) -> LedgerState:
        """Returns everything but the groups. Orders that did not change since the last call cost no packing."""
        return LedgerState(
            self._session, self.evicted, self.late_reports, self.overfilled, self.latency.to_state(),
            self._pack(self.open), self._pack(self._recent),
        )  # fmt: skip

    def load_state(self, state: LedgerState) -> None:
        """Takes over what was dumped."""
        self._session, self.evicted = state.session, state.evicted
        self.late_reports, self.overfilled = state.late_reports, state.overfilled
        self.latency = SparseHistogram.from_state(state.latency)
        self._packed = {}
        self.open = self._unpack(state.open)
        self._recent = OrderedDict(self._unpack(state.recent))
        self.canceling = {key for key, order in self.open.items() if order.cancel_ns is not None}

    def _find(self, key: Key, event: Order | Fill, market: OrderMarket | None) -> tuple[OrderState, Figures]:
        """Returns the order, a new one if need be, and what it has counted as so far."""
        self._packed.pop(key, None)
        order = self.open.get(key) or self._recent.get(key)
        if order is None:
            order = new_order(event, self._session)
            order.begin(market, event.ts_init)
            return order, NO_FIGURES
        return order, figures_of(order) if order.session == self._session else NO_FIGURES

    def _groups_of(self, order: OrderState) -> tuple[ExecutionGroup, ...]:
        return self._groups.of(order.strategy, order.symbol, order.venue)

    def _put(self, key: Key, order: OrderState, before: Figures) -> None:
        groups = self._groups_of(order)
        is_of_session = order.session == self._session
        if is_of_session:
            _count_change(groups, before, figures_of(order))
        self._measure_legs(order, groups, is_of_session=is_of_session)
        if order.is_open:
            if order.cancel_ns is not None:
                self.canceling.add(key)
            self._recent.pop(key, None)
            self._keep_open(key, order)
        else:
            self.open.pop(key, None)
            self.canceling.discard(key)
            self._remember(key, order)

    def _keep_open(self, key: Key, order: OrderState) -> None:
        if key not in self.open and len(self.open) >= self._max_open:
            oldest = next(iter(self.open))
            self.canceling.discard(oldest)
            self._remember(oldest, self.open.pop(oldest))
            self.evicted += 1
            if self.evicted == 1:
                logger.warning("more than %d orders are open: the oldest no longer count as open", self._max_open)
        self.open[key] = order

    def _remember(self, key: Key, order: OrderState) -> None:
        if key not in self._recent and len(self._recent) >= self._max_recent:
            oldest, _ = self._recent.popitem(last=False)
            self._packed.pop(oldest, None)
        self._recent[key] = order

    def _amend(self, order: OrderState) -> None:
        """Completes the records of fills that came before their order's arrival price."""
        for trade_id, venue in order.waiting:
            for trade in self._trades.find(trade_id):
                if trade.symbol == order.symbol and trade.venue == venue:
                    order.measure(trade)
                    self._trades.amended(trade)
        order.waiting = []

    def _measure_legs(self, order: OrderState, groups: tuple[ExecutionGroup, ...], *, is_of_session: bool) -> None:
        sent, acked = order.sent_ns, order.acked_ns
        if is_of_session and sent is not None and acked is not None and not order.is_latency_known:
            order.is_latency_known = True
            self.latency.record(acked - sent)
        for leg, start_ns, end_ns in (
            ("decision_to_send", order.decided_ns, sent),
            ("send_to_ack", sent, acked),
            ("ack_to_first_fill", acked, order.first_fill_ns),
            ("send_to_first_fill", sent, order.first_fill_ns),
            ("send_to_complete", sent, order.ended_ns),
            ("cancel_to_ack", order.cancel_ns, order.canceled_ns),
        ):
            if start_ns is not None and end_ns is not None and not order.legs_known & _LEG_BITS[leg]:
                order.legs_known |= _LEG_BITS[leg]
                for group in groups:
                    group.record(leg, end_ns - start_ns, is_of_session=is_of_session)

    def _pack(self, orders: dict[Key, OrderState]) -> list[msgspec.Raw]:
        packed = self._packed
        for key, order in orders.items():
            if key not in packed:
                packed[key] = msgspec.Raw(pack(order))
        return [packed[key] for key in orders]

    def _unpack(self, packed: list[msgspec.Raw]) -> dict[Key, OrderState]:
        orders: dict[Key, OrderState] = {}
        for raw in packed:
            data = bytes(raw)
            order = unpack(data, OrderState)
            key = (order.symbol, order.order_id)
            orders[key] = order
            self._packed[key] = msgspec.Raw(data)
        return orders


def _count_change(groups: tuple[ExecutionGroup, ...], before: Figures, after: Figures) -> None:
    """Counts what an order counts as now, in place of what it counted as before."""
    gone, come = before.labels - after.labels, after.labels - before.labels
    subtract = EXACT.subtract
    changes = [
        (name, subtract(amount, before.amounts.get(name, ZERO)))
        for name, amount in after.amounts.items()
        if amount != before.amounts.get(name)
    ]
    changes += [(name, subtract(ZERO, amount)) for name, amount in before.amounts.items() if name not in after.amounts]
    for group in groups:
        if gone:
            group.count(gone, -1)
        if come:
            group.count(come)
        if changes:
            group.add(changes)
