"""How closing fills ended: won, lost or neither, and by how much.

No fill is judged here; whoever has accounted for one brings what it realised, net of its own commission.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ZERO, quotient_or_none


class Outcomes(msgspec.Struct):
    """Counts and sums over closing fills; exact. A break-even counts as a closing fill, but not as won or lost."""

    n_wins: int = 0
    n_losses: int = 0
    n_breakeven: int = 0
    won: Decimal = ZERO
    lost: Decimal = ZERO
    """What the losing ones lost, so never above zero."""
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
        """Wins among wins and losses; None without any."""
        return self.n_wins / self.n_decided if self.n_decided else None

    @property
    def profit_factor(self) -> float | None:
        """What was won per unit lost; None if nothing was lost."""
        return quotient_or_none(self.won, self.lost.copy_abs())

    @property
    def expectancy(self) -> float | None:
        """What a closing fill brings on average, break-evens included; None without any."""
        return quotient_or_none(EXACT.add(self.won, self.lost), Decimal(self.n_closing))
