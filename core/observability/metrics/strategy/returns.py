"""The end of each UTC day, and the ratios of daily returns: Sharpe, Sortino and Calmar.

Each ratio comes with its sample count and, where it is undefined, with the reason. The return of a UTC day is equity at
its end / equity at its start - 1, with equity = capital + total P&L, so that gains compound. Days without a change are
returns of zero; the current day does not count, nor do the days between two runs. The risk-free rate and the required
return are zero. With r the n returns and A the returns in a year:

    sharpe         mean(r) / std(r) * sqrt(A), std with n - 1 (Sharpe 1966; 1994 for the ex post ratio of differentials)
    sortino        mean(r) / sqrt(sum(min(r, 0)**2) / n) * sqrt(A), over all n, not the losing days alone (Sortino and
                   Price 1994)
    annual_return  (equity at the end / capital) ** (A / n) - 1
    volatility     std(r) * sqrt(A)
    calmar         annual_return / largest fall of the equity at the end of a day from its peak, as a fraction of the
                   peak (Young 1991 takes the last 36 months; here it is all days)

empyrical defines sharpe_ratio, sortino_ratio, annual_return, annual_volatility and calmar_ratio alike.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ONE, ROUNDED, ZERO, to_float
from observability.metrics.strategy.capital import NO_CAPITAL
from observability.store.checkpoint import pack, unpack

TOO_FEW_DAYS = "fewer than 2 days have ended"
NO_DAYS = "no day has ended"
RUINED = "equity was not above zero at the start of a day"
NO_DEVIATION = "all daily returns are equal"
NO_LOSING_DAY = "no day has lost"
NO_FALL = "no day ended below an earlier one"


# Ten years. Beyond that, the oldest quarter is dropped at once, so that the sums over the days rarely start again.
MAX_DAYS: Final = 3_660

# Equal returns that no decimal represents exactly leave a variance of up to this fraction of the sum of squares: the
# digits of ROUNDED, minus those lost in millions of additions.
_ROUNDING = Decimal("1e-100")


class EquityDaysState(msgspec.Struct):
    """The days in a checkpoint, numbered from the epoch."""

    first: int | None = None
    last: int | None = None
    base: Decimal = ZERO
    ends: list[tuple[int, Decimal]] = []
    gaps: list[tuple[int, int]] = []


class EquityDays:
    """The exact total P&L of one account at the end of each UTC day. The caller decides when a day has ended."""

    __slots__ = ("_packed", "base", "ends", "first", "gaps", "generation", "last")

    def __init__(self) -> None:
        self.first: int | None = None
        """The day of the first fill; None before it."""
        self.last: int | None = None
        """The last day that has ended; None before the first end."""
        self.base = ZERO
        """The total P&L before `first`."""
        self.ends: list[tuple[int, Decimal]] = []
        """Day and total, without the days whose total is that of the day before."""
        self.gaps: list[tuple[int, int]] = []
        """The days between two runs, which do not count: the first of them, and how many they are."""
        self.generation = 0
        """Changes when the oldest days are dropped."""
        self._packed: bytes | None = None

    @property
    def n(self) -> int:
        """How many days have ended, those without a change included, those between two runs not."""
        if self.first is None or self.last is None:
            return 0
        return self.last - self.first + 1 - sum(count for _, count in self.gaps)

    def begin(self, day: int) -> None:
        """Records that there was a fill on `day`; only the first one counts."""
        if self.first is None:
            self.first = day
            self._packed = None

    def close(self, day: int, last: int, total: Decimal | None, *, is_gap: bool = False) -> None:
        """Ends `day` with `total`, which stayed the same until the end of `last`. With `is_gap` nothing ran on the days
        after `day`, and they do not count; nor do all of them if the total is not known, for want of a rate."""
        if self.first is None:
            return
        if total is None:
            self.gaps.append((day, last - day + 1))
            self.last = last
            self._packed = None
            return
        if is_gap and last > day:
            self.gaps.append((day + 1, last - day))
        ends = self.ends
        if total != (ends[-1][1] if ends else self.base):
            ends.append((day, total))
        self.last = last
        if len(ends) > MAX_DAYS:
            dropped = MAX_DAYS // 4
            newest, self.base = ends[dropped - 1]
            self.first = newest + 1
            self.gaps = [gap for gap in self.gaps if gap[0] >= self.first]
            del ends[:dropped]
            self.generation += 1
        self._packed = None

    def to_state(self) -> bytes:
        """Returns a packed `EquityDaysState`; it is packed once a day."""
        if self._packed is None:
            self._packed = pack(EquityDaysState(self.first, self.last, self.base, self.ends, self.gaps))
        return self._packed

    @classmethod
    def from_state(cls, packed: bytes) -> EquityDays:
        """Returns the days of a checkpoint; none if `packed` is empty. Raises CheckpointError."""
        days = cls()
        if packed:
            state = unpack(packed, EquityDaysState)
            days.first, days.last, days.base, days.ends = state.first, state.last, state.base, state.ends
            days.gaps = state.gaps
        return days


class DailyReturns:
    """Sums over the daily returns of one account. Each day is added once; a change of the capital starts them again."""

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
        ends = days.ends
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
        self._equity = self._peak = ZERO if capital is None else EXACT.add(capital, self._days.base)
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
        # With the digits of ROUNDED the subtraction cancels none that matter.
        spread = ROUNDED.subtract(self._squares, ROUNDED.divide(ROUNDED.multiply(self._sum, self._sum), n))
        if spread <= ROUNDED.multiply(self._squares, _ROUNDING):
            return ZERO
        return ROUNDED.divide(spread, ROUNDED.subtract(n, ONE))

    def _annual_return(self, year: Decimal) -> Decimal:
        """Returns the annual return; a loss of everything or more is -1."""
        assert self._capital is not None
        growth = ROUNDED.divide(self._equity, EXACT.add(self._capital, self._days.base))
        if growth <= 0:
            return ONE.copy_negate()
        return ROUNDED.subtract(ROUNDED.power(growth, ROUNDED.divide(year, Decimal(self._n))), ONE)


def figure(value: float | None, n: int, reason: str | None) -> dict[str, Any]:
    """Returns one figure as JSON: an undefined one has a reason and no value."""
    return {"value": None if reason is not None else value, "n": n, "reason": reason}


def _ratio(numerator: Decimal, denominator: Decimal, factor: Decimal, n: int, reason: str | None) -> dict[str, Any]:
    if reason is not None:
        return figure(None, n, reason)
    return figure(to_float(ROUNDED.multiply(ROUNDED.divide(numerator, denominator), factor)), n, None)
