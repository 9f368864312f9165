"""What a set of trades adds up to: volume, averages, realised P&L, and how many round trips won or lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ZERO, quotient_or_none, to_float, to_float_or_none
from observability.metrics.arithmetic.ledger import sum_or_none, why_missing
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

    def replace(self, before: Outcomes, after: Outcomes) -> bool:
        """Replaces the round trips of `before` by those of `after`. Returns False if the best or the worst of all was
        among them, so that it has to be found again."""
        self.n_wins += after.n_wins - before.n_wins
        self.n_losses += after.n_losses - before.n_losses
        self.n_breakeven += after.n_breakeven - before.n_breakeven
        self.n_unvalued += after.n_unvalued - before.n_unvalued
        self.won = EXACT.add(EXACT.subtract(self.won, before.won), after.won)
        self.lost = EXACT.add(EXACT.subtract(self.lost, before.lost), after.lost)
        is_known = True
        if after.best is not None and (self.best is None or after.best >= self.best):
            self.best = after.best
        elif before.best is not None:
            is_known = before.best != self.best
        if after.worst is not None and (self.worst is None or after.worst <= self.worst):
            self.worst = after.worst
        elif before.worst is not None:
            is_known = is_known and before.worst != self.worst
        return is_known

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
    commission_asset: str = ""
    currency: str = ""
    fee_value: Decimal | None = None
    notional: Decimal | None = None
    """These as in Trade."""


@dataclass(slots=True)
class SideTotal:
    """Count and quantity of one side."""

    count: int = 0
    volume: Decimal = ZERO

    def add(self, quantity: Decimal) -> None:
        self.count += 1
        self.volume = EXACT.add(self.volume, quantity)

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "volume": to_float(self.volume)}


@dataclass(slots=True)
class Money:
    """The sums of some trades in one currency."""

    buy: Decimal = ZERO
    """Notional bought."""
    sell: Decimal = ZERO
    commission: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    outcomes: Outcomes = field(default_factory=Outcomes)
    round_trips: dict[int, Decimal | None] = field(default_factory=dict)
    """The outcomes of round trips that further trades may belong to; None for one that cannot be known."""

    def add_outcome(self, round_trip: int | None, pnl: Decimal | None) -> None:
        """Adds what a trade has realised of a round trip; None if that cannot be known."""
        if round_trip is None:
            self.outcomes.add(pnl)
            return
        before = self.round_trips.get(round_trip, ZERO)
        self.round_trips[round_trip] = None if before is None or pnl is None else EXACT.add(before, pnl)

    def settle(self, first_seq: int) -> None:
        trips = self.round_trips
        for trip in [trip for trip in trips if trip >= first_seq]:
            self.outcomes.add(trips.pop(trip))


@dataclass(slots=True)
class TradeStats:
    """Sums over trades, exact until they are converted and rounded for JSON. Call `settle` after the last trade.

    `realized_pnl` is net of the commissions of all trades, opening ones included; win rate, expectancy, best and worst
    are over round trips, each with what its trades of this set have realised. Money is kept by the currency of the
    trades, which is empty for those of earlier versions.
    """

    buy: SideTotal = field(default_factory=SideTotal)
    sell: SideTotal = field(default_factory=SideTotal)
    money: dict[str, Money] = field(default_factory=dict)
    price_volume: Decimal | None = ZERO
    """The sum of quantity * price; None once there are trades of several symbols, whose prices have no average."""
    symbol: str | None = None
    """The only symbol so far."""

    def add(self, trade: TradeAmounts, multiplier: Decimal) -> None:
        """Adds one trade, of which a contract of `multiplier` was traded unless it has a notional."""
        amount = EXACT.multiply(trade.quantity, trade.price)
        notional = EXACT.multiply(amount, multiplier) if trade.notional is None else trade.notional
        money = self._in(trade.currency)
        if trade.side == "buy":
            self.buy.add(trade.quantity)
            money.buy = EXACT.add(money.buy, notional)
        else:
            self.sell.add(trade.quantity)
            money.sell = EXACT.add(money.sell, notional)
        if self.price_volume is not None:
            is_same = self.symbol in (None, trade.symbol)
            self.symbol = trade.symbol if is_same else None
            self.price_volume = EXACT.add(self.price_volume, amount) if is_same else None
        commission = trade.commission
        if trade.commission_asset and trade.commission_asset != trade.currency:
            if trade.fee_value is None:
                elsewhere = self._in(trade.commission_asset)
                elsewhere.commission = EXACT.add(elsewhere.commission, commission)
                elsewhere.realized_pnl = EXACT.subtract(elsewhere.realized_pnl, commission)
                commission = ZERO
            else:
                commission = trade.fee_value
        money.commission = EXACT.add(money.commission, commission)
        pnl, gross = trade.pnl, trade.gross_pnl
        if gross is not None:
            net = EXACT.subtract(gross, commission)
        elif pnl is not None:
            net = pnl
        else:
            money.realized_pnl = EXACT.subtract(money.realized_pnl, commission)
            return
        money.realized_pnl = EXACT.add(money.realized_pnl, net)
        money.add_outcome(trade.round_trip, pnl)

    def settle(self, first_seq: int = 0) -> None:
        """Counts the round trips that began at `first_seq` or later; all trades from there on have been added."""
        for money in self.money.values():
            money.settle(first_seq)

    def to_json(self, rates: Rates) -> dict[str, Any]:
        """Returns the sums in the reporting currency of `rates`, and by currency."""
        count = self.buy.count + self.sell.count
        volume = EXACT.add(self.buy.volume, self.sell.volume)
        bought, sold = self._sum(rates, "buy"), self._sum(rates, "sell")
        notional = None if bought is None or sold is None else EXACT.add(bought, sold)
        outcomes = Outcomes()
        for currency, money in self.money.items():
            outcomes.merge(money.outcomes.converted(rates.conversion(currency or rates.reporting)))
        best, worst = outcomes.extremes
        missing = rates.missing(currency for currency in self.money if currency)
        return {
            "count": count,
            "volume": to_float(volume),
            "notional": to_float_or_none(notional),
            "avg_price": None if self.price_volume is None else quotient_or_none(self.price_volume, volume),
            "avg_size": quotient_or_none(volume, Decimal(count)),
            "buy": self.buy.to_json() | {"notional": to_float_or_none(bought)},
            "sell": self.sell.to_json() | {"notional": to_float_or_none(sold)},
            "commission": to_float_or_none(self._sum(rates, "commission")),
            "realized_pnl": to_float_or_none(self._sum(rates, "realized_pnl")) if count else None,
            "n_closing": outcomes.n_closing,
            "n_wins": outcomes.n_wins,
            "n_losses": outcomes.n_losses,
            "n_breakeven": outcomes.n_breakeven,
            "n_unvalued": outcomes.n_unvalued,
            "win_rate": outcomes.win_rate,
            "profit_factor": outcomes.profit_factor,
            "expectancy": outcomes.expectancy,
            "best": to_float_or_none(best),
            "worst": to_float_or_none(worst),
            "reporting_currency": rates.reporting,
            "currencies": {
                currency: {name: to_float(amount) for name, amount in sums.items()}
                for currency, sums in self._by_currency(rates.reporting).items()
            },
            "unconverted_reason": why_missing(missing, rates.reporting),
        }

    def _in(self, currency: str) -> Money:
        money = self.money.get(currency)
        if money is None:
            money = self.money[currency] = Money()
        return money

    def _by_currency(self, reporting: str) -> dict[str, dict[str, Decimal]]:
        """Returns the sums by currency; those of earlier versions are in the reporting one."""
        found: dict[str, dict[str, Decimal]] = {}
        for currency, money in sorted(self.money.items()):
            sums = found.setdefault(currency or reporting, {})
            for name, amount in (
                ("notional", EXACT.add(money.buy, money.sell)),
                ("commission", money.commission),
                ("realized_pnl", money.realized_pnl),
            ):
                sums[name] = EXACT.add(sums.get(name, ZERO), amount)
        return found

    def _sum(self, rates: Rates, name: str) -> Decimal | None:
        return sum_or_none(
            rates.conversion(currency or rates.reporting).convert(getattr(money, name))
            for currency, money in self.money.items()
        )
