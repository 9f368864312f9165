"""One position by average cost: quantity, cost, what closing parts of it has realised, and how long it was held.

The cost of the open quantity is kept as a sum and not as a rounded average, so that at every moment, exactly:

    cash flow + quantity * mark == realised + unrealised          (cash flow = -sum of signed quantity * price)
    realised (gross) - open cost == cash flow

An amount of an inverse contract is -quantity * multiplier / price, so the average price of its cost is harmonic; it is
rounded as a share is, and the equations hold for the rounded amounts.

Average cost, also called weighted average: closing a part leaves the average of the rest as it is (IAS 2.27; for shares
of a fund, 26 CFR 1.1012-1(e)). Through zero, the closing part realises and the rest opens at its own price.

A round trip goes from flat to flat, or through zero, however many fills open and close it. Its outcome is what it has
realised, net of the fees of what was closed: the open quantity carries its fees as it carries its cost, and a fill
through zero shares its own by quantity. So at every moment, exactly:

    sum of outcomes - fees carried == realised (gross) - fees
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec

from observability.events import Fill
from observability.instruments.instrument import Terms
from observability.metrics.arithmetic.decimals import ONE, ROUNDED, ZERO, add, multiply, quotient, subtract
from observability.metrics.arithmetic.splits import Ratio

# What a partial close leaves of a cost or a fee is a quotient, rounded to QUOTIENT_QUANTUM; the remainder is realised,
# so nothing is lost. It is always a share of the sum when the position was last added to, never of an earlier
# remainder, so that closing in parts leaves the same cost as closing at once, to the last digit. It is finer than any
# amount of a fill (54 digits after the point), so that a sum that has a last digit is never rounded.


# Signs are changed with `copy_negate` and `copy_abs`: the operators `-x` and `abs(x)` round to the ambient context.


class Closing(NamedTuple):
    """What one fill realised by closing a part of a position."""

    gross: Decimal
    """Before fees."""
    pnl: Decimal
    """Net of its own fee and of the opening fees that the closed quantity carried."""
    outcome: Decimal
    """The sum of `pnl` of the round trip so far."""
    is_flat: bool
    """Whether the round trip is complete."""


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
    """The quantity when the position was last added to; the next three are the cost, entry time and fees carried of
    that moment."""
    added_cost: Decimal = ZERO
    added_time: Decimal = ZERO
    added_fees: Decimal = ZERO
    open_fees: Decimal = ZERO
    """The opening fees that the open quantity carries."""
    outcome: Decimal | None = None
    """What the current round trip has realised, net of fees; None while nothing of it was closed."""
    is_inverse: bool = False
    """Whether the contract is worth a fixed sum of its quote currency, and settled in the base currency."""
    unvalued_fees: dict[str, Decimal] = {}
    """Fees in currencies that had no rate into the position's at their fills: they are in no figure of the position."""
    is_unvalued: bool = False
    """Whether one of them belongs to the current round trip, whose outcome is therefore not known."""

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has ever come to it: a fill leaves a quantity, or one that was closed, or a fee."""
        return not (self.quantity or self.closed_quantity or self.fees or self.unvalued_fees)

    @property
    def realized(self) -> Decimal:
        """Realised P&L net of all fees, those of opening fills included."""
        return subtract(self.realized_gross, self.fees)

    @property
    def avg_price(self) -> Decimal | None:
        """The average cost of the open quantity; None when flat."""
        if not self.quantity:
            return None
        size = multiply(self.quantity, self.multiplier)
        if self.is_inverse:
            return ROUNDED.divide(size, self.open_cost).copy_negate() if self.open_cost else None
        return ROUNDED.divide(self.open_cost, size)

    def value(self, mark: Decimal) -> Decimal:
        """Returns the signed value at `mark`; that of a long position in an inverse contract is below zero."""
        return self.amount(self.quantity, mark)

    def unrealized(self, mark: Decimal) -> Decimal:
        """Returns the P&L of the open quantity at `mark`."""
        return subtract(self.value(mark), self.open_cost)

    def apply(self, signed_quantity: Decimal, price: Decimal, fee: Decimal = ZERO, ts_ns: int = 0) -> Closing | None:
        """Adds one fill; returns what it realised, None if it closed nothing."""
        # hot: once per fill (benchmarks/bench_intake.py)
        quantity = self.quantity
        if fee:
            self.fees = add(self.fees, fee)
        if not quantity or quantity.is_signed() is signed_quantity.is_signed():
            self._open(signed_quantity, price, fee, ts_ns)
            return None
        if signed_quantity.copy_abs() <= quantity.copy_abs():
            return self._close(signed_quantity, price, fee, ts_ns)
        closed = quantity.copy_negate()
        closing_fee = _share(fee, closed, signed_quantity)
        closing = self._close(closed, price, closing_fee, ts_ns)
        self._open(subtract(signed_quantity, closed), price, subtract(fee, closing_fee), ts_ns)
        return closing

    def adopt(self, signed_quantity: Decimal, price: Decimal, ts_ns: int) -> None:
        """Opens a flat position without a fill: its cost is no cash flow."""
        assert not self.quantity, "a position is adopted while it is flat"
        self._open(signed_quantity, price, ZERO, ts_ns)

    def split(self, ratio: Ratio) -> None:
        """Changes the quantity of the open position; its cost stays."""
        assert not self.is_inverse, "an inverse contract is worth a fixed sum and has no shares"
        self.quantity, self.added_quantity = ratio.of_quantity(self.quantity), ratio.of_sum(self.added_quantity)
        if not self.added_quantity or self.open_cost == self.added_cost:
            # Nothing was closed since: both are the same quantity, also where it was rounded.
            self.added_quantity = self.quantity
        self.entry_time, self.added_time = ratio.of_sum(self.entry_time), ratio.of_sum(self.added_time)
        self.closed_quantity, self.held_time = ratio.of_sum(self.closed_quantity), ratio.of_sum(self.held_time)

    def _open(self, signed_quantity: Decimal, price: Decimal, fee: Decimal, ts_ns: int) -> None:
        self.quantity = self.added_quantity = add(self.quantity, signed_quantity)
        self.open_cost = self.added_cost = add(self.open_cost, self.amount(signed_quantity, price))
        self.entry_time = self.added_time = add(self.entry_time, multiply(signed_quantity, ts_ns))
        if fee:
            self.open_fees = add(self.open_fees, fee)
        self.added_fees = self.open_fees

    def _close(self, signed_quantity: Decimal, price: Decimal, fee: Decimal, ts_ns: int) -> Closing:
        self.quantity = quantity = add(self.quantity, signed_quantity)
        removed_cost, removed_time, removed_fees = self.open_cost, self.entry_time, self.open_fees
        open_cost = entry_time = open_fees = ZERO
        if quantity:
            added = self.added_quantity
            open_cost, entry_time = _share(self.added_cost, quantity, added), _share(self.added_time, quantity, added)
            open_fees = _share(self.added_fees, quantity, added)
            removed_cost = subtract(removed_cost, open_cost)
            removed_time = subtract(removed_time, entry_time)
            removed_fees = subtract(removed_fees, open_fees)
        gross = subtract(self.amount(signed_quantity, price).copy_negate(), removed_cost)
        # The closing fill has the opposite sign: for a short, the entry time and the removed part of it are negative.
        held = add(multiply(signed_quantity, ts_ns), removed_time)
        held = held if signed_quantity > 0 else held.copy_negate()
        # Fills that come out of order may close before they open.
        self.held_time = add(self.held_time, held if held > 0 else ZERO)
        self.closed_quantity = add(self.closed_quantity, signed_quantity.copy_abs())
        self.realized_gross = add(self.realized_gross, gross)
        self.open_cost = open_cost
        self.entry_time = entry_time
        self.open_fees = open_fees
        pnl = subtract(gross, add(fee, removed_fees))
        outcome = pnl if self.outcome is None else add(self.outcome, pnl)
        self.outcome = outcome if quantity else None
        return Closing(gross, pnl, outcome, is_flat=not quantity)

    @classmethod
    def under(cls, terms: Terms) -> AverageCostPosition:
        """Returns a flat position under the terms of an instrument."""
        return cls(ONE if terms.multiplier == ONE else terms.multiplier, is_inverse=terms.is_inverse)

    def amount(self, signed_quantity: Decimal, price: Decimal) -> Decimal:
        """Returns the amount of a quantity at a price; zero for an inverse contract without a price."""
        if self.is_inverse:
            if not price:
                return ZERO
            return quotient(multiply(signed_quantity, self.multiplier), price).copy_negate()
        amount = multiply(signed_quantity, price)
        return amount if self.multiplier is ONE else multiply(amount, self.multiplier)


def _share(total: Decimal, quantity: Decimal, of: Decimal) -> Decimal:
    """Returns the part of a sum over the quantity `of` that belongs to `quantity`."""
    if not quantity or not total:
        return ZERO
    return quotient(ROUNDED.multiply(total, quantity), of)


def signed_quantity(fill: Fill) -> Decimal:
    """Returns the fill's quantity, negative for a sale."""
    return fill.quantity if fill.side == "buy" else fill.quantity.copy_negate()
