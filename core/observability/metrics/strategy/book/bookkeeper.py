"""The bookkeeper: what each kind of booking changes in the accounts of the strategies.

    event --> BookingLog --> StrategyCollector --> Bookkeeper: the change, and `booking.effect`, which says what it was

A payment that is no external flow is P&L: `income` of the account that it belongs to, and of its symbol.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Protocol

from observability.errors import EventRefused
from observability.events import BookingEvent, Event, Funding
from observability.metrics.arithmetic.decimals import to_float
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.trades.booking import Booking
from observability.metrics.trades.booking_log import BookingLog
from observability.metrics.trades.trade import DEFAULT_STRATEGY

# What counts as the reporting currency as long as no rate says otherwise.
_STABLECOINS = {"USD": frozenset({"USDT", "USDC", "BUSD", "DAI", "FDUSD", "TUSD", "USDP", "PYUSD"})}


class Books(Protocol):
    """The accounts, as the bookkeeper changes them."""

    def account_for(self, event: Event, strategy: str) -> StrategyAccount:
        """Returns the account of a strategy, or the one that it shares."""

    def earn(self, account: StrategyAccount, symbol: str, amount: Decimal, now_ns: int) -> None:
        """Adds P&L that no fill has made; `symbol` may be empty."""

    def holders(self, symbol: str) -> Iterator[PositionPart]:
        """Yields the open positions in a symbol, of all strategies."""


class Bookkeeper:
    """Applies bookings. Refuses an event before it is booked, or not at all."""

    def __init__(self, books: Books, bookings: BookingLog, reporting_currency: str) -> None:
        self._books = books
        self._currencies = {"", reporting_currency} | _STABLECOINS.get(reporting_currency, frozenset())
        self._reporting_currency = reporting_currency
        bookings.add_check(Funding, self._check_currency)

    def fund(self, booking: Booking, event: Funding, now_ns: int) -> None:
        """Adds a funding payment to the P&L of the strategy that holds the position."""
        self._pay(booking, event.symbol, event.strategy, event.amount, now_ns)

    def _pay(self, booking: Booking, symbol: str, strategy: str, amount: Decimal, now_ns: int) -> None:
        name = strategy or self._holder(symbol)
        account = self._books.account_for(booking.event, name)
        self._books.earn(account, symbol, amount, now_ns)
        booking.strategy = account.name
        booking.effect = _effect(amount, [(account.name, amount)])

    def _holder(self, symbol: str) -> str:
        """Returns the strategy that alone holds a symbol; the default one if none does, or several do."""
        strategies = {part.strategy for part in self._books.holders(symbol)}
        return strategies.pop() if len(strategies) == 1 else DEFAULT_STRATEGY

    def _check_currency(self, event: BookingEvent) -> None:
        currency = getattr(event, "currency", "")
        if currency not in self._currencies:
            raise EventRefused("currency", f"{currency} cannot be converted into {self._reporting_currency}")


def _effect(amount: Decimal, shares: list[tuple[str, Decimal]]) -> dict[str, Any]:
    return {"amount": to_float(amount), "strategies": {name: to_float(share) for name, share in shares}}
