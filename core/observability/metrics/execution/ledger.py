"""The ledger of our orders: those that are open, those that ended recently, and the latencies of their legs."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from decimal import Decimal
from math import isfinite
from typing import Final, NamedTuple

import msgspec

from observability.clocks.timestamps import NS_PER_MS
from observability.events import Fill, Order
from observability.instruments.table import InstrumentTable
from observability.metrics.arithmetic.decimals import ONE, ZERO, multiply, quotient
from observability.metrics.arithmetic.histogram import HistogramState, SparseHistogram
from observability.metrics.execution.amounts import is_money, name_in
from observability.metrics.execution.exemplars import LegExemplars
from observability.metrics.execution.figures import NO_FIGURES, Figures, order_figures, special_figures
from observability.metrics.execution.groups import LEGS, ExecutionGroups, OrderNames, Tally
from observability.metrics.execution.order import MarkoutSum, OrderState, new_order
from observability.metrics.execution.order_breaks import OrderBreak, OrderBreaks
from observability.metrics.execution.order_market import OrderMarket
from observability.metrics.execution.recount import count_overfilled, is_counted, recount
from observability.metrics.trades.correction import Terms
from observability.metrics.trades.trade import DEFAULT_STRATEGY, Trade
from observability.metrics.trades.trade_log import StrategyLookup, TradeLog
from observability.store.checkpoint import pack, unpack

logger = logging.getLogger(__name__)

OrderKey = tuple[str, str]
"""Symbol and order id: exchanges number orders per symbol."""

# The figures of so many orders are kept, about 1 kB each: the reports and fills of an order mostly come together.
MAX_RECENT_FIGURES: Final = 1024
# The most changed orders that wait to be counted, however long the groups are not read.
MAX_UNCOUNTED: Final = 4096

FILL_LEGS: Final = frozenset({"ack_to_first_fill", "send_to_first_fill", "send_to_complete"})
"""Those that end with a fill, or may."""

_LEG_BITS: Final = {leg: 1 << index for index, leg in enumerate(LEGS)}
_DECISION_TO_SEND: Final = _LEG_BITS["decision_to_send"]
_SEND_TO_ACK: Final = _LEG_BITS["send_to_ack"]
_ACK_TO_FIRST_FILL: Final = _LEG_BITS["ack_to_first_fill"]
_SEND_TO_FIRST_FILL: Final = _LEG_BITS["send_to_first_fill"]
_SEND_TO_COMPLETE: Final = _LEG_BITS["send_to_complete"]
_CANCEL_TO_ACK: Final = _LEG_BITS["cancel_to_ack"]


Uncounted = tuple[OrderState, Figures, str]
"""An order that has changed since it was counted, and what it was counted with: its figures and its strategy."""


class KnownOrder(NamedTuple):
    """What the store knows of the order of a report."""

    seq: int
    """The number of its first report."""
    has_report: bool
    """Whether a report of that status and time is among its reports."""


class LedgerState(msgspec.Struct, array_like=True):
    """The ledger in a checkpoint; each order is a packed OrderState."""

    session: int = 0
    evicted: int = 0
    late_reports: int = 0
    overfilled: int = 0
    latency: HistogramState = msgspec.field(default_factory=HistogramState)
    open: list[msgspec.Raw] = []
    recent: list[msgspec.Raw] = []
    has_money: bool = False
    """Whether costs and notionals are in the groups' amounts as money."""
    n_breaks: int = 0
    breaks: list[OrderBreak] = []
    has_seqs: bool = False
    """Whether each order has the number of its first record."""
    forgotten_seq: int = 0
    session_seq: int = 0
    has_traded: bool = False
    """Whether the groups' amounts have what was traded."""


