"""Markouts: how the market moved after each fill of ours, at fixed horizons, and the effective spread at the fill.

With s = 1 for a buy and -1 for a sell, and the mid of both sides:

    effective spread   2 * s * (price - mid at the fill)          a cost when positive
    markout at h       s * (mid h after the fill - price)         a gain when positive
    realized spread    2 * s * (price - mid h after the fill)     -2 * markout; effective - realized is price impact

R. Huang and H. Stoll, "Dealer versus auction markets", Journal of Financial Economics 41(3), 1996. Each is also given
in bps of the mid at the fill, where fills weigh by their notional at that mid; in price they weigh by quantity.

A horizon is measured from the fill's arrival (`ts_init`). It is counted once the event clock has passed it, with the
last mid known at the horizon, so the pace of ticks does not matter. A horizon whose mid is missing or stale is counted
as left out.

The error of the mean is that of a ratio of sums over orders: with the cost C and the notional N of each order, their
squares and products are kept beside them. So an order is one observation, in however many fills it was filled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from heapq import heapify, heappop, heappush, heapreplace
from types import MappingProxyType
from typing import Final

import msgspec

from observability.events import Fill, Side
from observability.instruments.instrument import Terms
from observability.instruments.table import InstrumentTable
from observability.metrics.arithmetic.decimals import ONE, ROUNDED, ZERO, add, multiply, subtract
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.execution.amounts import name_in
from observability.metrics.execution.figures import worth
from observability.metrics.execution.groups import Tally
from observability.metrics.execution.ledger import OrderKey
from observability.metrics.execution.order import OrderState
from observability.metrics.execution.order_market import OrderMarket
from observability.metrics.execution.quality import HORIZONS_NS
from observability.metrics.trades.correction import Terms as FillTerms
from observability.metrics.trades.trade import Trade

# Beyond them, the oldest fill of the session keeps the markouts that it had before a correction.
MAX_MEASURED: Final = 10_000

# Orders of the session whose sums are kept, about 2 KB each; a later fill of an older one is an observation of its own.
MAX_OBSERVED: Final = 10_000
# Of squares, so that sums of them stay exact.
_QUANTUM: Final = Decimal("1e-30")

_NAMES: Final = tuple(HORIZONS_NS)
_DELAYS_NS: Final = tuple(HORIZONS_NS.values())


class PendingFill(msgspec.Struct, array_like=True, gc=False):
    """A fill that waits for a horizon. Checkpoints hold it packed."""

    due_ns: int
    number: int
    symbol: str
    strategy: str
    venue: str
    side: Side
    quantity: Decimal
    price: Decimal
    mid: Decimal
    taken_ns: int
    horizon: int = 0
    order_id: str = ""
    seq: int = 0
    """The number of the trade."""

    def __lt__(self, other: PendingFill) -> bool:
        return (self.due_ns, self.number) < (other.due_ns, other.number)


class MarkoutsState(msgspec.Struct, array_like=True):
    """The waiting fills in a checkpoint."""

    number: int = 0
    pending: list[PendingFill] = []
    measured: list[tuple[int, list[tuple[int, Decimal | None]]]] = []
    observed: list[tuple[OrderKey, dict[str, tuple[Decimal, Decimal]]]] = []


TallyOf = Callable[[str, str, str], Tally]
NoteMarkout = Callable[[OrderKey, str, Decimal, Decimal, Decimal], None]
"""Takes the key of an order, the horizon, and quantity, cost and notional of one of its fills."""


class Markouts:
    """The fills that wait for a horizon: per symbol a heap, the next horizon first. Beyond `max_pending` waiting fills,
    a new fill has no markouts and is counted as left out."""

    def __init__(
        self,
        tally_of: TallyOf,
        max_pending: int,
        multipliers: Mapping[str, Decimal] = MappingProxyType({}),
        note: NoteMarkout | None = None,
        instruments: InstrumentTable | None = None,
    ) -> None:
        """`multipliers` are those of contracts, by symbol; 1 for every other symbol. `note` is called for each order
        too."""
        self._note = note
        self._instruments = instruments
        self._tally_of = tally_of
        self._multipliers = multipliers
        self._max_pending = max_pending
        self._heaps: dict[str, list[PendingFill]] = {}
        self._number = 0
        self.pending = 0
        """How many fills wait for a horizon."""
        # What was measured of each fill in this session, so that it can be taken back: by the number of its trade, the
        # horizons that have passed with the mids, about 700 bytes.
        self._measured: dict[int, list[tuple[int, Decimal | None]]] = {}
        self._observed: dict[OrderKey, dict[str, tuple[Decimal, Decimal]]] = {}
        """Cost and notional of each order at each horizon in this session, as money of the reporting currency."""

    def add(self, order: OrderState, event: Fill, trade: Trade, mid: Decimal | None) -> None:
        """Counts the effective spread of a fill against the mid at the fill, and starts its markouts."""
        # hot: once per fill (benchmarks/bench_intake.py)
        symbol, venue, strategy = order.symbol, order.venue, trade.strategy
        tally = self._tally_of(strategy, symbol, venue)
        if mid is None or mid <= 0:
            tally.counts["fill:no_mid" if mid is None else "fill:mid_not_positive"] += 1
            return
        side, quantity, price, taken_ns = event.side, event.quantity, event.price, event.ts_init
        due_ns = taken_ns + _DELAYS_NS[0]
        fill = PendingFill(
            due_ns, self._number + 1, symbol, strategy, venue, side, quantity, price, mid, taken_ns,
            order_id=order.order_id, seq=trade.seq,
        )  # fmt: skip
        self._add_cost(tally, "effective", "effective", fill, mid)
        if self.pending >= self._max_pending:
            tally.count("fill:too_many_pending")
            return
        self._number += 1
        self.pending += 1
        self._measured_of(trade.seq)
        heappush(self._heaps.setdefault(symbol, []), fill)

    def correct(self, trade: Trade, before: FillTerms | None, venue: str, *, is_of_session: bool) -> bool:
        """Takes back what a fill has counted with `before`, and counts it as the trade is now. Returns False if it is
        not known any more what was measured of it."""
        tally = self._tally_of(trade.strategy, trade.symbol, venue)
        mid, after = trade.mid, trade.counted
        is_bust = before is not None and after is None
        if mid is None or mid <= 0:
            if is_of_session and is_bust:
                tally.counts["fill:no_mid" if mid is None else "fill:mid_not_positive"] -= 1
            return True
        waiting = self._pending_fill(trade)
        measured = self._measured.get(trade.seq)
        if waiting is not None and before is not None and waiting.quantity != before.quantity:
            # It was split.
            return False
        if is_of_session:
            self._replace_cost(tally, "effective", "effective", trade, before, mid)
            if measured is None and waiting is None:
                return False
        for horizon, mid_then in measured or ():
            label = f"markout_{_NAMES[horizon]}"
            if mid_then is not None:
                self._replace_cost(tally, label, _NAMES[horizon], trade, before, mid_then)
            elif is_bust:
                tally.counts[f"{label}:no_fresh_mid"] -= 1
        if waiting is not None and after is not None:
            waiting.quantity, waiting.price = after.quantity, after.price
        elif waiting is not None:
            heap = self._heaps[trade.symbol]
            heap[:] = [each for each in heap if each is not waiting]
            heapify(heap)
            self.pending -= 1
        if after is None:
            self._measured.pop(trade.seq, None)
        return True

    def begin_session(self) -> None:
        """Forgets what was measured in the session before."""
        self._measured = {}
        self._observed = {}

    def due_ns(self, symbol: str) -> int | None:
        """Returns the next horizon of a symbol, None if there is none."""
        heap = self._heaps.get(symbol)
        return heap[0].due_ns if heap else None

    def due(self, now_ns: int) -> list[str]:
        """Returns the symbols with horizons before `now_ns`."""
        # hot: once per tick (benchmarks/bench_tick.py)
        return [symbol for symbol, heap in self._heaps.items() if heap and heap[0].due_ns < now_ns]

    def settle(self, market: OrderMarket, now_ns: int) -> None:
        """Counts the horizons of a symbol that lie before `now_ns`. A horizon at `now_ns` must wait, because a quote
        that arrives at the same time still counts."""
        heap = self._heaps.get(market.symbol)
        while heap and heap[0].due_ns < now_ns:
            fill = heap[0]
            self._measure(fill, market.mid_known_at(fill.due_ns))
            if fill.horizon + 1 < len(_NAMES):
                fill.horizon += 1
                fill.due_ns = fill.taken_ns + _DELAYS_NS[fill.horizon]
                heapreplace(heap, fill)
            else:
                heappop(heap)
                self.pending -= 1

    def split(self, symbol: str, ratio: Ratio) -> None:
        """Makes the waiting fills of a symbol those of new shares, at prices for one of them."""
        for fill in self._heaps.get(symbol, ()):
            fill.quantity = ratio.of_quantity(fill.quantity)
            fill.price, fill.mid = ratio.of_price(fill.price), ratio.of_price(fill.mid)

    def to_state(self) -> MarkoutsState:
        pending = [fill for heap in self._heaps.values() for fill in heap]
        return MarkoutsState(self._number, pending, list(self._measured.items()), list(self._observed.items()))

    def load_state(self, state: MarkoutsState) -> None:
        self._number = state.number
        self._measured = dict(state.measured)
        self._observed = dict(state.observed)
        self.pending = len(state.pending)
        self._heaps = {}
        for fill in state.pending:
            self._heaps.setdefault(fill.symbol, []).append(fill)
        for heap in self._heaps.values():
            heapify(heap)

    def _measure(self, fill: PendingFill, mid: Decimal | None) -> None:
        tally = self._tally_of(fill.strategy, fill.symbol, fill.venue)
        label = f"markout_{_NAMES[fill.horizon]}"
        self._measured_of(fill.seq).append((fill.horizon, mid))
        if mid is None:
            tally.count(f"{label}:no_fresh_mid")
        else:
            self._add_cost(tally, label, _NAMES[fill.horizon], fill, mid)

    def _add_cost(self, tally: Tally, name: str, horizon: str, fill: PendingFill, mid: Decimal) -> None:
        """Counts a fill and adds its cost against `mid`: its quantity, quantity * cost, the same as money, and its
        notional at the mid when it arrived."""
        instruments = self._instruments
        terms = None if instruments is None else instruments.special(fill.symbol)
        # A quantity below zero takes back what was added.
        tally.counts[name] += 1 if fill.quantity > 0 else -1
        cost = _signed(fill, subtract(fill.price, mid))
        notional = multiply(fill.quantity, fill.mid)
        tally.add(f"{name}_quantity", fill.quantity)
        tally.add(f"{name}_cost", cost)
        if instruments is None or terms is None:
            multiplier = self._multipliers.get(fill.symbol, ONE)
            money = multiply(cost, multiplier), multiply(notional, multiplier)
            tally.add(f"{name}_money", money[0])
            tally.add(f"{name}_notional", money[1])
            if horizon != "effective":
                self._observe(tally, name, fill, *money)
        else:
            _add_money(tally, name, fill, mid, terms, instruments.reporting)
        if self._note is not None and fill.order_id:
            self._note((fill.symbol, fill.order_id), horizon, fill.quantity, cost, notional)

    def _observe(self, tally: Tally, name: str, fill: PendingFill, cost: Decimal, notional: Decimal) -> None:
        """Adds a fill to the sums of its order, and what they change to the sums of squares."""
        # Fills of one order may belong to two strategies, and the sums of each are of its own fills.
        key = fill.symbol, f"{fill.strategy}\0{fill.order_id}\0{'' if fill.order_id else fill.seq}"
        order = self._observed.get(key, {})
        if fill.quantity < 0 and name not in order:
            # Without what it has added nothing can be taken back: what is observed is not all that is counted.
            return
        if key not in self._observed:
            if len(self._observed) >= MAX_OBSERVED:
                del self._observed[next(iter(self._observed))]
            self._observed[key] = order
        cost_before, notional_before = before = order.get(name, (ZERO, ZERO))
        after = add(cost_before, cost), add(notional_before, notional)
        for what, square in (("cc", (0, 0)), ("cn", (0, 1)), ("nn", (1, 1))):
            tally.add(f"{name}_{what}", subtract(_product(after, *square), _product(before, *square)))
        tally.add(f"{name}_observed", notional)
        tally.counts[f"{name}_orders"] += bool(after[1]) - bool(notional_before)
        if after[1]:
            order[name] = after
        else:
            order.pop(name, None)

    def _measured_of(self, seq: int) -> list[tuple[int, Decimal | None]]:
        """Returns what was measured of a fill, to be added to."""
        measured = self._measured.get(seq)
        if measured is None:
            if len(self._measured) >= MAX_MEASURED:
                del self._measured[next(iter(self._measured))]
            measured = self._measured[seq] = []
        return measured

    def _pending_fill(self, trade: Trade) -> PendingFill | None:
        return next((fill for fill in self._heaps.get(trade.symbol, ()) if fill.seq == trade.seq), None)

    def _replace_cost(
        self, tally: Tally, name: str, horizon: str, trade: Trade, before: FillTerms | None, mid: Decimal
    ) -> None:
        """Takes back what `_add_cost` has added for a fill with `before`, and adds it as the trade is now."""
        assert trade.mid is not None, "nothing is measured of a fill without a mid"
        for terms, sign in ((before, -1), (trade.counted, 1)):
            if terms is not None:
                quantity = terms.quantity if sign > 0 else terms.quantity.copy_negate()
                side: Side = "buy" if trade.side == "buy" else "sell"
                fill = PendingFill(
                     0, 0, trade.symbol, trade.strategy, trade.venue, side, quantity, terms.price, trade.mid, 0,
                    order_id=trade.order_id, seq=trade.seq,
                )  # fmt: skip
                self._add_cost(tally, name, horizon, fill, mid)


def _add_money(tally: Tally, name: str, fill: PendingFill, mid: Decimal, terms: Terms, reporting: str) -> None:
    """Adds cost and notional as money for an inverse contract, or in another currency than the reporting one."""
    price, at_fill = fill.price, fill.mid
    if terms.is_inverse:
        if mid <= 0:
            # An inverse contract has no worth there.
            return
        price, at_fill, mid = worth(price), worth(at_fill), worth(mid)
    cost = _signed(fill, subtract(price, mid))
    for what, amount in (("money", cost), ("notional", multiply(fill.quantity, at_fill.copy_abs()))):
        full_name = f"{name}_{what}"
        if terms.currency != reporting:
            full_name = name_in(full_name, terms.currency)
        tally.add(full_name, multiply(amount, terms.multiplier))


def _product(sums: tuple[Decimal, Decimal], first: int, second: int) -> Decimal:
    return ROUNDED.multiply(sums[first], sums[second]).quantize(_QUANTUM, context=ROUNDED)


def _signed(fill: PendingFill, difference: Decimal) -> Decimal:
    cost = multiply(fill.quantity, difference)
    return cost.copy_negate() if fill.side == "sell" else cost
