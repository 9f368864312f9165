"""One position by average cost: quantity, what it cost, and what closing parts of it has realised.

No events, no marks of its own and no P&L days here (see `strategy_account.py`).

The cost of the open quantity is kept as a sum, not as a rounded average, so that at every moment, exactly:

    cash flow + quantity * mark == realised + unrealised          (cash flow = -sum of signed quantity * price)
    realised (gross) - open cost == cash flow
"""

from __future__ import annotations

from decimal import Decimal

from observability.core.events import Fill
from observability.metrics.money import EXACT, ROUNDED, ZERO

# A partial close takes its share of the cost rounded to this; the remainder stays in the open cost, so nothing is lost.
COST_QUANTUM = Decimal("1e-12")

_ONE = Decimal(1)

# Signs are changed with `copy_negate` and `copy_abs`: the operators `-x` and `abs(x)` round to the ambient context.


class Position:
    """A position in one symbol. Quantity and cost are signed: both are negative when short."""

    __slots__ = ("fees", "multiplier", "open_cost", "quantity", "realized_gross")

    def __init__(self, multiplier: Decimal = _ONE) -> None:
        self.multiplier = multiplier
        self.quantity = ZERO
        self.open_cost = ZERO
        self.realized_gross = ZERO
        self.fees = ZERO

    @property
    def realized(self) -> Decimal:
        """Realised P&L net of all fees, those of opening fills included."""
        return EXACT.subtract(self.realized_gross, self.fees)

    @property
    def avg_price(self) -> Decimal | None:
        """Average cost of the open quantity; None when flat."""
        if not self.quantity:
            return None
        return ROUNDED.divide(self.open_cost, EXACT.multiply(self.quantity, self.multiplier))

    def value(self, mark: Decimal) -> Decimal:
        """Signed value at `mark`."""
        return EXACT.multiply(EXACT.multiply(self.quantity, mark), self.multiplier)

    def unrealized(self, mark: Decimal) -> Decimal:
        """P&L of the open quantity at `mark`."""
        return EXACT.subtract(self.value(mark), self.open_cost)

    def apply(self, signed_quantity: Decimal, price: Decimal, fee: Decimal = ZERO) -> Decimal | None:
        """Adds one fill; returns what it realised before its fee, None if it closed nothing."""
        quantity = self.quantity
        self.fees = EXACT.add(self.fees, fee)
        is_closing = bool(quantity) and (quantity > 0) != (signed_quantity > 0)
        if not is_closing:
            self.quantity = EXACT.add(quantity, signed_quantity)
            self.open_cost = EXACT.add(self.open_cost, self._cost(signed_quantity, price))
            return None
        if signed_quantity.copy_abs() < quantity.copy_abs():
            closed = signed_quantity
            share = ROUNDED.divide(EXACT.multiply(self.open_cost, signed_quantity.copy_abs()), quantity.copy_abs())
            removed_cost = share.quantize(COST_QUANTUM, context=ROUNDED)
            opened_cost = ZERO
        else:
            closed = quantity.copy_negate()
            removed_cost = self.open_cost
            opened_cost = self._cost(EXACT.subtract(signed_quantity, closed), price)
        realized = EXACT.subtract(self._cost(closed, price).copy_negate(), removed_cost)
        self.realized_gross = EXACT.add(self.realized_gross, realized)
        self.open_cost = EXACT.add(EXACT.subtract(self.open_cost, removed_cost), opened_cost)
        self.quantity = EXACT.add(quantity, signed_quantity)
        return realized

    def _cost(self, signed_quantity: Decimal, price: Decimal) -> Decimal:
        return EXACT.multiply(EXACT.multiply(signed_quantity, price), self.multiplier)


def signed_quantity(fill: Fill) -> Decimal:
    """Returns the fill's quantity, negative for a sale."""
    return fill.quantity if fill.side == "buy" else fill.quantity.copy_negate()