class OrderLedger:
    """Follows every order, and counts what its reports and fills change in its groups.

    An order is counted when somebody reads the groups: its figures of now in place of those it was counted with,
    however many reports and fills have come in between.

    Beyond `max_open` open orders, the oldest no longer counts as open (`evicted`). Of the other orders, `max_recent`
    are remembered for late and repeated reports. A report of an order that was forgotten counts as a new order, unless
    an archive has the very same report.
    """

    def __init__(
        self,
        groups: ExecutionGroups,
        trades: TradeLog,
        max_open: int,
        max_recent: int,
        instruments: InstrumentTable | None = None,
    ) -> None:
        """Without `instruments` every contract is linear, and in one currency."""
        self._instruments = instruments
        self._reporting = "" if instruments is None else instruments.reporting
        # An OrderedDict, because finding the first key of a plain dict means skipping the gaps of deleted ones.
        self.open: OrderedDict[OrderKey, OrderState] = OrderedDict()
        self.canceling: set[OrderKey] = set()
        """Open orders whose cancel was requested but not acknowledged."""
        # Open orders that wait for a successor, by symbol and side, the oldest first.
        self._replaced: dict[tuple[str, str], dict[OrderKey, None]] = {}
        self.evicted = 0
        self.forgotten_seq = 0
        """The highest number of an order that is no longer in memory; 0 if all are."""
        self.has_seqs = True
        """Whether the orders of the checkpoint had numbers."""
        self.late_reports = 0
        self.overfilled = 0
        """Fills that took an order beyond its quantity."""
        self.breaks = OrderBreaks()
        """Reports that contradict an earlier delivery of theirs."""
        self.archive: Callable[[Order], KnownOrder | None] | None = None
        """Returns what is stored of a report's order, None if nothing is; called for orders that may have been
        forgotten."""
        self.strategy_archive: StrategyLookup | None = None
        """Returns the strategy that an earlier report has named; called for orders that may have been forgotten."""
        self.latency = SparseHistogram()
        """One latency per order of the session: sent to acknowledged, else the one that its first fill reports."""
        self._groups = groups
        self.exemplars = LegExemplars()
        self._trades = trades
        self._recent: OrderedDict[OrderKey, OrderState] = OrderedDict()
        self._packed: dict[OrderKey, msgspec.Raw] = {}
        self._recent_figures: dict[OrderKey, Figures] = {}
        self._uncounted: dict[OrderKey, Uncounted] = {}
        groups.count_changes = self._count_changes
        self._max_open = max_open
        self._max_recent = max_recent
        self._session = 0
        self.session_seq = 0
        """The newest trade of the session before."""

    def begin_session(self) -> None:
        """Resets all counts and latencies of the session. Open orders stay open; from now on only their fills are
        counted."""
        self._count_changes()
        self._session += 1
        self.session_seq = self._trades.newest_seq
        self.latency = SparseHistogram()
        self._groups.begin_session()

    def report(self, event: Order, market: OrderMarket | None) -> OrderState | None:
        """Applies one report to its order, and returns the order; None if the report has arrived before."""
        # hot: once per order report (benchmarks/bench_intake.py)
        key = (event.symbol, event.order_id)
        known = None
        if self.archive is not None and len(self._recent) >= self._max_recent:
            known = self._recall(key, event)
            if known is not None and known.has_report:
                self.late_reports += 1
                return None
        order = self._find(key, event, market)
        if known is not None:
            order.seq = known.seq
        is_repeated = order.is_repeated_by(event)
        if not is_repeated:
            order.n_reports += 1
        if order.is_contradicted_by(event):
            self.breaks.add(order, event)
            self._put(key, order)
            return None if is_repeated else order
        if order.strategy == DEFAULT_STRATEGY:
            order.take_strategy(event.strategy)
        if self._replaced and order.is_new:
            self._note_successor(order)
        self.late_reports += order.report(event, market)
        if order.waiting and order.arrival_price is not None:
            self._amend(order)
        self._put(key, order)
        if order.replaces or order.successor:
            self._close_replaced(order)
        return None if is_repeated else order

    def fill(self, event: Fill, trade: Trade, market: OrderMarket | None) -> OrderState:
        """Applies one fill, which must not be a duplicate, to its order; returns the order."""
        # hot: once per fill (benchmarks/bench_intake.py)
        key = (event.symbol, event.order_id)
        order = self._find(key, event, market)
        if order.strategy == DEFAULT_STRATEGY:
            order.take_strategy(trade.strategy)
        if self._replaced and order.is_new:
            self._note_successor(order)
        order.fill(event, trade, market)
        if not order.seq:
            order.seq = trade.seq
        if order.arrival_price is not None:
            order.measure(trade)
        if order.quantity is not None and order.filled > order.quantity:
            self.overfilled += 1
        # The strategy of the fill may be another one than the order's.
        tally = self._count_fill(event, trade.strategy, order.venue)
        if event.latency_ms is not None and isfinite(event.latency_ms):
            latency_ns = round(event.latency_ms * NS_PER_MS)
            tally.durations.append(("reported_by_fills", latency_ns, True))
            self.exemplars.note("reported_by_fills", event.order_id, event.symbol, latency_ns, trade.ts_ns)
            if not order.is_latency_known:
                order.is_latency_known = True
                order.latency_seq, order.latency_ns = trade.seq, latency_ns
                self.latency.record(latency_ns)
        self._put(key, order)
        if order.replaces or order.successor:
            self._close_replaced(order)
        return order

    def correct(self, trade: Trade, before: Terms | None, trades: Sequence[Trade]) -> bool:
        """Counts an order anew after one of its fills was corrected. The trade has its new terms already; `before` are
        those that it has counted with, and `trades` all trades of the order in memory. Returns False if the order, or
        one of its fills, is no longer in memory: then only what the fill itself has added is taken back."""
        key = (trade.symbol, trade.order_id)
        order = self.find(key)
        if trade.seq > self.session_seq:
            self._recount_fill(trade, before, trade.venue if order is None else order.venue)
        if order is None or not is_counted(order, trades):
            return not trade.order_id
        self._packed.pop(key, None)
        self._note_change(key, order)
        earlier = copy(trade)
        earlier.corrected = None
        if before is not None:
            earlier.quantity, earlier.price, earlier.commission = before.quantity, before.price, before.commission
        were = [earlier if each.seq == trade.seq else each for each in trades]
        self.overfilled += count_overfilled(order, trades) - count_overfilled(order, were)
        recount(order, trades)
        order.measure(trade)
        self._forget_legs(order)
        self._recount_latency(order, trade, trades)
        if order.is_new:
            # Nothing else was known of it.
            self._count_changes()
            if self._is_of_session(order):
                self._tally(order).replace(self._figures(order), NO_FIGURES)
            self._recent_figures.pop(key, None)
            del self._recent[key]
        else:
            self._put(key, order)
        return True

    def drop_empty_groups(self) -> None:
        """Lets the groups be as if what was taken back had never been counted."""
        self._groups.drop_empty()
        if not self.evicted and len(self._recent) < self._max_recent:
            # Of all orders of the session it is known what they have added.
            self._groups.find_mixed(self._with_amounts())

    def _recount_fill(self, trade: Trade, before: Terms | None, venue: str) -> None:
        """Takes back what a fill has added, and adds what it should have."""
        tally = self._groups.tally(trade.strategy, trade.symbol, venue)
        after = trade.counted
        for terms, sign in ((before, -1), (after, 1)):
            if terms is None:
                continue
            tally.counts["fills"] += sign
            if not trade.order_id:
                tally.counts["fill:no_order"] += sign
            name = self._commission_name(trade.symbol, trade.commission_asset)
            tally.add(name, terms.commission if sign > 0 else terms.commission.copy_negate())
            name, amount = self._traded(trade.symbol, terms.quantity, terms.price)
            tally.add(name, amount if sign > 0 else amount.copy_negate())
        if after is None and before is not None and (latency_ns := _latency_of(trade)) is not None:
            self._groups.settle()
            others = [
                each for other in self._trades.newer_than(self.session_seq) if (each := _latency_of(other)) is not None
            ]
            for group in tally.groups:
                group.forget("reported_by_fills", latency_ns, others, is_of_session=True)

    def _forget_legs(self, order: OrderState) -> None:
        """Takes back the legs that a correction has changed; the new ones are measured with the next step."""
        is_of_session = self._is_of_session(order)
        measured = order.fill_legs or {}
        for leg, was_ns in list(measured.items()):
            if _fill_legs(order).get(leg) == was_ns:
                continue
            del measured[leg]
            order.legs_known &= ~_LEG_BITS[leg]
            self._groups.settle()
            others = [
                each.fill_legs[leg]
                for each in self.orders()
                if each.fill_legs is not None and leg in each.fill_legs and each is not order
            ]
            for group in self._tally(order).groups:
                group.forget(leg, was_ns, others, is_of_session=is_of_session)

    def _recount_latency(self, order: OrderState, trade: Trade, trades: Sequence[Trade]) -> None:
        """Replaces the latency of an order if it was that of a fill that is busted."""
        if order.latency_seq != trade.seq or not trade.is_busted or (latency_ns := _latency_of(trade)) is None:
            return
        order.is_latency_known, order.latency_seq = False, 0
        others = [each.latency_ns for each in self.orders() if each.is_latency_known and self._is_of_session(each)]
        self.latency.forget(latency_ns, others)
        if order.sent_ns is not None and order.acked_ns is not None:
            order.is_latency_known, order.latency_ns = True, order.acked_ns - order.sent_ns
            self.latency.record(order.latency_ns)
            return
        for each in trades:
            if not each.is_busted and (other_ns := _latency_of(each)) is not None:
                order.is_latency_known, order.latency_seq, order.latency_ns = True, each.seq, other_ns
                self.latency.record(other_ns)
                return

    def _is_of_session(self, order: OrderState) -> bool:
        return order.session == self._session

    def _with_amounts(self) -> Iterator[OrderNames]:
        """Yields the orders and fills of the session that have amounts in the groups."""
        for trade in self._trades.newer_than(self.session_seq):
            if not trade.is_busted:
                yield trade
        for order in self.orders():
            if self._is_of_session(order) and (
                order.filled
                or (order.is_accepted and order.quantity is not None)
                or (order.is_terminal and self._figures(order)[1])
            ):
                yield order

    def fill_without_order(self, event: Fill, trade: Trade) -> None:
        """Counts what the venue did to a position. No order of ours is measured by it."""
        self._count_fill(event, trade.strategy, event.venue).count("fill:no_order")

    def strategy_of(self, symbol: str, order_id: str) -> str | None:
        """Returns the strategy of an order; None if it is not known."""
        key = (symbol, order_id)
        order = self.open.get(key) or self._recent.get(key)
        if order is not None:
            return order.strategy
        if self.strategy_archive is None or len(self._recent) < self._max_recent:
            return None
        return self.strategy_archive(symbol, order_id)

    def is_newly_rejected(self, order: OrderState) -> bool:
        """Returns whether an order of the session was rejected, once per order."""
        if order.is_reject_counted or order.status != "rejected" or order.session != self._session:
            return False
        order.is_reject_counted = True
        return True

    def add_markout(self, key: OrderKey, name: str, quantity: Decimal, cost: Decimal, notional: Decimal) -> None:
        """Adds the cost of a fill against a mid to its order, if that is still in memory."""
        order = self.open.get(key) or self._recent.get(key)
        if order is not None:
            self._packed.pop(key, None)
            if order.markouts is None:
                order.markouts = {}
            found = order.markouts.get(name)
            if found is None:
                found = order.markouts[name] = MarkoutSum()
            found.add(quantity, cost, notional)
            if not found.n:
                del order.markouts[name]

    def orders(self) -> list[OrderState]:
        """Returns all orders in memory."""
        return [*self.open.values(), *self._recent.values()]

    def find(self, key: OrderKey) -> OrderState | None:
        """Returns an order in memory."""
        return self.open.get(key) or self._recent.get(key)

    def describe_orders(self, find: Callable[[str, str], OrderState | None], newest_seq: int) -> None:
        """Adds to the orders of an earlier version's checkpoint, as of `newest_seq`, what it does not have; `find`
        returns an order as its stored records make it, by symbol and order id."""
        for order in self.orders():
            stored = find(order.symbol, order.order_id)
            if stored is not None:
                order.describe_as(stored)
        self._packed = {}
        self.has_seqs = True
        if len(self._recent) >= self._max_recent or self.evicted:
            self.forgotten_seq = newest_seq

    def _count_fill(self, event: Fill, strategy: str, venue: str) -> Tally:
        # hot: once per fill (benchmarks/bench_intake.py)
        tally = self._groups.tally(strategy, event.symbol, venue)
        tally.count("fills")
        tally.add(self._commission_name(event.symbol, event.commission_asset), event.commission)
        tally.add(*self._traded(event.symbol, event.quantity, event.price))
        return tally

    def _traded(self, symbol: str, quantity: Decimal, price: Decimal) -> tuple[str, Decimal]:
        """Returns the amount of a fill, and the name of the sum of amounts in its currency."""
        # hot: once per fill (benchmarks/bench_intake.py)
        amount = multiply(quantity, price).copy_abs()
        if self._instruments is None:
            return "money_traded", multiply(amount, self._trades.multipliers.get(symbol, ONE))
        terms = self._instruments.terms(symbol)
        if terms.is_inverse:
            amount = quotient(quantity, price).copy_abs() if price else ZERO
        if terms.multiplier is not ONE:
            amount = multiply(amount, terms.multiplier)
        is_own = terms.currency == self._reporting
        return ("money_traded" if is_own else name_in("money_traded", terms.currency)), amount

    def _commission_name(self, symbol: str, currency: str) -> str:
        """Returns the name of the sum of commissions in a currency; without one, in that of the symbol."""
        if not currency and self._instruments is not None:
            terms = self._instruments.special(symbol)
            currency = self._reporting if terms is None else terms.currency
        is_own = not currency or currency == self._reporting
        return "commission" if is_own else name_in("commission", currency)

    def _recall(self, key: OrderKey, event: Order) -> KnownOrder | None:
        """Returns what is stored of an order that is not in memory."""
        if key in self.open or key in self._recent:
            return None
        return None if self.archive is None else self.archive(event)

    def to_state(self) -> LedgerState:
        """Returns the state without the groups. Orders unchanged since the last call are not packed again."""
        return LedgerState(
            self._session, self.evicted, self.late_reports, self.overfilled, self.latency.to_state(),
            self._pack(self.open), self._pack(self._recent), True, self.breaks.count, list(self.breaks.newest), True,
            self.forgotten_seq,
            self.session_seq, has_traded=True,
        )  # fmt: skip

    def load_state(self, state: LedgerState) -> None:
        self._session, self.evicted = state.session, state.evicted
        self.late_reports, self.overfilled = state.late_reports, state.overfilled
        self.session_seq = state.session_seq
        self.breaks = OrderBreaks(state.n_breaks, state.breaks)
        self.has_seqs, self.forgotten_seq = state.has_seqs, state.forgotten_seq
        self.latency = SparseHistogram.from_state(state.latency)
        self._packed = {}
        self._recent_figures = {}
        self._uncounted = {}
        self.open = self._unpack(state.open)
        self._recent = self._unpack(state.recent)
        self.canceling = {key for key, order in self.open.items() if order.cancel_ns is not None}
        self._replaced = {}
        for key, order in self.open.items():
            if order.replaced_ns is not None:
                self._replaced.setdefault((order.symbol, order.side), {})[key] = None
        if not state.has_money:
            self._add_money()
        if not state.has_traded:
            self._add_traded()

    def _add_money(self) -> None:
        """Adds what the checkpoint of an earlier version does not have, as far as the orders of the session are
        known."""
        for order in self.orders():
            if self._is_of_session(order):
                tally = self._tally(order)
                for name, amount in self._figures(order)[1].items():
                    tally.add(name, amount if is_money(name) else ZERO)

    def _add_traded(self) -> None:
        """Adds likewise what the orders have traded."""
        for order in self.orders():
            if self._is_of_session(order) and order.filled:
                is_inverse = order.terms is not None and order.terms.is_inverse
                amount = order.reciprocal if is_inverse else order.notional
                self._tally(order).add(*self._traded(order.symbol, amount, ONE))

    def _find(self, key: OrderKey, event: Order | Fill, market: OrderMarket | None) -> OrderState:
        """Returns the order, a new one if it is unknown, to be changed at once."""
        order = self.open.get(key) or self._recent.get(key)
        if order is not None:
            self._packed.pop(key, None)
            self._note_change(key, order)
            return order
        if key in self._uncounted:
            # One that was forgotten since.
            self._count(key, self._uncounted.pop(key))
        order = new_order(event, self._session)
        if self._instruments is not None:
            order.terms = self._instruments.special(order.symbol)
        order.begin(market, event.ts_init)
        self._uncounted[key] = (order, NO_FIGURES, order.strategy)
        return order

    def _note_change(self, key: OrderKey, order: OrderState) -> None:
        """Notes what an order of the session was counted with, before anything of it changes."""
        if order.session == self._session and key not in self._uncounted:
            figures = self._recent_figures.get(key) or self._figures(order)
            self._uncounted[key] = (order, figures, order.strategy)

    def _count_changes(self) -> None:
        """Counts the orders that have changed."""
        uncounted, self._uncounted = self._uncounted, {}
        for key, change in uncounted.items():
            self._count(key, change)

    def _count(self, key: OrderKey, change: Uncounted) -> None:
        # hot: once per order that has changed, per tick (benchmarks/bench_intake.py)
        order, before, strategy = change
        if len(self._recent_figures) >= MAX_RECENT_FIGURES:
            self._recent_figures.clear()
        after = self._recent_figures[key] = self._figures(order)
        if strategy != order.strategy:
            # A later report or fill was the first to name one.
            self._groups.tally(strategy, order.symbol, order.venue).replace(before, NO_FIGURES)
            before = NO_FIGURES
        self._groups.tally(order.strategy, order.symbol, order.venue).replace(before, after)

    def _figures(self, order: OrderState) -> Figures:
        if order.terms is not None:
            return special_figures(order, order.terms, self._reporting)
        return order_figures(order, self._trades.multipliers.get(order.symbol, ONE))

    def _tally(self, order: OrderState) -> Tally:
        return self._groups.tally(order.strategy, order.symbol, order.venue)

    def _put(self, key: OrderKey, order: OrderState) -> None:
        # hot: once per order report and fill (benchmarks/bench_intake.py)
        if len(self._uncounted) >= MAX_UNCOUNTED:
            self._count_changes()
        if order.sent_ns is not None or order.acked_ns is not None or order.cancel_ns is not None:
            self._measure_legs(order)
        if order.is_open:
            if order.cancel_ns is not None:
                self.canceling.add(key)
            if order.replaced_ns is None:
                if self._replaced:
                    self._wait_no_more(key, order)
            else:
                self._replaced.setdefault((order.symbol, order.side), {})[key] = None
            if key not in self.open:
                self._recent.pop(key, None)
                self._keep_open(key, order)
            return
        if self.open.pop(key, None) is not None:
            self.canceling.discard(key)
        if self._replaced:
            self._wait_no_more(key, order)
        if key not in self._recent:
            self._remember(key, order)

    def _note_successor(self, order: OrderState) -> None:
        """Makes a new order the successor of the oldest one like it that waits for one."""
        for key in self._replaced.get((order.symbol, order.side), ()):
            waiting = self.open[key]
            if not waiting.successor and waiting.strategy == order.strategy:
                waiting.successor = order.order_id
                self._close(key, waiting)
                return

    def _close_replaced(self, order: OrderState) -> None:
        """Closes an order that a report has shown to be replaced: by itself, or by the one that names it."""
        if order.replaces and order.replaces != order.order_id:
            key = (order.symbol, order.replaces)
            old = self.open.get(key)
            if old is not None:
                old.successor = order.order_id
                if order.is_accepted or old.replaced_ns is not None:
                    self._close(key, old)
        if order.successor and order.replaced_ns is not None and order.is_open:
            self._close((order.symbol, order.order_id), order)

    def _wait_no_more(self, key: OrderKey, order: OrderState) -> None:
        waiting = self._replaced.get((order.symbol, order.side))
        if waiting is not None:
            waiting.pop(key, None)
            if not waiting:
                del self._replaced[order.symbol, order.side]

    def _close(self, key: OrderKey, order: OrderState) -> None:
        self._note_change(key, order)
        order.is_replaced = True
        self._packed.pop(key, None)
        self._put(key, order)

    def _keep_open(self, key: OrderKey, order: OrderState) -> None:
        if len(self.open) >= self._max_open:
            oldest = next(iter(self.open))
            self.canceling.discard(oldest)
            self._wait_no_more(oldest, self.open[oldest])
            self._remember(oldest, self.open.pop(oldest))
            self.evicted += 1
            if self.evicted == 1:
                logger.warning("more than %d orders are open; the oldest are no longer counted as open", self._max_open)
        self.open[key] = order

    def _remember(self, key: OrderKey, order: OrderState) -> None:
        if len(self._recent) >= self._max_recent:
            oldest, forgotten = self._recent.popitem(last=False)
            self._packed.pop(oldest, None)
            if forgotten.seq > self.forgotten_seq:
                self.forgotten_seq = forgotten.seq
        self._recent[key] = order

    def _amend(self, order: OrderState) -> None:
        """Adds the slippage to trades whose fills came before their order's arrival price."""
        for trade_id, venue in order.waiting or ():
            for trade in self._trades.find(trade_id):
                if trade.symbol == order.symbol and trade.venue == venue and trade.order_id == order.order_id:
                    order.measure(trade)
                    self._trades.amended(trade)
        order.waiting = None

    def _measure_legs(self, order: OrderState) -> None:
        """Counts the legs whose ends are known since the last report or fill."""
        # hot: once per order report and fill (benchmarks/bench_intake.py)
        sent_ns, acked_ns, first_fill_ns = order.sent_ns, order.acked_ns, order.first_fill_ns
        known = order.legs_known
        if sent_ns is not None:
            if order.decided_ns is not None and not known & _DECISION_TO_SEND:
                self._measure(order, "decision_to_send", order.decided_ns, sent_ns)
            if acked_ns is not None:
                if not known & _SEND_TO_ACK:
                    self._measure(order, "send_to_ack", sent_ns, acked_ns)
                if not order.is_latency_known and order.session == self._session:
                    order.is_latency_known = True
                    order.latency_ns = acked_ns - sent_ns
                    self.latency.record(order.latency_ns)
            if first_fill_ns is not None and not known & _SEND_TO_FIRST_FILL:
                self._measure(order, "send_to_first_fill", sent_ns, first_fill_ns)
            if order.ended_ns is not None and not known & _SEND_TO_COMPLETE:
                self._measure(order, "send_to_complete", sent_ns, order.ended_ns)
        if acked_ns is not None and first_fill_ns is not None and not known & _ACK_TO_FIRST_FILL:
            self._measure(order, "ack_to_first_fill", acked_ns, first_fill_ns)
        if order.cancel_ns is not None and order.canceled_ns is not None and not known & _CANCEL_TO_ACK:
            self._measure(order, "cancel_to_ack", order.cancel_ns, order.canceled_ns)

    def _measure(self, order: OrderState, leg: str, start_ns: int, end_ns: int) -> None:
        order.legs_known |= _LEG_BITS[leg]
        duration_ns = end_ns - start_ns
        self.exemplars.note(leg, order.order_id, order.symbol, duration_ns, end_ns)
        if leg in FILL_LEGS:
            if order.fill_legs is None:
                order.fill_legs = {}
            order.fill_legs[leg] = duration_ns
        tally = self._groups.tally(order.strategy, order.symbol, order.venue)
        tally.durations.append((leg, duration_ns, order.session == self._session))

    def _pack(self, orders: dict[OrderKey, OrderState]) -> list[msgspec.Raw]:
        packed = self._packed
        for key, order in orders.items():
            if key not in packed:
                packed[key] = msgspec.Raw(pack(order))
        return [packed[key] for key in orders]

    def _unpack(self, packed: list[msgspec.Raw]) -> OrderedDict[OrderKey, OrderState]:
        orders: OrderedDict[OrderKey, OrderState] = OrderedDict()
        for raw in packed:
            data = bytes(raw)
            order = unpack(data, OrderState)
            key = (order.symbol, order.order_id)
            orders[key] = order
            self._packed[key] = msgspec.Raw(data)
        return orders


def _latency_of(trade: Trade) -> int | None:
    """Returns the latency that a fill reports, in nanoseconds; None if it reports none."""
    latency_ms = trade.latency_ms
    return None if latency_ms is None or not isfinite(latency_ms) else round(latency_ms * NS_PER_MS)


def _fill_legs(order: OrderState) -> dict[str, int]:
    """Returns the legs of an order that depend on its fills."""
    legs: dict[str, int] = {}
    if order.first_fill_ns is not None and order.acked_ns is not None:
        legs["ack_to_first_fill"] = order.first_fill_ns - order.acked_ns
    if order.sent_ns is not None:
        if order.first_fill_ns is not None:
            legs["send_to_first_fill"] = order.first_fill_ns - order.sent_ns
        if order.ended_ns is not None:
            legs["send_to_complete"] = order.ended_ns - order.sent_ns
    return legs
