"""The end of each UTC day, and the ratios of daily returns: Sharpe, Sortino and Calmar.

Each ratio comes with its sample count and, where it is undefined, with the reason. The return of a UTC day is equity at
its end / equity at its start - 1, with equity = capital + total P&L, so that gains compound. Days without a change are
returns of zero; the current day does not count, nor do the days between two runs.

What is paid in or out is no performance, so the return of a day is time-weighted: that of the time until the first
payment, linked with that of the time until the next one, and so on (GIPS 2020, 2.A.21):

    equity     100 ... 110 | deposit of 50: 160 ... 152        (110 / 100) * (152 / 160) - 1 = 4.5 %

With r the n returns, f the risk-free return of a day, (1 + risk-free rate) ** (1 / A) - 1, and A the returns in a year:

    sharpe         mean(r - f) / std(r) * sqrt(A), std with n - 1 (Sharpe 1966; 1994 for the ex post ratio of
                   differentials)
    sortino        mean(r - f) / sqrt(sum(min(r - f, 0)**2) / n) * sqrt(A), over all n, not the losing days alone
                   (Sortino and Price 1994)
    annual_return  product of (1 + r) ** (A / n) - 1; without payments the product is equity at the end / capital
    volatility     std(r) * sqrt(A)
    calmar         annual_return / largest fall of the linked returns at the end of a day from their peak, as a fraction
                   of the peak (Young 1991 takes the last 36 months; here it is all days)

empyrical defines sharpe_ratio, sortino_ratio, annual_return, annual_volatility and calmar_ratio alike, and QuantStats
the risk-free return of a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ONE, ROUNDED, ZERO, exact_sum, to_float
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

# What is paid in or out while the P&L stays the same is one payment. Of more on one day, further ones are refused.
MAX_FLOWS: Final = 10_000

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
    flows: list[tuple[int, Decimal, Decimal]] = []
    base_flows: Decimal = ZERO
    flow_seqs: list[int] = []
    first_seq: int = 0


class EquityDays:
    """The exact total P&L of one account at the end of each UTC day, and when it was what was paid in or out. The
    caller decides when a day has ended."""

    __slots__ = (
        "_packed", "base", "base_flows", "ends", "first", "first_seq", "flow_seqs", "flows", "gaps", "generation",
        "last",
    )  # fmt: skip

    def __init__(self) -> None:
        self.first: int | None = None
        """The day of the first fill; None before it."""
        self.last: int | None = None
        """The last day that has ended; None before the first end."""
        self.base = ZERO
        """The total P&L before `first`."""
        self.ends: list[tuple[int, Decimal]] = []
        """Day and total, without the days whose total is that of the day before and that have no flows."""
        self.flows: list[tuple[int, Decimal, Decimal]] = []
        """Day, total P&L at that moment, and what was paid in (+) or out (-)."""
        self.flow_seqs: list[int] = []
        """The newest booking of each; 0 if an earlier version has recorded it."""
        self.first_seq = 0
        """The fill or booking that began `first`; 0 if an earlier version has recorded it."""
        self.base_flows = ZERO
        """What was paid in before `first`, less what was paid out."""
        self.gaps: list[tuple[int, int]] = []
        """The days between two runs, which do not count: the first of them, and how many they are."""
        self.generation = 0
        """Changes when the oldest days are dropped, when a correction has shifted some, and with a payment before the
        first."""
        self._packed: bytes | None = None

    @property
    def n(self) -> int:
        """How many days have ended, those without a change included, those between two runs not."""
        if self.first is None or self.last is None:
            return 0
        return self.last - self.first + 1 - sum(count for _, count in self.gaps)

    def begin(self, day: int, seq: int = 0) -> None:
        """Records that there was a fill on `day`; only the first one counts."""
        if self.first is None:
            self.first, self.first_seq = day, seq
            self._packed = None

    def has_room(self, day: int) -> bool:
        """Returns whether something more may be paid in or out on `day`."""
        return len(self.flows) < MAX_FLOWS or self.flows[0][0] != day

    def add_flow(self, day: int, total: Decimal, amount: Decimal, seq: int = 0) -> None:
        """Adds what is paid in or out on `day` by the booking `seq`, while the total P&L is `total`."""
        if self.first is None:
            self.base_flows = EXACT.add(self.base_flows, amount)
            self._note_change()
            return
        self._packed = None
        flows = self.flows
        if flows and flows[-1][:2] == (day, total):
            flows[-1] = day, total, EXACT.add(flows[-1][2], amount)
            self.flow_seqs[-1] = seq
            return
        if len(flows) >= MAX_FLOWS:
            # Never days that have not ended.
            self._drop_through(min(flows[MAX_FLOWS // 4][0], day - 1))
        self.flows.append((day, total, amount))
        self.flow_seqs.append(seq)

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
        if total != (ends[-1][1] if ends else self.base) or (self.flows and self.flows[-1][0] == day):
            ends.append((day, total))
        self.last = last
        if len(ends) > MAX_DAYS:
            self._drop_through(ends[MAX_DAYS // 4 - 1][0])
        self._packed = None

    def _drop_through(self, newest: int) -> None:
        """Drops the days up to `newest`."""
        ends = self.ends
        dropped = sum(day <= newest for day, _ in ends)
        if dropped:
            self.base = ends[dropped - 1][1]
        self.base_flows = exact_sum((self.base_flows, *(amount for day, _, amount in self.flows if day <= newest)))
        self.flows = [flow for flow in self.flows if flow[0] > newest]
        del self.flow_seqs[: len(self.flow_seqs) - len(self.flows)]
        self.first, self.first_seq = newest + 1, 0
        self.gaps = [gap for gap in self.gaps if gap[0] >= self.first]
        del ends[:dropped]
        self.generation += 1

    def shift(self, ends: Mapping[int, Decimal], flows: Mapping[int, Decimal]) -> None:
        """Shifts the total P&L at the end of the days `ends`, which are all that have ended since a corrected fill, and
        at the payments `flows`, by their bookings."""
        if self.first is None:
            return
        self.flows = [
            (day, EXACT.add(total, flows.get(seq, ZERO)), amount)
            for (day, total, amount), seq in zip(self.flows, self.flow_seqs, strict=True)
        ]
        unknown = {day for day, _ in self.gaps}
        shifted = sorted(day for day in ends if day >= self.first and day not in unknown)
        if shifted:
            old = [end for end in self.ends if end[0] >= shifted[0]]
            kept = self.ends[: len(self.ends) - len(old)]
            paid = {day for day, _, _ in self.flows}
            before = total = kept[-1][1] if kept else self.base
            for day in shifted:
                while old and old[0][0] <= day:
                    before = old.pop(0)[1]
                now = EXACT.add(before, ends[day])
                if now != total or day in paid:
                    kept.append((day, now))
                total = now
            self.ends = kept
        self._note_change()

    def begin_anew(self, first: int | None, seq: int) -> None:
        """Lets the days begin later, with the fill or booking `seq` on the day `first`, because those before were
        busted; None: they have not begun."""
        if (first, seq) == (self.first, self.first_seq):
            return
        flows, self.flows, flow_seqs, self.flow_seqs = self.flows, [], self.flow_seqs, []
        for flow, flow_seq in zip(flows, flow_seqs, strict=True):
            if first is None or (flow_seq < seq if flow_seq else flow[0] < first):
                self.base_flows = EXACT.add(self.base_flows, flow[2])
            else:
                self.flows.append(flow)
                self.flow_seqs.append(flow_seq)
        paid = {day for day, _, _ in self.flows}
        self.first, self.first_seq = first, seq
        if first is None or (self.last is not None and self.last < first):
            self.last = None
        total, ends = self.base, []
        for day, end in self.ends:
            if first is not None and day >= first and (end != total or day in paid):
                ends.append((day, end))
                total = end
        self.ends = ends
        self.gaps = [
            (max(day, first), day + count - max(day, first))
            for day, count in self.gaps
            if first is not None and day + count > first
        ]
        self._note_change()

    def _note_change(self) -> None:
        self.generation += 1
        self._packed = None

    def to_state(self) -> bytes:
        """Returns a packed `EquityDaysState`; it is packed once a day."""
        if self._packed is None:
            self._packed = pack(
                EquityDaysState(
                    self.first, self.last, self.base, self.ends, self.gaps, self.flows, self.base_flows,
                    self.flow_seqs, self.first_seq,
                )
            )  # fmt: skip
        return self._packed

    @classmethod
    def from_state(cls, packed: bytes) -> EquityDays:
        """Returns the days of a checkpoint; none if `packed` is empty. Raises CheckpointError."""
        days = cls()
        if packed:
            state = unpack(packed, EquityDaysState)
            days.first, days.last, days.base, days.ends = state.first, state.last, state.base, state.ends
            days.gaps, days.flows, days.base_flows = state.gaps, state.flows, state.base_flows
            days.flow_seqs = state.flow_seqs or [0] * len(state.flows)
            days.first_seq = state.first_seq
        return days


class DailyReturns:
    """Sums over the daily returns of one account. Each day is added once; a change of the capital or of the risk-free
    return starts them again."""

    __slots__ = (
        "_capital",
        "_days",
        "_equity",
        "_fall",
        "_flowed",
        "_free",
        "_generation",
        "_is_ruined",
        "_linked",
        "_linked_equity",
        "_n",
        "_n_added",
        "_n_ends",
        "_n_flows",
        "_peak",
        "_squares",
        "_squares_down",
        "_sum",
    )

    def __init__(self, days: EquityDays) -> None:
        self._days = days
        # How many ends and flows are in the sums, and how many returns.
        self._n_ends = 0
        self._n_flows = 0
        self._n_added = 0
        self._restart(None, ZERO)

    def figures(
        self, capital: Decimal | None, annualization: int, risk_free_rate: Decimal = ZERO
    ) -> dict[str, dict[str, Any]]:
        """Returns each ratio as {value, n, reason}; `reason` is None where there is a value. The rate is annual."""
        year = Decimal(annualization)
        self._advance(capital, free_return_of(risk_free_rate, year))
        n = self._n
        fault = NO_CAPITAL if capital is None else RUINED if self._is_ruined else None
        few = fault or (TOO_FEW_DAYS if n < 2 else None)
        variance = self._variance() if few is None else ZERO
        mean = ROUNDED.subtract(ROUNDED.divide(self._sum, Decimal(n)), self._free) if n else ZERO
        annual_return = self._annual_return(year) if fault is None and n else None
        deviation = ROUNDED.sqrt(variance)
        downside = ROUNDED.sqrt(ROUNDED.divide(self._all_squares_down(), Decimal(n))) if n else ZERO
        root = ROUNDED.sqrt(year)
        none = fault or (NO_DAYS if not n else None)
        return {
            "sharpe": _ratio(mean, deviation, root, n, few or (None if deviation else NO_DEVIATION)),
            "sortino": _ratio(mean, downside, root, n, few or (None if downside else NO_LOSING_DAY)),
            "annual_return": _ratio(annual_return or ZERO, ONE, ONE, n, none),
            "volatility": _ratio(deviation, ONE, root, n, few),
            "calmar": _ratio(annual_return or ZERO, self._fall, ONE, n, none or (None if self._fall else NO_FALL)),
        }

    def _advance(self, capital: Decimal | None, free: Decimal) -> None:
        days = self._days
        if capital != self._capital or free != self._free or days.generation != self._generation:
            self._restart(capital, free)
        if capital is None:
            self._n = days.n
            return
        ends = days.ends
        for day, total in ends[self._n_ends :]:
            self._add(day, total, capital)
        self._n_ends = len(ends)
        # Days without a change add nothing to any sum.
        self._n = days.n

    def _restart(self, capital: Decimal | None, free: Decimal) -> None:
        days = self._days
        self._capital = capital
        self._free = free
        self._generation = days.generation
        self._n = self._n_ends = self._n_flows = self._n_added = 0
        self._sum = self._squares = self._squares_down = self._fall = ZERO
        self._flowed = days.base_flows
        self._equity = self._peak = ZERO if capital is None else exact_sum((capital, days.base, days.base_flows))
        # The growth until the last payment, and the equity after it.
        self._linked, self._linked_equity = ONE, self._equity
        self._is_ruined = False

    def _link(self, day: int, capital: Decimal) -> Decimal:
        """Links the times between the payments of a day; returns the growth until the last of them. The peak is scaled
        with the equity."""
        growth = ONE
        flows = self._days.flows
        while self._n_flows < len(flows) and flows[self._n_flows][0] <= day:
            _, total, amount = flows[self._n_flows]
            self._n_flows += 1
            before = exact_sum((capital, self._flowed, total))
            self._flowed = EXACT.add(self._flowed, amount)
            after = EXACT.add(before, amount)
            if before < 0 or (before != self._equity and self._equity <= 0):
                self._is_ruined = True
            elif before != self._equity:
                growth = ROUNDED.multiply(growth, ROUNDED.divide(before, self._equity))
            if self._is_ruined:
                return growth
            if before > 0:
                self._linked = ROUNDED.multiply(self._linked, ROUNDED.divide(before, self._linked_equity))
                self._peak = ROUNDED.divide(ROUNDED.multiply(self._peak, after), before)
            else:
                self._peak = after
            self._equity = self._linked_equity = after
        return growth

    def _add(self, day: int, total: Decimal, capital: Decimal) -> None:
        """Adds the return of a day that has ended with a total P&L."""
        n_flows = self._n_flows
        growth = self._link(day, capital)
        before, equity = self._equity, exact_sum((capital, self._flowed, total))
        self._equity = equity
        self._n_added += 1
        if before <= 0 and (before != equity or n_flows == self._n_flows):
            self._is_ruined = True
        if self._is_ruined:
            return
        if n_flows == self._n_flows:
            change = ROUNDED.divide(EXACT.subtract(equity, before), before)
        elif equity != before:
            change = ROUNDED.subtract(ROUNDED.multiply(growth, ROUNDED.divide(equity, before)), ONE)
        else:
            change = ROUNDED.subtract(growth, ONE)
        self._sum = ROUNDED.add(self._sum, change)
        self._squares = ROUNDED.add(self._squares, ROUNDED.multiply(change, change))
        self._squares_down = ROUNDED.add(self._squares_down, self._square_down(change))
        if equity >= self._peak:
            self._peak = equity
        else:
            self._fall = max(self._fall, ROUNDED.divide(ROUNDED.subtract(self._peak, equity), self._peak))

    def _square_down(self, change: Decimal) -> Decimal:
        excess = ROUNDED.subtract(change, self._free)
        return ROUNDED.multiply(excess, excess) if excess < 0 else ZERO

    def _all_squares_down(self) -> Decimal:
        """Adds the days without a change, which fall short of a risk-free return above zero."""
        unchanged = Decimal(max(self._n - self._n_added, 0))
        return ROUNDED.add(self._squares_down, ROUNDED.multiply(unchanged, self._square_down(ZERO)))

    def _variance(self) -> Decimal:
        n = Decimal(self._n)
        # With the digits of ROUNDED the subtraction cancels none that matter.
        spread = ROUNDED.subtract(self._squares, ROUNDED.divide(ROUNDED.multiply(self._sum, self._sum), n))
        if spread <= ROUNDED.multiply(self._squares, _ROUNDING):
            return ZERO
        return ROUNDED.divide(spread, ROUNDED.subtract(n, ONE))

    def _annual_return(self, year: Decimal) -> Decimal:
        """Returns the annual return; a loss of everything or more is -1."""
        if self._linked_equity <= 0:
            # Everything was paid out, or nothing has been paid in yet.
            growth = self._linked
        else:
            growth = ROUNDED.multiply(self._linked, ROUNDED.divide(self._equity, self._linked_equity))
        if growth <= 0:
            return ONE.copy_negate()
        return ROUNDED.subtract(ROUNDED.power(growth, ROUNDED.divide(year, Decimal(self._n))), ONE)


@lru_cache(maxsize=8)
def free_return_of(annual_rate: Decimal, year: Decimal) -> Decimal:
    """Returns the risk-free return of one of the `year` days that compound to an annual rate."""
    if not annual_rate:
        return ZERO
    return ROUNDED.subtract(ROUNDED.power(ROUNDED.add(ONE, annual_rate), ROUNDED.divide(ONE, year)), ONE)


def figure(value: float | None, n: int, reason: str | None) -> dict[str, Any]:
    """Returns one figure as JSON: an undefined one has a reason and no value."""
    return {"value": None if reason is not None else value, "n": n, "reason": reason}


def _ratio(numerator: Decimal, denominator: Decimal, factor: Decimal, n: int, reason: str | None) -> dict[str, Any]:
    if reason is not None:
        return figure(None, n, reason)
    return figure(to_float(ROUNDED.multiply(ROUNDED.divide(numerator, denominator), factor)), n, None)
