"""The amender: what a corrected fill changes in the accounts, once its position has been folded anew.

fill corrected --> two folds (`fold.py`) --> their difference: position, account, sums of the symbol, totals
               --> earlier fills are no longer kept: the opposite of the fill is booked, and then the right one
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from decimal import Decimal
from typing import Protocol

from observability.errors import EventRefused
from observability.instruments.table import InstrumentTable
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.book.fold import Correction, Fold, Refold, opposite, opposite_terms
from observability.metrics.strategy.book.path_walk import PathRun
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.trades.position_side import HeldSide, place_of
from observability.metrics.trades.stats import Outcomes
from observability.metrics.trades.trade import Trade


class Sums(Protocol):
    """Everything that positions and accounts are added up in."""

    def open_position(self, account: StrategyAccount, symbol: str, side: HeldSide) -> PositionPart | None:
        """Opens a flat position; None if there is no room for one."""

    def no_room(self) -> EventRefused:
        """Returns the refusal of what needs a further position."""

    def follow(self, part: PositionPart, now_ns: int) -> None:
        """Marks a position whose quantity has changed to the market, and lets the market mark it while it is open."""

    def replace_sums(
        self, account: StrategyAccount, part: PositionPart, before: StrategyAccount, after: StrategyAccount
    ) -> None:
        """Replaces what some fills of a position have made of all sums, which `before` has, by what `after` has; its
        own account has that already. Drops what nothing but a busted fill has made."""

    def amend_path(self, account: StrategyAccount, refold: Refold, run: PathRun | None, now_ns: int) -> None:
        """Makes drawdown and daily figures those of a run without a fault."""


class Amender:
    """Makes the accounts what they would be without the fault of a fill. Accounts go by their own names."""

    def __init__(
        self,
        sums: Sums,
        accounts: Mapping[str, StrategyAccount],
        instruments: InstrumentTable,
        rates: Rates,
    ) -> None:
        """`accounts` are all that there are, at any time."""
        self._sums = sums
        self._accounts = accounts
        self._instruments = instruments
        self._rates = rates

    def position_of(self, name: str, trade: Trade) -> PositionPart | None:
        """Returns the position of a trade; None if there is none, or no longer."""
        return self._accounts[name].positions.get(place_of(trade.symbol, trade.position_side))

    def fold(self, name: str, trade: Trade) -> Fold:
        """Returns an empty fold of the fills of the position that a trade is of."""
        part = self.position_of(name, trade)
        terms = self._instruments.terms(trade.symbol) if part is None else part.terms
        return Fold(name, trade, terms, self._rates)

    def replace(self, name: str, trade: Trade, refold: Refold, run: PathRun | None, now_ns: int) -> bool:
        """Replaces what the fills of the position of a corrected one have come to; `run` has walked the path of the
        equity. Returns False if the best or worst outcome of its account has to be found again. Raises EventRefused if
        that opens a position and all are in use."""
        before, after, account = refold.before, refold.after, self._accounts[name]
        part = self._open_position_of(name, trade)
        part.replace(before.part, after.part, trade.venue)
        self._sums.follow(part, now_ns)
        is_known = account.replace(before.account, after.account)
        account.value_positions()
        self._sums.replace_sums(account, part, before.account, after.account)
        self._sums.amend_path(account, refold, run, now_ns)
        return is_known

    def offset(self, name: str, trade: Trade, correction: Correction, now_ns: int) -> None:
        """Books the opposite of what a fill has counted with, and then what it counts with: for a fill whose position
        cannot be folded anew. Raises EventRefused if that opens a position and all are in use."""
        before, after = self.fold(name, trade), self.fold(name, trade)
        part = self._open_position_of(name, trade)
        before.part.position, after.part.position = copy(part.position), copy(part.position)
        after.part.round_trip = part.round_trip
        if correction.before is not None:
            after.add(opposite(trade), opposite_terms(correction.before))
            after.account.fills -= 2
        if correction.after is not None:
            after.add(trade, correction.after)
        self.replace(name, trade, Refold(before, after, correction), None, now_ns)

    def open_round_trips(self, name: str) -> set[int]:
        """Returns the round trips of the open positions of an account."""
        parts = self._accounts[name].positions.values() if name in self._accounts else ()
        return {part.round_trip for part in parts if part.position.quantity and part.round_trip is not None}

    def set_extremes(self, name: str, outcomes: Mapping[str, Outcomes]) -> None:
        """Sets the best and the worst outcome of an account."""
        if name in self._accounts:
            self._accounts[name].set_extremes(outcomes)

    def settled(self, name: str) -> Mapping[int, tuple[str, Decimal | None]]:
        """Returns the outcomes of the round trips of an account that settlements have ended."""
        return self._accounts[name].settled if name in self._accounts else {}

    def _open_position_of(self, name: str, trade: Trade) -> PositionPart:
        part = self.position_of(name, trade)
        part = part or self._sums.open_position(self._accounts[name], trade.symbol, trade.position_side)
        if part is None:
            raise self._sums.no_room()
        return part
