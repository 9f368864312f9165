"""Adoption: a position that was opened before the first fill came is taken over, at the cost that its sender names.

It is taken only while nothing else is known of the position: no quantity and no fill. It realises nothing; its cost is
value that is brought in, as a deposit is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from observability.errors import EventRefused
from observability.events import Event, Position
from observability.metrics.arithmetic.decimals import to_float
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.book.bookkeeper import Flow
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.trades.booking import Booking
from observability.metrics.trades.booking_log import BookingLog
from observability.metrics.trades.position_side import HeldSide, held_side, place_of
from observability.metrics.trades.trade import DEFAULT_STRATEGY


class Holders(Protocol):
    """The accounts, as far as an adoption needs them."""

    def account_for(self, event: Event, strategy: str) -> StrategyAccount:
        """Returns the account of a strategy, or the one that it shares."""

    def find(self, strategy: str, place: str) -> PositionPart | None:
        """Returns a position by its strategy and its key within the account."""

    def check_place(self, strategy: str, symbol: str) -> None:
        """Raises EventRefused if there is no place for a further position of a strategy in a symbol."""

    def open_position(self, account: StrategyAccount, symbol: str, side: HeldSide) -> PositionPart | None:
        """Opens a flat position; None if there is no room for one."""

    def flow_of(self, account: StrategyAccount | None, currency: str, amount: Decimal) -> Flow:
        """Returns what a payment is now."""

    def bring_in(self, account: StrategyAccount, part: PositionPart, flow: Flow | None, now_ns: int) -> None:
        """Counts a position that was taken over, and what it brings in if it was paid for."""


class Adoption:
    """Takes positions over. Refuses an event before it is booked, or not at all."""

    def __init__(self, holders: Holders, bookings: BookingLog) -> None:
        self._holders = holders
        bookings.add_check(Position, self._check)

    def apply(self, booking: Booking, event: Position, now_ns: int) -> None:
        """Takes over one position."""
        account = self._holders.account_for(event, event.strategy or DEFAULT_STRATEGY)
        booking.strategy = account.name
        part = self._holders.open_position(account, event.symbol, held_side(event.position_side))
        if part is None:
            # It was in the store, and there is room for fewer positions than when it came.
            return
        part.adopt(event, booking.seq)
        cost = part.position.open_cost
        flow = None
        if part.is_paid:
            # Its cost comes in like a deposit that is invested already.
            flow = Flow.from_effect(booking.effect) or self._holders.flow_of(account, part.amounts.currency, cost)
        self._holders.bring_in(account, part, flow, now_ns)
        shown = to_float(cost)
        booking.effect = {"amount": shown, "strategies": {account.name: shown}}
        if flow is not None:
            booking.effect |= flow.to_effect()

    def _check(self, event: Position) -> None:
        strategy = event.strategy or DEFAULT_STRATEGY
        part = self._holders.find(strategy, place_of(event.symbol, held_side(event.position_side)))
        if part is not None:
            what = f"holds {part.position.quantity} already" if part.position.quantity else "has had fills"
            raise EventRefused(
                "adopt", f"the position {part.key} {what}: only one of which nothing is known is adopted"
            )
        self._holders.check_place(strategy, event.symbol)
