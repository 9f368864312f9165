"""What a set of trades adds up to: volume, averages, realised P&L, and how many closing fills won or lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ZERO, quotient_or_none, to_float, to_float_or_none


class Outcomes(msgspec.Struct):
    """Counts and exact sums over closing fills, each judged by what it realised net of its own commission. A break-even
    is a closing fill that neither won nor lost."""

    n_wins: int = 0
    n_losses: int = 0
    n_breakeven: int = 0
    won: Decimal = ZERO
    lost: Decimal = ZERO
    """The sum over the losing fills, so never above zero."""
    best: Decimal | None = None
    worst: Decimal | None = None

    def add(self, pnl: Decimal) -> None:
        if pnl > 0:
            self.n_wins += 1
            self.won = EXACT.add(self.won, pnl)
        elif pnl < 0:
            self.n_losses += 1
            self.lost = EXACT.add(self.lost, pnl)
        else:
            self.n_breakeven += 1
        if self.best is None or pnl > self.best:
            self.best = pnl
        if self.worst is None or pnl < self.worst:
            self.worst = pnl

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
        return quotient_or_none(self.won, self.lost.copy_abs())

    @property
    def expectancy(self) -> float | None:
        """The average P&L of a closing fill, break-evens included; None if there are none."""
        return quotient_or_none(EXACT.add(self.won, self.lost), Decimal(self.n_closing))


@dataclass(slots=True)
class SideTotal:
    """Count, quantity and notional of one side."""

    count: int = 0
    volume: Decimal = ZERO
    notional: Decimal = ZERO

    def add(self, quantity: Decimal, price: Decimal) -> None:
        self.count += 1
        self.volume = EXACT.add(self.volume, quantity)
        self.notional = EXACT.add(self.notional, EXACT.multiply(quantity, price))

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "volume": to_float(self.volume), "notional": to_float(self.notional)}


@dataclass(slots=True)
class TradeStats:
    """Sums over trades, exact until they are rounded for JSON.

    `realized_pnl` is net of the commissions of all trades, opening ones included; win rate, expectancy, best and worst
    are over closing trades, each net of its own commission.
    """

    buy: SideTotal = field(default_factory=SideTotal)
    sell: SideTotal = field(default_factory=SideTotal)
    outcomes: Outcomes = field(default_factory=Outcomes)
    commission: Decimal = ZERO
    realized_pnl: Decimal = ZERO

    def add(self, side: str, quantity: Decimal, price: Decimal, commission: Decimal, pnl: Decimal | None) -> None:
        """Adds one trade; `pnl` is None if it closed nothing."""
        (self.buy if side == "buy" else self.sell).add(quantity, price)
        self.commission = EXACT.add(self.commission, commission)
        if pnl is None:
            self.realized_pnl = EXACT.subtract(self.realized_pnl, commission)
            return
        self.realized_pnl = EXACT.add(self.realized_pnl, pnl)
        self.outcomes.add(pnl)

    def to_json(self) -> dict[str, Any]:
        count = self.buy.count + self.sell.count
        volume = EXACT.add(self.buy.volume, self.sell.volume)
        notional = EXACT.add(self.buy.notional, self.sell.notional)
        outcomes = self.outcomes
        return {
            "count": count,
            "volume": to_float(volume),
            "notional": to_float(notional),
            "avg_price": quotient_or_none(notional, volume),
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
