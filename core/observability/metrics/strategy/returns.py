"""Ratios of daily returns: Sharpe, Sortino and Calmar, each with its sample count and, where undefined, the reason.

No days are kept here (see `equity_days.py`) and no fills (see `outcomes.py`).

The return of a UTC day is equity at its end / equity at its start - 1, with equity = capital + total P&L, so that gains
compound. Days without a change count as zero; the day that still runs does not count. The risk-free rate and the
required return are zero. With r the n returns, A the returns in a year:

    sharpe         mean(r) / std(r) * sqrt(A), std with n - 1 (Sharpe 1966; 1994 for the ex post ratio of differentials)
    sortino        mean(r) / sqrt(sum(min(r, 0)**2) / n) * sqrt(A), over all n, not the losing days alone (Sortino and
                   Price 1994)
    annual_return  (equity at the end / capital) ** (A / n) - 1
    volatility     std(r) * sqrt(A)
    calmar         annual_return / deepest fall of the days' ends from their peak, as a part of it (Young 1991, of the
                   last 36 months; here of all days)

empyrical defines sharpe_ratio, sortino_ratio, annual_return, annual_volatility and calmar_ratio alike.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from observability.metrics.arithmetic.decimals import EXACT, ONE, ROUNDED, ZERO, to_float
from observability.metrics.strategy.capital import NO_CAPITAL
from observability.metrics.strategy.equity_days import EquityDays

TOO_FEW_DAYS = "fewer than 2 days have ended"
NO_DAYS = "no day has ended"
RUINED = "equity was not above zero at the start of a day"
NO_DEVIATION = "all daily returns are equal"
NO_LOSING_DAY = "no day has lost"
NO_FALL = "no day ended below an earlier one"


# Equal returns that do not terminate leave this much of a variance behind, in parts of the sum of squares: the digits
# of ROUNDED, less those that millions of additions cost.
_ROUNDING = Decimal("1e-100")


class DailyReturns:
    """Sums over the returns of one account's days. Each day is added once; another capital begins anew."""

    __slots__ = (
        "_capital",
        "_days",
        "_equity",
        "_fall",
        "_generation",
        "_is_ruined",
        "_n",
        "_n_ends",
        "_peak",
        "_squares",
        "_squares_down",
        "_sum",
    )

    def __init__(self, days: EquityDays) -> None:
        self._days = days
        self._n_ends = 0
        self._restart(None)

    def figures(self, capital: Decimal | None, annualization: int) -> dict[str, dict[str, Any]]:
        """Returns each ratio as {value, n, reason}; `reason` is None where there is a value."""
        self._advance(capital)
        year = Decimal(annualization)
        n = self._n
        fault = NO_CAPITAL if capital is None else RUINED if self._is_ruined else None
        few = fault or (TOO_FEW_DAYS if n < 2 else None)
        variance = self._variance() if few is None else ZERO
        mean = ROUNDED.divide(self._sum, Decimal(n)) if n else ZERO
        annual_return = self._annual_return(year) if fault is None and n else None
        deviation = ROUNDED.sqrt(variance)
        downside = ROUNDED.sqrt(ROUNDED.divide(self._squares_down, Decimal(n))) if n else ZERO
        root = ROUNDED.sqrt(year)
        none = fault or (NO_DAYS if not n else None)
        return {
            "sharpe": _ratio(mean, deviation, root, n, few or (None if deviation else NO_DEVIATION)),
            "sortino": _ratio(mean, downside, root, n, few or (None if downside else NO_LOSING_DAY)),
            "annual_return": _ratio(annual_return or ZERO, ONE, ONE, n, none),
            "volatility": _ratio(deviation, ONE, root, n, few),
            "calmar": _ratio(annual_return or ZERO, self._fall, ONE, n, none or (None if self._fall else NO_FALL)),
        }

    def _advance(self, capital: Decimal | None) -> None:
        days = self._days
        if capital != self._capital or days.generation != self._generation:
            self._restart(capital)
        if capital is None:
            self._n = days.n
            return
        ends = days.days.ends
        for _, total in ends[self._n_ends :]:
            self._add(EXACT.add(capital, total))
        self._n_ends = len(ends)
        # Days without a change add nothing to any sum.
        self._n = days.n

    def _restart(self, capital: Decimal | None) -> None:
        self._capital = capital
        self._generation = self._days.generation
        self._n = 0
        self._n_ends = 0
        self._sum = self._squares = self._squares_down = self._fall = ZERO
        self._equity = self._peak = ZERO if capital is None else EXACT.add(capital, self._days.days.base)
        self._is_ruined = False

    def _add(self, equity: Decimal) -> None:
        before = self._equity
        self._equity = equity
        if before <= 0:
            self._is_ruined = True
            return
        change = ROUNDED.divide(EXACT.subtract(equity, before), before)
        square = ROUNDED.multiply(change, change)
        self._sum = ROUNDED.add(self._sum, change)
        self._squares = ROUNDED.add(self._squares, square)
        if equity >= self._peak:
            self._peak = equity
        if change < 0:
            self._squares_down = ROUNDED.add(self._squares_down, square)
            self._fall = max(self._fall, ROUNDED.divide(EXACT.subtract(self._peak, equity), self._peak))

    def _variance(self) -> Decimal:
        n = Decimal(self._n)
        # No cancellation to fear with 128 digits.
        spread = ROUNDED.subtract(self._squares, ROUNDED.divide(ROUNDED.multiply(self._sum, self._sum), n))
        if spread <= ROUNDED.multiply(self._squares, _ROUNDING):
            return ZERO
        return ROUNDED.divide(spread, ROUNDED.subtract(n, ONE))

    def _annual_return(self, year: Decimal) -> Decimal:
        """A loss of everything, or of more, is a return of -1."""
        assert self._capital is not None
        growth = ROUNDED.divide(self._equity, EXACT.add(self._capital, self._days.days.base))
        if growth <= 0:
            return ONE.copy_negate()
        return ROUNDED.subtract(ROUNDED.power(growth, ROUNDED.divide(year, Decimal(self._n))), ONE)


def figure(value: float | None, n: int, reason: str | None) -> dict[str, Any]:
    """Returns one figure as the wire has it: undefined has a reason, never a number."""
    return {"value": None if reason is not None else value, "n": n, "reason": reason}


def _ratio(numerator: Decimal, denominator: Decimal, factor: Decimal, n: int, reason: str | None) -> dict[str, Any]:
    if reason is not None:
        return figure(None, n, reason)
    return figure(to_float(ROUNDED.multiply(ROUNDED.divide(numerator, denominator), factor)), n, None)
