"""The bookkeeper: what each kind of booking changes in the accounts of the strategies.

    event --> BookingLog --> StrategyCollector --> Bookkeeper: the change, and `booking.effect`, which says what it was

Deposits, withdrawals and transfers are external flows: they change equity, and are no P&L. Every other payment is P&L:
`income` of the account that it belongs to, and of its symbol if it has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

from observability.errors import EventRefused
from observability.events import QUANTUM, Cash, Dividend, Event, Funding, Position, Settlement, Split
from observability.metrics.arithmetic.decimals import EXACT, ROUNDED, ZERO, exact_sum, quotient, to_float
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.strategy.returns import MAX_FLOWS
from observability.metrics.trades.booking import Booking
from observability.metrics.trades.booking_log import BookingLog
from observability.metrics.trades.rows import decimal_or_none, text_or_none
from observability.metrics.trades.trade import DEFAULT_STRATEGY

EXTERNAL: Final = frozenset({"deposit", "withdrawal", "transfer"})
"""The reasons of cash that is no performance."""


def is_first(event: Event) -> bool:
    """Returns whether an event may be the first P&L of an account: it needs no position, or brings one."""
    match event:
        case Cash():
            return event.reason not in EXTERNAL
        case Dividend():
            return event.amount_per_share is None
        case _:
            return isinstance(event, Funding | Position)


MAX_QUANTITY: Final = Decimal(10**18)
"""No position holds as much after a split, so that sums stay exact."""


class Flow(NamedTuple):
    """What is paid in or out, as performance leaves it out. It is stored with the booking: marks and rates are not the
    same when it is replayed after a restart."""

    value: Decimal | None
    """The amount in the reporting currency, at the rate of that moment."""
    of_all: Decimal | None
    """The total P&L of all accounts at that moment; None if a rate is missing."""
    of_strategy: Decimal | None
    """The same of the strategy that it is for, if any."""

    def to_effect(self) -> dict[str, Any]:
        """Returns the flow as a part of the effect of its booking."""
        return {"flow": {name: text_or_none(each) for name, each in self._asdict().items()}}

    @classmethod
    def from_effect(cls, effect: dict[str, Any]) -> Flow | None:
        """Returns the flow of a booking that was applied before; None of one that was not."""
        stored = effect.get("flow")
        return None if stored is None else cls(*(decimal_or_none(stored[name]) for name in cls._fields))


class Books(Protocol):
    """The accounts, as the bookkeeper changes them."""

    def account_for(self, event: Event, strategy: str) -> StrategyAccount:
        """Returns the account of a strategy, or the one that it shares."""

    def earn(self, account: StrategyAccount, symbol: str, amount: Decimal, now_ns: int, currency: str = "") -> None:
        """Adds P&L that no fill has made; `symbol` may be empty. Without `currency` it is the symbol's, else the
        reporting one."""

    def pay(self, account: StrategyAccount | None, currency: str, amount: Decimal, flow: Flow, now_ns: int) -> None:
        """Adds what is paid in (+) or out (-) for a strategy, or for the account as a whole."""

    def flow_of(self, account: StrategyAccount | None, currency: str, amount: Decimal) -> Flow:
        """Returns what a payment is now."""

    def may_pay(self, strategy: str) -> bool:
        """Returns whether there is room for a further payment today."""

    def settle(self, part: PositionPart, price: Decimal, venue: str, now_ns: int) -> Decimal:
        """Closes a position, or what it holds at `venue`, at a price; returns what that realises before fees."""

    def split(self, part: PositionPart, ratio: Ratio, now_ns: int) -> None:
        """Changes the quantity of an open position, which stays worth what it is."""

    def end_split(self, symbol: str, ratio: Ratio, now_ns: int) -> None:
        """Does what is left once every position in a symbol is split."""

    def holders(self, symbol: str) -> Iterator[PositionPart]:
        """Yields the open positions in a symbol, of all strategies."""


class Bookkeeper:
    """Applies bookings. Refuses an event before it is booked, or not at all."""

    def __init__(self, books: Books, bookings: BookingLog) -> None:
        self._books = books
        bookings.add_check(Cash, self._check_payment)
        bookings.add_check(Dividend, self._check_holders)
        bookings.add_check(Split, self._check_split)

    def apply(self, booking: Booking, now_ns: int) -> None:
        """Changes the accounts by one booking."""
        match booking.event:
            case Cash() as event if event.reason in EXTERNAL:
                self._pay(booking, event, now_ns)
            case Cash() as event:
                self._earn(booking, "", event.strategy or DEFAULT_STRATEGY, event, now_ns)
            case Funding() as event:
                self._earn(booking, event.symbol, event.strategy or self._holder(event.symbol), event, now_ns)
            case Dividend() as event:
                self._distribute(booking, event, now_ns)
            case Settlement() as event:
                self._settle(booking, event, now_ns)
            case Split() as event:
                self._split(booking, event, now_ns)

    def _pay(self, booking: Booking, event: Cash, now_ns: int) -> None:
        account = self._books.account_for(event, event.strategy) if event.strategy else None
        flow = Flow.from_effect(booking.effect) or self._books.flow_of(account, event.currency, event.amount)
        self._books.pay(account, event.currency, event.amount, flow, now_ns)
        booking.strategy = "" if account is None else account.name
        effect = _effect([(booking.strategy, event.amount)] if account is not None else [], event.amount)
        booking.effect = effect | flow.to_effect()

    def _earn(self, booking: Booking, symbol: str, strategy: str, event: Cash | Funding, now_ns: int) -> None:
        account = self._books.account_for(event, strategy)
        self._books.earn(account, symbol, event.amount, now_ns, event.currency)
        booking.strategy = account.name
        booking.effect = _effect([(account.name, event.amount)])

    def _distribute(self, booking: Booking, event: Dividend, now_ns: int) -> None:
        """Pays a dividend to each strategy by what it holds, or the whole sum by their shares in it."""
        held: dict[str, Decimal] = {}
        for part in self._books.holders(event.symbol):
            if event.strategy in ("", part.strategy):
                held[part.strategy] = EXACT.add(held.get(part.strategy, ZERO), part.position.quantity)
        if event.amount_per_share is not None:
            shares = [(name, EXACT.multiply(quantity, event.amount_per_share)) for name, quantity in held.items()]
        else:
            assert event.amount is not None, "one of the two is given"
            shares = _divided(event.amount, held) or [(event.strategy or DEFAULT_STRATEGY, event.amount)]
        paid = []
        for name, amount in shares:
            account = self._books.account_for(event, name)
            self._books.earn(account, event.symbol, amount, now_ns, event.currency)
            paid.append((account.name, amount))
        booking.strategy = paid[0][0] if len(paid) == 1 else ""
        booking.effect = _effect(paid)

    def _settle(self, booking: Booking, event: Settlement, now_ns: int) -> None:
        """Closes every position in the symbol."""
        closed = [
            (part.strategy, self._books.settle(part, event.price, event.venue, now_ns))
            for part in self._books.holders(event.symbol)
        ]
        booking.strategy = closed[0][0] if len(closed) == 1 else ""
        booking.effect = _effect(closed)

    def _split(self, booking: Booking, event: Split, now_ns: int) -> None:
        """Changes the quantity of every position in the symbol."""
        ratio, quantities = Ratio(event.numerator, event.denominator), []
        for part in self._books.holders(event.symbol):
            self._books.split(part, ratio, now_ns)
            quantities.append((part.strategy, part.position.quantity))
        self._books.end_split(event.symbol, ratio, now_ns)
        booking.strategy = quantities[0][0] if len(quantities) == 1 else ""
        booking.effect = {"quantities": _by_strategy(quantities)}

    def _holder(self, symbol: str) -> str:
        """Returns the strategy that alone holds a symbol; the default one if none does, or several do."""
        strategies = {part.strategy for part in self._books.holders(symbol)}
        return strategies.pop() if len(strategies) == 1 else DEFAULT_STRATEGY

    def _check_payment(self, event: Cash) -> None:
        """Refuses a payment that returns could not leave out."""
        if event.reason not in EXTERNAL:
            return
        if not self._books.may_pay(event.strategy):
            raise EventRefused("reason", f"no room: money was paid in or out {MAX_FLOWS} times today")
        if self._books.flow_of(None, event.currency, event.amount).value is None:
            raise EventRefused("currency", f"{event.currency} cannot be converted: no rate is known; send one first")

    def _check_split(self, event: Split) -> None:
        """Refuses a split that makes no quantity of a position."""
        ratio = Ratio(event.numerator, event.denominator)
        for part in self._books.holders(event.symbol):
            position = part.position
            if position.is_inverse:
                raise EventRefused("symbol", "an inverse contract is held: it has no shares to split")
            quantity = ratio.of_quantity(position.quantity).copy_abs()
            if not QUANTUM <= quantity < MAX_QUANTITY:
                raise EventRefused("numerator", f"{part.key} would hold {quantity:.3E}")

    def _check_holders(self, event: Dividend) -> None:
        """Refuses a sum that several strategies hold shares of, of which none is certain."""
        if event.amount is not None and not event.strategy:
            signs = {part.position.quantity > 0 for part in self._books.holders(event.symbol)}
            if len(signs) > 1:
                raise EventRefused(
                    "amount", "both long and short positions are held: give amount_per_share or strategy"
                )


def _divided(amount: Decimal, held: dict[str, Decimal]) -> list[tuple[str, Decimal]]:
    """Divides a sum by what each strategy holds; the last one gets the remainder, so that nothing is lost."""
    names = list(held)
    if not names:
        return []
    total = exact_sum(held.values())
    shares = []
    rest = amount
    for name in names[:-1]:
        share = quotient(ROUNDED.multiply(amount, held[name]), total)
        shares.append((name, share))
        rest = EXACT.subtract(rest, share)
    return [*shares, (names[-1], rest)]


def _effect(shares: list[tuple[str, Decimal]], amount: Decimal | None = None) -> dict[str, Any]:
    """Returns the document of an effect: the amount in all, and that of each strategy."""
    total = exact_sum(share for _, share in shares) if amount is None else amount
    return {"amount": to_float(total), "strategies": _by_strategy(shares)}


def _by_strategy(shares: list[tuple[str, Decimal]]) -> dict[str, float]:
    sums: dict[str, Decimal] = {}
    for name, share in shares:
        sums[name] = EXACT.add(sums.get(name, ZERO), share)
    return {name: to_float(share) for name, share in sums.items()}
