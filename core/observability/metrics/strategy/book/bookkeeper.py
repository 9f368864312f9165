"""The bookkeeper: what each kind of booking changes in the accounts of the strategies.

    event --> BookingLog --> StrategyCollector --> Bookkeeper: the change, and `booking.effect`, which says what it was

A payment that is no external flow is P&L: `income` of the account that it belongs to, and of its symbol.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Protocol

from observability.events import Event, Funding
from observability.metrics.arithmetic.decimals import to_float
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.trades.booking import Booking
from observability.metrics.trades.booking_log import BookingLog
from observability.metrics.trades.trade import DEFAULT_STRATEGY


class Books(Protocol):
    """The accounts, as the bookkeeper changes them."""

    def account_for(self, event: Event, strategy: str) -> StrategyAccount:
        """Returns the account of a strategy, or the one that it shares."""

    def earn(self, account: StrategyAccount, symbol: str, amount: Decimal, now_ns: int, currency: str = "") -> None:
        """Adds P&L that no fill has made; `symbol` may be empty. Without `currency` it is the symbol's, else the
        reporting one."""

    def holders(self, symbol: str) -> Iterator[PositionPart]:
        """Yields the open positions in a symbol, of all strategies."""


class Bookkeeper:
    """Applies bookings. Refuses an event before it is booked, or not at all."""

    def __init__(self, books: Books, bookings: BookingLog) -> None:
        self._books = books

    def fund(self, booking: Booking, event: Funding, now_ns: int) -> None:
        """Adds a funding payment to the P&L of the strategy that holds the position."""
        self._pay(booking, event.symbol, event.strategy, event.amount, now_ns, event.currency)

    def _pay(self, booking: Booking, symbol: str, strategy: str, amount: Decimal, now_ns: int, currency: str) -> None:
        name = strategy or self._holder(symbol)
        account = self._books.account_for(booking.event, name)
        self._books.earn(account, symbol, amount, now_ns, currency)
        booking.strategy = account.name
        booking.effect = _effect(amount, [(account.name, amount)])

    def _holder(self, symbol: str) -> str:
        """Returns the strategy that alone holds a symbol; the default one if none does, or several do."""
        strategies = {part.strategy for part in self._books.holders(symbol)}
        return strategies.pop() if len(strategies) == 1 else DEFAULT_STRATEGY


def _effect(amount: Decimal, shares: list[tuple[str, Decimal]]) -> dict[str, Any]:
    return {"amount": to_float(amount), "strategies": {name: to_float(share) for name, share in shares}}
