"""All strategies together: sums, drawdown and days of the whole account, as the snapshot shows them."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any

from observability.clocks.timestamps import iso_or_none
from observability.metrics.arithmetic.decimals import EXACT, ZERO, exact_sum, to_float, to_float_or_none
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.performance import HoldingTime, Performance
from observability.metrics.strategy.returns import EquityDays
from observability.metrics.strategy.state import StrategyState
from observability.metrics.trades.stats import Outcomes

Accounts = Collection[StrategyAccount]

SERIES_FIELDS = (
    "total_pnl", "daily_pnl", "realized_pnl", "unrealized_pnl", "gross_exposure", "net_exposure", "drawdown"
)  # fmt: skip


class StrategyTotals:
    """The data of the whole account that its strategies' accounts do not have."""

    __slots__ = ("annualization", "days", "drawdown", "performance", "row", "total")

    def __init__(self, annualization: int) -> None:
        self.annualization = annualization
        self.row: tuple[float, ...] = (0.0,) * len(SERIES_FIELDS)
        """One row of history, with the columns SERIES_FIELDS."""
        self.total = ZERO
        """The total P&L of all accounts, at the newest marks."""
        self.drawdown = Drawdown()
        self.days = EquityDays()
        self.performance = Performance(self.days)

    @classmethod
    def from_state(cls, annualization: int, state: StrategyState) -> StrategyTotals:
        """Returns the totals of a checkpoint. Raises CheckpointError if its days cannot be read."""
        totals = cls(annualization)
        totals.drawdown = state.drawdown
        totals.days = EquityDays.from_state(state.days)
        totals.performance = Performance(totals.days)
        return totals

    def move(self, change: Decimal, now_ns: int) -> None:
        """Adds a change of the total P&L, and observes the equity that results."""
        # hot: once per fill, and per event that moves the mark of an open position (benchmarks/bench_intake.py)
        self.total = EXACT.add(self.total, change)
        self.drawdown.observe(self.total, now_ns)

    def close_day(self, day: int, last: int, accounts: Accounts, *, is_gap: bool) -> None:
        """Ends a UTC day, and those without an event up to `last`, in every account and in total."""
        for account in accounts:
            account.close_day(day, last, is_gap=is_gap)
        self.days.close(day, last, exact_sum(account.total for account in accounts), is_gap=is_gap)

    def derive(self, accounts: Accounts, capital: Decimal | None, now_ns: int) -> dict[str, Any]:
        """Returns the sums and the figures derived from them; brings drawdown and `row` up to `now_ns`."""
        # hot: once per tick in which something moved (benchmarks/bench_tick.py)
        self.total = total = exact_sum(account.total for account in accounts)
        drawdown = self.drawdown
        drawdown.set_capital(capital)
        fills = sum(account.fills for account in accounts)
        if drawdown.peak_ns is not None:
            drawdown.observe(total, now_ns)
        exact = (
            total,
            exact_sum(account.daily for account in accounts),
            exact_sum(account.realized for account in accounts),
            exact_sum(account.unrealized for account in accounts),
            exact_sum(account.gross_exposure for account in accounts),
            exact_sum(account.net_exposure for account in accounts),
            drawdown.current,
        )
        self.row = row = tuple(map(to_float, exact))
        deepest = drawdown.deepest
        outcomes = outcomes_of(accounts)
        figures = self.performance.figures(outcomes, capital, self.annualization)
        return {
            "total_pnl": row[0],
            "daily_pnl": row[1],
            "realized_pnl": row[2],
            "realized_gross_pnl": to_float(exact_sum(account.realized_gross for account in accounts)),
            "unrealized_pnl": row[3],
            "fees": to_float(exact_sum(account.fees for account in accounts)),
            "income": to_float(exact_sum(account.income for account in accounts)),
            "open_positions": sum(account.open_positions for account in accounts),
            "gross_exposure": row[4],
            "net_exposure": row[5],
            "starting_capital": to_float_or_none(capital),
            "equity": None if capital is None else to_float(EXACT.add(capital, total)),
            "drawdown": row[6],
            "max_drawdown": to_float(drawdown.maximum),
            "drawdown_pct": to_float_or_none(drawdown.current_pct()),
            "max_drawdown_pct": to_float_or_none(drawdown.maximum_pct()),
            "drawdown_peak_time": iso_or_none(drawdown.peak_ns),
            "max_drawdown_peak_time": iso_or_none(deepest.peak_ns),
            "max_drawdown_trough_time": iso_or_none(deepest.trough_ns),
            "max_drawdown_recovered_time": iso_or_none(deepest.recovered_ns),
            "sharpe": figures["sharpe"]["value"],
            "sortino": figures["sortino"]["value"],
            "n_days": self.days.n,
            "win_rate": outcomes.win_rate,
            "profit_factor": outcomes.profit_factor,
            "expectancy": outcomes.expectancy,
            "n_closing": outcomes.n_closing,
            "signals": sum(account.signals for account in accounts),
            "fills": fills,
        }

    def to_json(self, accounts: Accounts, capital: Decimal | None) -> dict[str, Any]:
        """Returns the whole account's part of the performance document."""
        holdings = [account.holding for account in accounts]
        holding: HoldingTime = (
            exact_sum(held_time for held_time, _ in holdings),
            exact_sum(quantity for _, quantity in holdings),
        )
        figures = self.performance.to_json(outcomes_of(accounts), capital, self.annualization, holding)
        return figures | {"drawdown": self.drawdown.to_json()}


def outcomes_of(accounts: Accounts) -> Outcomes:
    """Returns the outcomes of the round trips of all accounts."""
    outcomes = Outcomes()
    for account in accounts:
        outcomes.merge(account.outcomes)
    return outcomes


def earned_by(accounts: Accounts) -> Decimal:
    """Returns the current total P&L of the accounts, including fills since the last tick."""
    for account in accounts:
        account.value_positions()
    return exact_sum(account.total for account in accounts)
