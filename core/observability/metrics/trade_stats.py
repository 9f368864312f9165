"""What a set of trades adds up to: volume, averages, realised P&L and how often it was won.

No selection of trades here (see `trade_log.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from observability.metrics.money import EXACT, ROUNDED, ZERO, to_float, to_float_or_none


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
class WinCount:
    """Closing fills by outcome: won, lost, or neither."""

    n_wins: int = 0
    n_losses: int = 0
    n_breakeven: int = 0

    def add(self, pnl: Decimal) -> None:
        if pnl > 0:
            self.n_wins += 1
        elif pnl < 0:
            self.n_losses += 1
        else:
            self.n_breakeven += 1

    @property
    def win_rate(self) -> float | None:
        """Wins among wins and losses; None without any."""
        decided = self.n_wins + self.n_losses
        return self.n_wins / decided if decided else None


@dataclass(slots=True)
class TradeStats:
    """Sums over trades; exact until they leave as JSON.

    `realized_pnl` is net of the commissions of all trades, opening ones included; win rate, expectancy, best and worst
    are over closing trades, each net of its own commission.
    """

    buy: SideTotal = field(default_factory=SideTotal)
    sell: SideTotal = field(default_factory=SideTotal)
    wins: WinCount = field(default_factory=WinCount)
    commission: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    won: Decimal = ZERO
    lost: Decimal = ZERO
    best: Decimal | None = None
    worst: Decimal | None = None

    def add(self, side: str, quantity: Decimal, price: Decimal, commission: Decimal, pnl: Decimal | None) -> None:
        """Adds one trade; `pnl` is None if it closed nothing."""
        (self.buy if side == "buy" else self.sell).add(quantity, price)
        self.commission = EXACT.add(self.commission, commission)
        if pnl is None:
            self.realized_pnl = EXACT.subtract(self.realized_pnl, commission)
            return
        self.realized_pnl = EXACT.add(self.realized_pnl, pnl)
        self.wins.add(pnl)
        if pnl > 0:
            self.won = EXACT.add(self.won, pnl)
        else:
            self.lost = EXACT.add(self.lost, pnl)
        self.best = pnl if self.best is None or pnl > self.best else self.best
        self.worst = pnl if self.worst is None or pnl < self.worst else self.worst

    def to_json(self) -> dict[str, Any]:
        count = self.buy.count + self.sell.count
        volume = EXACT.add(self.buy.volume, self.sell.volume)
        notional = EXACT.add(self.buy.notional, self.sell.notional)
        wins = self.wins
        n_closing = wins.n_wins + wins.n_losses + wins.n_breakeven
        closing_pnl = EXACT.add(self.won, self.lost)
        return {
            "count": count,
            "volume": to_float(volume),
            "notional": to_float(notional),
            "avg_price": _quotient(notional, volume),
            "avg_size": _quotient(volume, Decimal(count)),
            "buy": self.buy.to_json(),
            "sell": self.sell.to_json(),
            "commission": to_float(self.commission),
            "realized_pnl": to_float(self.realized_pnl) if count else None,
            "n_closing": n_closing,
            "n_wins": wins.n_wins,
            "n_losses": wins.n_losses,
            "n_breakeven": wins.n_breakeven,
            "win_rate": wins.win_rate,
            "profit_factor": _quotient(self.won, self.lost.copy_abs()),
            "expectancy": _quotient(closing_pnl, Decimal(n_closing)),
            "best": to_float_or_none(self.best),
            "worst": to_float_or_none(self.worst),
        }


def _quotient(numerator: Decimal, denominator: Decimal) -> float | None:
    """Returns the nearest double, None for a division by zero: it is undefined, not infinite."""
    return to_float(ROUNDED.divide(numerator, denominator)) if denominator else None
