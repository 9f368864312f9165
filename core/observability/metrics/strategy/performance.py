"""The performance of an account: ratios of its days, outcomes of its round trips, holding time."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from observability.clocks.timestamps import EPOCH
from observability.metrics.arithmetic.decimals import EXACT, ZERO, quotient_or_none, to_float_or_none
from observability.metrics.strategy.returns import DailyReturns, EquityDays, figure
from observability.metrics.trades.stats import Outcomes

NOTHING_CLOSED = "no position was closed, not even in part"
NOTHING_DECIDED = "no round trip has won or lost"
NOTHING_LOST = "no round trip has lost"
NOT_CONVERTED = "a currency of the round trips has no rate into the reporting one"

_NS_PER_S = Decimal(1_000_000_000)

HoldingTime = tuple[Decimal, Decimal]
"""The sum of closed quantity times holding time in nanoseconds, and the closed quantity."""


class Performance:
    """The figures of one account, derived again only when their inputs have changed.

    An outcome is that of a round trip (see `position.py`). Holding time is the average over the closed quantity, from
    the average entry time of the position (entries weighted by quantity, as average cost weights prices) to the closing
    fill, by the events' `ts`; lots are not matched first in, first out.
    """

    __slots__ = ("_days", "_figures", "_key", "_returns")

    def __init__(self, days: EquityDays) -> None:
        self._days = days
        self._returns = DailyReturns(days)
        self._key: tuple[Any, ...] | None = None
        self._figures: dict[str, Any] = {}

    def figures(
        self, outcomes: Outcomes, capital: Decimal | None, annualization: int, risk_free_rate: Decimal = ZERO
    ) -> dict[str, Any]:
        """Returns each figure except holding time as {value, n, reason}; do not modify the result, nor `outcomes`
        afterwards."""
        days = self._days
        key = (outcomes, days.n, days.generation, capital, annualization, risk_free_rate)
        if key != self._key:
            self._key = key
            self._figures = self._derive(outcomes, capital, annualization, risk_free_rate)
        return self._figures

    def to_json(
        self,
        outcomes: Outcomes,
        capital: Decimal | None,
        annualization: int,
        holding: HoldingTime,
        risk_free_rate: Decimal = ZERO,
    ) -> dict[str, Any]:
        """Returns the account's part of the performance document."""
        days = self._days
        held_time, quantity = holding
        seconds = quotient_or_none(held_time, EXACT.multiply(quantity, _NS_PER_S))
        return {
            "starting_capital": to_float_or_none(capital),
            "days": days.n,
            "first_day": None if days.first is None else _date(days.first),
            "last_day": None if days.last is None or not days.n else _date(days.last),
            **self.figures(outcomes, capital, annualization, risk_free_rate),
            "holding_time_seconds": figure(seconds, outcomes.n_closing, None if outcomes.n_closing else NOTHING_CLOSED),
            "n_wins": outcomes.n_wins,
            "n_losses": outcomes.n_losses,
            "n_breakeven": outcomes.n_breakeven,
            "n_unvalued": outcomes.n_unvalued,
        }

    def _derive(
        self, outcomes: Outcomes, capital: Decimal | None, annualization: int, risk_free_rate: Decimal
    ) -> dict[str, Any]:
        n = outcomes.n_closing
        unclosed = None if n else NOTHING_CLOSED
        undecided = unclosed or (None if outcomes.n_decided else NOTHING_DECIDED)
        unknown = unclosed or (NOT_CONVERTED if outcomes.is_unconverted else None)
        best, worst = outcomes.extremes
        return {
            **self._returns.figures(capital, annualization, risk_free_rate),
            "win_rate": figure(outcomes.win_rate, outcomes.n_decided, undecided),
            "profit_factor": figure(
                outcomes.profit_factor, outcomes.n_decided, unknown or (None if outcomes.n_losses else NOTHING_LOST)
            ),
            "expectancy": figure(outcomes.expectancy, n, unknown),
            "best": figure(to_float_or_none(best), n, unknown),
            "worst": figure(to_float_or_none(worst), n, unknown),
        }


def _date(day: int) -> str:
    return (EPOCH + timedelta(days=day)).date().isoformat()
