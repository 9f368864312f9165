"""What each venue has to do with a position that was traded at several: quantity, cash flow and fees, which add up to
the position's.

    fill at A, fill at B, ... ──► position ──► what it has changed by since the last fill ──► the venue of the fill

Cost is averaged over the whole position, so a venue has no realised and unrealised P&L of its own, but their sum: its
cash flow and the value of its quantity at the mark, less its fees. What was bought at one venue and sold at another is
long at the one and short at the other, and flat.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ROUNDED, ZERO, to_float
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.market.venues import MAX_VENUES, NO_VENUE
from observability.metrics.strategy.position import AverageCostPosition

OTHER_VENUES: Final = "(other)"
"""The name that venues beyond MAX_VENUES share."""
UNKNOWN_VENUE: Final = "(unknown)"
"""The venue of what a checkpoint of an earlier version has."""


class VenueSums(msgspec.Struct, array_like=True):
    """The sums of one venue. `cash_flow` is before fees, negative for what was bought; `quantity` is signed."""

    quantity: Decimal = ZERO
    cash_flow: Decimal = ZERO
    fees: Decimal = ZERO

    def add(self, other: VenueSums, sign: int = 1) -> None:
        combine = EXACT.add if sign > 0 else EXACT.subtract
        self.quantity = combine(self.quantity, other.quantity)
        self.cash_flow = combine(self.cash_flow, other.cash_flow)
        self.fees = combine(self.fees, other.fees)


class PositionVenues(msgspec.Struct):
    """The venues of one position, in the order of their first fills. Every field is stored in checkpoints."""

    name: str | None = None
    """The only venue so far; None before the first fill, and with several."""
    sums: dict[str, VenueSums] = {}
    """By venue, once there are several."""
    is_adopted: bool = False
    """Whether the position was adopted: what it held then counts to the venue of its first fill."""

    def is_other(self, venue: str, position: AverageCostPosition) -> bool:
        """Returns whether a fill, which the position does not have yet, is at another venue than those before."""
        if self.sums:
            return True
        if self.name is None:
            if self.is_adopted or not (position.quantity or position.closed_quantity or position.fees):
                self.name = venue
                return False
            self.name = UNKNOWN_VENUE
        if venue == self.name:
            return False
        self.sums[self.name or NO_VENUE] = _sums_of(position)
        self.name = None
        return True

    def attribute(self, venue: str, position: AverageCostPosition) -> None:
        """Adds to a venue what the position has changed by since everything before was attributed."""
        change = _sums_of(position)
        for known in self.sums.values():
            change.add(known, -1)
        name = venue or NO_VENUE
        if name not in self.sums and len(self.sums) >= MAX_VENUES:
            name = OTHER_VENUES
        self.sums.setdefault(name, VenueSums()).add(change)

    def is_all_at(self, venue: str) -> bool:
        """Returns whether no part of the position is known to be at another venue."""
        return not self.sums and self.name in (venue, "", None, UNKNOWN_VENUE)

    def quantity_at(self, venue: str) -> Decimal:
        """Returns the quantity at one of several venues; 0 if there is none."""
        found = self.sums.get(venue)
        return ZERO if found is None else found.quantity

    def settle(self, venue: str, price: Decimal, position: AverageCostPosition) -> None:
        """Closes what each venue has, or one of them, at a price that no fill has made."""
        for name, sums in self.sums.items():
            if not venue or name == venue:
                sums.cash_flow = EXACT.add(sums.cash_flow, position.amount(sums.quantity, price))
                sums.quantity = ZERO

    def split(self, ratio: Ratio) -> None:
        """Changes the quantity of each venue."""
        for sums in self.sums.values():
            sums.quantity = ratio.of_quantity(sums.quantity)

    def replace(self, venue: str, before: AverageCostPosition, after: AverageCostPosition) -> None:
        """Replaces what the fills at a venue have made of the position by what they should have."""
        name = venue or NO_VENUE
        sums = self.sums.get(name) or self.sums.get(OTHER_VENUES)
        if sums is None:
            return
        sums.add(_sums_of(before), -1)
        sums.add(_sums_of(after))
        if not (sums.quantity or sums.cash_flow or sums.fees):
            # Nothing but a busted fill was there.
            self.sums = {name: each for name, each in self.sums.items() if each is not sums}
            if len(self.sums) == 1:
                self.name, self.sums = next(iter(self.sums)), {}

    def to_json(self, quantity: Decimal, value: Decimal) -> dict[str, dict[str, float]]:
        """Returns the sums of each venue; `quantity` and `value` are those of the whole position, which is open."""
        return {name: _json_of(sums, quantity, value) for name, sums in self.sums.items()}


def _sums_of(position: AverageCostPosition) -> VenueSums:
    cash_flow = EXACT.subtract(position.realized_gross, position.open_cost)
    # Without the zeros at the end that shares of a cost have left.
    return VenueSums(position.quantity, cash_flow.normalize(EXACT), position.fees)


def _json_of(sums: VenueSums, quantity: Decimal, value: Decimal) -> dict[str, Any]:
    share = ROUNDED.divide(ROUNDED.multiply(value, sums.quantity), quantity) if quantity else ZERO
    return {
        "quantity": to_float(sums.quantity),
        "cash_flow": to_float(sums.cash_flow),
        "fees": to_float(sums.fees),
        "pnl": to_float(ROUNDED.subtract(ROUNDED.add(sums.cash_flow, share), sums.fees)),
    }
