"""One position by average cost: quantity, cost, what closing parts of it has realised, and how long it was held.

The cost of the open quantity is kept as a sum and not as a rounded average, so that at every moment, exactly:

    cash flow + quantity * mark == realised + unrealised          (cash flow = -sum of signed quantity * price)
    realised (gross) - open cost == cash flow

Average cost, also called weighted average: closing a part leaves the average of the rest as it is (IAS 2.27; for shares
of a fund, 26 CFR 1.1012-1(e)). Through zero, the closing part realises and the rest opens at its own price.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from observability.events import Fill
from observability.metrics.arithmetic.decimals import EXACT, ONE, ROUNDED, ZERO

# The cost left after a partial close is a quotient, rounded to this; the remainder is realised, so nothing is lost. It
# is always a share of the cost when the position was last added to, never of an earlier remainder, so that closing in
# parts leaves the same cost as closing at once, to the last digit.
COST_QUANTUM = Decimal("1e-12")


# Signs are changed with `copy_negate` and `copy_abs`: the operators `-x` and `abs(x)` round to the ambient context.


class AverageCostPosition(msgspec.Struct):
    """A position in one symbol. Quantity and cost are signed: both are negative when short.

    Every field is stored in checkpoints. Entry times are averaged over the quantity like costs: `entry_time` is the sum
    of signed quantity times entry in nanoseconds, `held_time` that of closed quantity times holding time.
    """

    multiplier: Decimal = ONE
    quantity: Decimal = ZERO
    open_cost: Decimal = ZERO
    realized_gross: Decimal = ZERO
    fees: Decimal = ZERO
    entry_time: Decimal = ZERO
    closed_quantity: Decimal = ZERO
    """Quantity closed so far, by fills on either side."""
    held_time: Decimal = ZERO
    added_quantity: Decimal = ZERO
    """The quantity when the position was last added to; the next two are the cost and entry time of that moment."""
    added_cost: Decimal = ZERO
    added_time: Decimal = ZERO

    @property
    def realized(self) -> Decimal:
        """Realised P&L net of all fees, those of opening fills included."""
        return EXACT.subtract(self.realized_gross, self.fees)

    @property
    def avg_price(self) -> Decimal | None:
        """The average cost of the open quantity; None when flat."""
        if not self.quantity:
            return None
        return ROUNDED.divide(self.open_cost, EXACT.multiply(self.quantity, self.multiplier))

    def value(self, mark: Decimal) -> Decimal:
        """Returns the signed value at `mark`."""
        return EXACT.multiply(EXACT.multiply(self.quantity, mark), self.multiplier)

    def unrealized(self, mark: Decimal) -> Decimal:
        """Returns the P&L of the open quantity at `mark`."""
        return EXACT.subtract(self.value(mark), self.open_cost)

    def apply(self, signed_quantity: Decimal, price: Decimal, fee: Decimal = ZERO, ts_ns: int = 0) -> Decimal | None:
        """Adds one fill; returns the P&L that it realised before its fee, None if it closed nothing."""
        quantity = self.quantity
        self.fees = EXACT.add(self.fees, fee)
        is_closing = bool(quantity) and (quantity > 0) != (signed_quantity > 0)
        if not is_closing:
            self._open(signed_quantity, price, ts_ns)
            return None
        if signed_quantity.copy_abs() < quantity.copy_abs():
            return self._close(signed_quantity, price, ts_ns)
        closed = quantity.copy_negate()
        realized = self._close(closed, price, ts_ns)
        self._open(EXACT.subtract(signed_quantity, closed), price, ts_ns)
        return realized

    def _open(self, signed_quantity: Decimal, price: Decimal, ts_ns: int) -> None:
        self.quantity = self.added_quantity = EXACT.add(self.quantity, signed_quantity)
        self.open_cost = self.added_cost = EXACT.add(self.open_cost, self._cost(signed_quantity, price))
        self.entry_time = self.added_time = EXACT.add(self.entry_time, EXACT.multiply(signed_quantity, Decimal(ts_ns)))

    def _close(self, signed_quantity: Decimal, price: Decimal, ts_ns: int) -> Decimal:
        self.quantity = EXACT.add(self.quantity, signed_quantity)
        open_cost, entry_time = self._share(self.added_cost), self._share(self.added_time)
        removed_cost = EXACT.subtract(self.open_cost, open_cost)
        removed_time = EXACT.subtract(self.entry_time, entry_time)
        realized = EXACT.subtract(self._cost(signed_quantity, price).copy_negate(), removed_cost)
        # The closing fill has the opposite sign: for a short, the entry time and the removed part of it are negative.
        held = EXACT.add(EXACT.multiply(signed_quantity, Decimal(ts_ns)), removed_time)
        self.held_time = EXACT.add(self.held_time, held if signed_quantity > 0 else held.copy_negate())
        self.closed_quantity = EXACT.add(self.closed_quantity, signed_quantity.copy_abs())
        self.realized_gross = EXACT.add(self.realized_gross, realized)
        self.open_cost = open_cost
        self.entry_time = entry_time
        return realized

    def _share(self, added: Decimal) -> Decimal:
        """Returns the part of a sum that belongs to the quantity that is still open."""
        if not self.quantity:
            return ZERO
        share = ROUNDED.divide(ROUNDED.multiply(added, self.quantity), self.added_quantity)
        return share.quantize(COST_QUANTUM, context=ROUNDED)

    def _cost(self, signed_quantity: Decimal, price: Decimal) -> Decimal:
        return EXACT.multiply(EXACT.multiply(signed_quantity, price), self.multiplier)


def signed_quantity(fill: Fill) -> Decimal:
    """Returns the fill's quantity, negative for a sale."""
    return fill.quantity if fill.side == "buy" else fill.quantity.copy_negate()
