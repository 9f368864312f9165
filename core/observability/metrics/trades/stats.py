"""What a set of trades adds up to: volume, averages, realised P&L, and how many round trips won or lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ZERO, quotient_or_none, to_float, to_float_or_none
from observability.metrics.arithmetic.rates import Conversion, Rates

# The amounts of fills have at most 54 digits after the point. What is less than half of the last of them is left over
# from rounded shares of a cost, and is no gain or loss.
_RESIDUE: Final = Decimal("5e-55")


class Outcomes(msgspec.Struct):
    """Counts and exact sums over round trips, each judged by what it realised net of fees. A break-even is a round trip
    that neither won nor lost."""

    n_wins: int = 0
    n_losses: int = 0
    n_breakeven: int = 0
    won: Decimal = ZERO
    lost: Decimal = ZERO
    """The sum over the losing round trips, so never above zero."""
    best: Decimal | None = None
    worst: Decimal | None = None
    n_unvalued: int = 0
    """Round trips in no other figure, because a fee of theirs had no rate into the currency of the position."""
    is_unconverted: bool = False
    """Whether the sums are not known, because some are in a currency without a rate."""

    def add(self, outcome: Decimal | None) -> None:
        """Adds one round trip; None if its outcome cannot be known."""
        if outcome is None:
            self.n_unvalued += 1
            return
        if outcome.copy_abs() < _RESIDUE:
            outcome = ZERO
            self.n_breakeven += 1
        elif outcome > 0:
            self.n_wins += 1
            self.won = EXACT.add(self.won, outcome)
        else:
            self.n_losses += 1
            self.lost = EXACT.add(self.lost, outcome)
        if self.best is None or outcome > self.best:
            self.best = outcome
        if self.worst is None or outcome < self.worst:
            self.worst = outcome

    def merge(self, other: Outcomes) -> None:
        """Adds all round trips of `other`."""
        self.n_wins += other.n_wins
        self.n_losses += other.n_losses
        self.n_breakeven += other.n_breakeven
        self.won = EXACT.add(self.won, other.won)
        self.lost = EXACT.add(self.lost, other.lost)
        if other.best is not None and (self.best is None or other.best > self.best):
            self.best = other.best
        if other.worst is not None and (self.worst is None or other.worst < self.worst):
            self.worst = other.worst
        self.n_unvalued += other.n_unvalued
        self.is_unconverted |= other.is_unconverted

    def converted(self, conversion: Conversion) -> Outcomes:
        """Returns the same outcomes in the reporting currency."""
        won, lost = conversion.convert(self.won), conversion.convert(self.lost)
        best = None if self.best is None else conversion.convert(self.best)
        worst = None if self.worst is None else conversion.convert(self.worst)
        is_unconverted = won is None or lost is None
        return Outcomes(
            self.n_wins, self.n_losses, self.n_breakeven, won or ZERO, lost or ZERO, best, worst, self.n_unvalued,
            is_unconverted,
        )  # fmt: skip

    @property
    def n_closing(self) -> int:
        return self.n_wins + self.n_losses + self.n_breakeven

    @property
    def n_decided(self) -> int:
        """Wins and losses."""
        return self.n_wins + self.n_losses

    @property
    def win_rate(self) -> float | None:
        """Wins among wins and losses; None if there are none."""
        return self.n_wins / self.n_decided if self.n_decided else None

    @property
    def profit_factor(self) -> float | None:
        """Gains per unit of losses; None without losses."""
        return None if self.is_unconverted else quotient_or_none(self.won, self.lost.copy_abs())

    @property
    def expectancy(self) -> float | None:
        """The average outcome of a round trip, break-evens included; None if there are none."""
        if self.is_unconverted:
            return None
        return quotient_or_none(EXACT.add(self.won, self.lost), Decimal(self.n_closing))

    @property
    def extremes(self) -> tuple[Decimal | None, Decimal | None]:
        """The best and the worst outcome; None where they cannot be compared."""
        return (None, None) if self.is_unconverted else (self.best, self.worst)


def outcomes_in_one(by_currency: Mapping[str, Outcomes], rates: Rates) -> Outcomes:
    """Returns the outcomes in all currencies in the reporting one; do not modify the result."""
    if len(by_currency) == 1 and rates.reporting in by_currency:
        return by_currency[rates.reporting]
    outcomes = Outcomes()
    for currency, each in by_currency.items():
        outcomes.merge(each.converted(rates.conversion(currency)))
    return outcomes


class TradeAmounts(NamedTuple):
    """What the statistics need of one trade."""

    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    commission: Decimal
    pnl: Decimal | None
    """What it realised, net of the fees of what it closed; None if it closed nothing."""
    gross_pnl: Decimal | None
    """The same before fees. None, beside a `pnl`, for a trade of an earlier version, whose `pnl` was net of its own
    commission only."""
    round_trip: int | None
    """The round trip that it closed or a part of which it closed: the `seq` of the fill that opened it."""


@dataclass(slots=True)
class SideTotal:
    """Count, quantity and notional of one side."""

    count: int = 0
    volume: Decimal = ZERO
    notional: Decimal = ZERO

    def add(self, quantity: Decimal, notional: Decimal) -> None:
        self.count += 1
        self.volume = EXACT.add(self.volume, quantity)
        self.notional = EXACT.add(self.notional, notional)

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "volume": to_float(self.volume), "notional": to_float(self.notional)}


@dataclass(slots=True)
class TradeStats:
    """Sums over trades, exact until they are rounded for JSON. Call `settle` after the last trade.

    `realized_pnl` is net of the commissions of all trades, opening ones included; win rate, expectancy, best and worst
    are over round trips, each with what its trades of this set have realised.
    """

    buy: SideTotal = field(default_factory=SideTotal)
    sell: SideTotal = field(default_factory=SideTotal)
    outcomes: Outcomes = field(default_factory=Outcomes)
    commission: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    price_volume: Decimal | None = ZERO
    """The sum of quantity * price; None once there are trades of several symbols, whose prices have no average."""
    symbol: str | None = None
    """The only symbol so far."""
    round_trips: dict[int, Decimal] = field(default_factory=dict)
    """The outcomes of round trips that further trades may belong to."""

    def add(self, trade: TradeAmounts, multiplier: Decimal) -> None:
        """Adds one trade in a contract of `multiplier`."""
        amount = EXACT.multiply(trade.quantity, trade.price)
        (self.buy if trade.side == "buy" else self.sell).add(trade.quantity, EXACT.multiply(amount, multiplier))
        if self.price_volume is not None:
            is_same = self.symbol in (None, trade.symbol)
            self.symbol = trade.symbol if is_same else None
            self.price_volume = EXACT.add(self.price_volume, amount) if is_same else None
        self.commission = EXACT.add(self.commission, trade.commission)
        pnl = trade.pnl
        if pnl is None:
            self.realized_pnl = EXACT.subtract(self.realized_pnl, trade.commission)
            return
        net = pnl if trade.gross_pnl is None else EXACT.subtract(trade.gross_pnl, trade.commission)
        self.realized_pnl = EXACT.add(self.realized_pnl, net)
        if trade.round_trip is None:
            self.outcomes.add(pnl)
        else:
            self.round_trips[trade.round_trip] = EXACT.add(self.round_trips.get(trade.round_trip, ZERO), pnl)

    def settle(self, first_seq: int = 0) -> None:
        """Counts the round trips that began at `first_seq` or later; all trades from there on have been added."""
        trips = self.round_trips
        for trip in [trip for trip in trips if trip >= first_seq]:
            self.outcomes.add(trips.pop(trip))

    def to_json(self) -> dict[str, Any]:
        count = self.buy.count + self.sell.count
        volume = EXACT.add(self.buy.volume, self.sell.volume)
        notional = EXACT.add(self.buy.notional, self.sell.notional)
        outcomes = self.outcomes
        return {
            "count": count,
            "volume": to_float(volume),
            "notional": to_float(notional),
            "avg_price": None if self.price_volume is None else quotient_or_none(self.price_volume, volume),
            "avg_size": quotient_or_none(volume, Decimal(count)),
            "buy": self.buy.to_json(),
            "sell": self.sell.to_json(),
            "commission": to_float(self.commission),
            "realized_pnl": to_float(self.realized_pnl) if count else None,
            "n_closing": outcomes.n_closing,
            "n_wins": outcomes.n_wins,
            "n_losses": outcomes.n_losses,
            "n_breakeven": outcomes.n_breakeven,
            "win_rate": outcomes.win_rate,
            "profit_factor": outcomes.profit_factor,
            "expectancy": outcomes.expectancy,
            "best": to_float_or_none(outcomes.best),
            "worst": to_float_or_none(outcomes.worst),
        }
