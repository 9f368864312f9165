"""The fills of one strategy in one symbol, added up anew from a moment at which the position was flat.

    fills    | ... flat |  f1  f2  f3 (corrected)  f4 ... newest
    before              |  as they have counted so far          --> what the account has
    after               |  with f3 as it is right               --> what it should have

Both are folds by the same accounting as the first time. Their difference is added to the account; sums are exact, so
the result is that of a run that never had the fault. A fold that does not end with the position that the account has
did not get all of its fills, and is not used.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import Any, Final, NamedTuple

from observability.events import Dividend, Position, Settlement, Split
from observability.instruments.instrument import Terms as ContractTerms
from observability.metrics.arithmetic.decimals import EXACT, ZERO
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.book.equity_path import Cash
from observability.metrics.strategy.book.path_walk import Amendment, Step
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.trades.booking import Booking
from observability.metrics.trades.correction import Terms
from observability.metrics.trades.trade import Trade
from observability.store.schema import MAX_ROW_SEQ


class Fold:
    """An account with one position."""

    def __init__(self, strategy: str, trade: Trade, terms: ContractTerms, rates: Rates) -> None:
        """The position is that of `trade`."""
        self.account = StrategyAccount(strategy, rates)
        # A fee counts at the rate when its fill came, which the trade has, or had none then.
        self.account.rates = Rates(rates.reporting)
        self._rates = rates
        self.part = PositionPart(strategy, trade.symbol, terms, self.account.ledger, trade.position_side)
        self.account.positions[self.part.place] = self.part

    def add(self, trade: Trade, terms: Terms) -> Trade:
        """Adds a fill that counts with `terms`; returns its trade with what the fill realised."""
        counted = copy(trade)
        counted.quantity, counted.price, counted.commission = terms.quantity, terms.price, terms.commission
        counted.pnl = counted.gross_pnl = counted.round_trip = counted.notional = None
        if trade.fee_value is not None and terms.commission != trade.commission:
            # At the rate of its arrival; a fill without a fee had none.
            if trade.commission:
                counted.fee_value = trade.fee_value_of(terms.commission)
            else:
                currency = self.part.terms.currency
                counted.fee_value = self._rates.value(terms.commission, trade.commission_asset, currency)
        self.account.apply(counted.to_fill(), counted, self.part)
        counted.is_flat = not self.part.position.quantity
        return counted

    def book(self, booking: Booking) -> None:
        """Adds what is no fill and changes what the fills come to."""
        part, event = self.part, booking.event
        match event:
            case Position() if not part.position.quantity:
                part.adopt(event, booking.seq)
            case _ if not part.position.quantity:
                return
            case Settlement():
                self.account.settle(part, event.price, event.venue, event.ts_init)
            case Split():
                part.split(Ratio(event.numerator, event.denominator), None, event.ts_init)
            case Dividend() if event.amount_per_share is not None:
                amounts = self.account.ledger.of(event.currency or part.terms.currency)
                amounts.earn(EXACT.multiply(part.position.quantity, event.amount_per_share))
            case _:
                return


BOOKED: Final = (Position, Settlement, Split, Dividend)
"""The bookings that change what the fills of a position come to."""


class Correction(NamedTuple):
    """What a correction changes in one fill; None: the fill does not count."""

    seq: int
    before: Terms | None
    after: Terms | None


class Refold:
    """The folds before and after a correction, side by side."""

    def __init__(self, before: Fold, after: Fold, correction: Correction) -> None:
        self.before = before
        self.after = after
        self.amended: list[Trade] = []
        """The trades of which the correction changes what they have realised, as they should be."""
        self.newest_seq = 0
        """The newest fill that was added."""
        self.bookings: deque[Booking] = deque()
        """What else has changed the position since it was flat, in order, until it is added."""
        self.booked_seq = 0
        """The newest booking that was looked at."""
        self.has_other_terms = False
        """Whether a fill counts under other terms of the contract than those of the folds."""
        self.is_beyond_zero = False
        """Whether a side of a hedged position would go through zero with the correction."""
        self.correction = correction
        terms = before.part.terms
        self.amendment = Amendment(before.account.name, before.part.place, before.part.symbol, terms)
        """What the path of the equity is to be made of."""
        self._lead: Cash = {}
        self.has_first = False
        """Whether a bust has taken the fill that began the days of its account."""
        self.first: tuple[int, int] | None = None
        """The day and number of the fill or booking that begins them then; None without one."""

    def is_of(self, part: PositionPart | None) -> bool:
        """Returns whether the fold before the correction ends with the position that the account has: it has got all of
        its fills since it was flat."""
        position = self.before.part.position
        if part is None:
            return not position.quantity
        return (position.quantity, position.open_cost, position.open_fees, position.outcome) == (
            part.position.quantity, part.position.open_cost, part.position.open_fees, part.position.outcome
        )  # fmt: skip

    def add(self, trade: Trade) -> None:
        """Adds the next fill of the position."""
        if trade.seq <= self.newest_seq:
            return
        self.newest_seq = trade.seq
        self._book(trade.seq)
        is_corrected = trade.seq == self.correction.seq
        counted = None if trade.is_busted else trade.terms
        before, after = self.correction[1:] if is_corrected else (counted, counted)
        if before is not None:
            self.has_other_terms |= not have_same_terms(trade, self.before.add(trade, before))
        if after is not None:
            amended = self.after.add(trade, after)
            quantity = self.after.part.position.quantity
            self.is_beyond_zero |= bool(quantity) and trade.position_side == ("short" if quantity > 0 else "long")
        else:
            amended = copy(trade)
            amended.pnl = amended.gross_pnl = amended.round_trip = None
            amended.is_flat = False
        if is_corrected or realised(amended) != realised(trade):
            self.amended.append(amended)
        if trade.seq >= self.correction.seq:
            self._step(trade.seq, trade.ts_init_ns, is_gone=is_corrected and after is None)

    def finish(self) -> None:
        """Adds what has come after the last fill."""
        self._book(MAX_ROW_SEQ)

    def _book(self, before_seq: int) -> None:
        """Adds the bookings before a fill."""
        bookings = self.bookings
        while bookings and bookings[0].seq < before_seq:
            booking = bookings.popleft()
            for fold in (self.before, self.after):
                fold.book(booking)
            if booking.seq > self.correction.seq:
                self._step(booking.seq, booking.event.ts_init, is_split=isinstance(booking.event, Split))

    def _step(self, seq: int, ns: int, *, is_gone: bool = False, is_split: bool = False) -> None:
        """Adds what a fill or booking has come to."""
        before, after = self.before.account.cash, self.after.account.cash
        last, lead = self._lead, {}
        for currency in {**before, **after}:
            ahead = EXACT.subtract(after.get(currency, ZERO), before.get(currency, ZERO))
            if ahead:
                lead[currency] = ahead
        self._lead = lead
        change = {
            currency: EXACT.subtract(lead.get(currency, ZERO), last.get(currency, ZERO))
            for currency in {**last, **lead}
        }
        old, new = self.before.part, self.after.part
        self.amendment.add(
            Step(
                seq=seq,
                ns=ns,
                quantity=new.position.quantity,
                price=new.mark,
                lead=lead,
                change={currency: amount for currency, amount in change.items() if amount},
                value=new.value,
                quantity_before=old.position.quantity,
                value_before=old.value,
                is_gone=is_gone,
                is_split=is_split,
            )
        )


REALISED: Final = ("pnl", "gross_pnl", "round_trip", "is_flat", "fee_value", "notional")
"""What the accounting writes into a trade."""


def realised(trade: Trade) -> tuple[Any, ...]:
    """Returns what the accounting has written into a trade."""
    return tuple(getattr(trade, name) for name in REALISED)


def have_same_terms(one: Trade, other: Trade) -> bool:
    """Returns whether two trades of one fill are of the same amount in the same currency. Of a fill that an earlier
    version has stored, or that is in no account, neither is known."""
    amounts = [
        EXACT.multiply(each.quantity, each.price) if each.notional is None else each.notional for each in (one, other)
    ]
    return not one.currency or (one.currency == other.currency and amounts[0] == amounts[1])


def opposite(trade: Trade) -> Trade:
    """Returns a trade on the other side."""
    other = copy(trade)
    other.side = "sell" if trade.side == "buy" else "buy"
    return other


def opposite_terms(terms: Terms) -> Terms:
    """Returns the terms of a fill that gives back the fee."""
    return Terms(terms.quantity, terms.price, terms.commission.copy_negate(), terms.commission_asset)
