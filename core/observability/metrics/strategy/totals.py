"""All strategies together: sums, drawdown and days of the whole account, as the snapshot shows them."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any

from observability.clocks.timestamps import iso_or_none
from observability.metrics.arithmetic.decimals import (
    ZERO,
    add,
    exact_sum,
    nan_if_none,
    subtract,
    to_float,
    to_float_or_none,
)
from observability.metrics.arithmetic.ledger import Amounts, Ledger, sum_or_none
from observability.metrics.arithmetic.rates import Conversion, Rates
from observability.metrics.strategy.account import StrategyAccount
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.performance import HoldingTime, Performance
from observability.metrics.strategy.returns import EquityDays
from observability.metrics.strategy.state import StrategyState
from observability.metrics.trades.stats import Outcomes

Accounts = Collection[StrategyAccount]

SERIES_FIELDS = (
    "total_pnl", "daily_pnl", "realized_pnl", "unrealized_pnl", "gross_exposure", "net_exposure", "drawdown",
    "equity",
)  # fmt: skip


class StrategyTotals:
    """The data of the whole account that its strategies' accounts do not have."""

    __slots__ = (
        "_anchors", "_booked", "_elsewhere", "_merged", "_outcomes", "_own", "_sum_of_anchors", "annualization", "days",
        "drawdown", "ledger", "performance", "rates", "risk_free_rate", "row", "unassigned",
    )  # fmt: skip

    def __init__(self, annualization: int, rates: Rates, risk_free_rate: Decimal = ZERO) -> None:
        self.annualization = annualization
        self.risk_free_rate = risk_free_rate
        self.rates = rates
        self.row: tuple[float, ...] = (0.0,) * len(SERIES_FIELDS)
        """One row of history, with the columns SERIES_FIELDS."""
        self.ledger = Ledger(rates)
        """The sums of all accounts as of the newest tick."""
        self.unassigned = Ledger(rates)
        """What was paid in and out for the account as a whole, by currency."""
        # The total P&L of now: in the reporting currency, and in others.
        self._own = ZERO
        self._elsewhere: dict[Conversion, Decimal] = {}
        self.drawdown = Drawdown()
        self.days = EquityDays()
        self.performance = Performance(self.days)
        # What the sums of the newest tick were made of, account by account: they are made again once one has changed.
        self._booked: list[tuple[Decimal, ...]] | None = None
        self._merged: list[Outcomes] = []
        self._outcomes = Outcomes()
        self._anchors: list[Decimal | None] = []
        self._sum_of_anchors: Decimal | None = ZERO

    @classmethod
    def from_state(
        cls, annualization: int, rates: Rates, risk_free_rate: Decimal, state: StrategyState
    ) -> StrategyTotals:
        """Returns the totals of a checkpoint. Raises CheckpointError if its days cannot be read."""
        totals = cls(annualization, rates, risk_free_rate)
        totals.unassigned.load_state(state.unassigned)
        totals.drawdown = state.drawdown
        totals.days = EquityDays.from_state(state.days)
        totals.performance = Performance(totals.days)
        return totals

    @property
    def total(self) -> Decimal | None:
        """The total P&L of all accounts, at the newest marks and rates."""
        total = self._own
        for conversion, amount in self._elsewhere.items():
            converted = conversion.convert(amount)
            if converted is None:
                return None
            total = add(total, converted)
        return total

    def move(self, amounts: Amounts, change: Decimal) -> None:
        """Adds a change of the P&L in the currency of `amounts`, which are an account's."""
        # hot: once per fill, and per event that moves the mark of an open position (benchmarks/bench_intake.py)
        conversion = amounts.conversion
        if conversion is self.ledger.own.conversion:
            self._own = add(self._own, change)
        else:
            self._elsewhere[conversion] = add(self._elsewhere.get(conversion, ZERO), change)

    def observe(self, now_ns: int) -> None:
        """Observes the equity that a fill or booking has made; the first one begins the drawdown."""
        total = self.total if self._elsewhere else self._own
        if total is not None:
            self.drawdown.observe(total, now_ns)

    def look(self, now_ns: int) -> None:
        """Observes the equity that a mark or a rate has made, unless nothing has been earned yet."""
        total = self.total if self._elsewhere else self._own
        if total is not None:
            self.drawdown.look(total, now_ns)

    def begin_path_anew(self) -> None:
        """Forgets what depends on the past values of the P&L."""
        self.drawdown, self.days = Drawdown(), EquityDays()
        self.performance = Performance(self.days)

    def add_up(self, accounts: Accounts) -> None:
        """Makes the sums those of the accounts."""
        self._booked = None
        ledger = self.ledger
        ledger.set_sum((*(account.ledger for account in accounts), self.unassigned))
        self._own = ledger.own.total
        self._elsewhere = {each.conversion: each.total for each in ledger.foreign}

    def _add_up_moved(self, accounts: Accounts) -> None:
        """Does the same, in less time if nothing was booked since the tick before."""
        # hot: once per tick in which something moved (benchmarks/bench_tick.py)
        ledger = self.ledger
        ledgers = [account.ledger for account in accounts]
        is_one = not (self.unassigned.foreign or ledger.foreign or any(each.foreign for each in ledgers))
        booked = [each.own.booked() for each in (*ledgers, self.unassigned)] if is_one else None
        if booked is None or booked != self._booked:
            self.add_up(accounts)
            self._booked = booked
            return
        ledger.set_marked_sum(ledgers)
        self._own = ledger.own.total

    def _daily(self, accounts: Accounts) -> Decimal | None:
        """Returns the P&L of all accounts since the session began; None if one of them is not known."""
        # hot: once per tick in which something moved (benchmarks/bench_tick.py)
        if self._booked is None:
            return sum_or_none(account.daily for account in accounts)
        anchors = [account.anchor for account in accounts]
        if anchors != self._anchors:
            self._anchors, self._sum_of_anchors = anchors, sum_or_none(anchors)
        before = self._sum_of_anchors
        return None if before is None else subtract(self._own, before)

    def _outcomes_of(self, accounts: Accounts) -> Outcomes:
        """Returns the outcomes of the round trips of all accounts, in the reporting currency; do not modify them."""
        # hot: once per tick in which something moved (benchmarks/bench_tick.py)
        merged = [account.outcomes_in_one() for account in accounts]
        if merged != self._merged:
            self._merged, self._outcomes = merged, Outcomes()
            for each in merged:
                self._outcomes.merge(each)
        return self._outcomes

    def add_flow(self, day: int, total: Decimal, value: Decimal, now_ns: int, seq: int) -> None:
        """Adds what the booking `seq` pays in or out on a day, in the reporting currency, while the total P&L is
        `total`."""
        self.days.add_flow(day, total, value, seq)
        self.drawdown.add_flow(value, total, now_ns)

    def close_day(self, day: int, last: int, accounts: Accounts, *, is_gap: bool) -> None:
        """Ends a UTC day, and those without an event up to `last`, in every account and in total."""
        for account in accounts:
            account.close_day(day, last, is_gap=is_gap)
        self.add_up(accounts)
        self.days.close(day, last, self.total, is_gap=is_gap)

    def derive(self, accounts: Accounts, capital: Decimal | None, now_ns: int) -> dict[str, Any]:
        """Returns the sums and the figures derived from them; brings drawdown and `row` up to `now_ns`."""
        # hot: once per tick in which something moved (benchmarks/bench_tick.py)
        self._add_up_moved(accounts)
        ledger = self.ledger
        total = ledger.total
        drawdown = self.drawdown
        drawdown.set_capital(capital)
        fills = sum([account.fills for account in accounts])
        if drawdown.peak_ns is not None and total is not None:
            drawdown.observe(total, now_ns)
        flows = ledger.flows
        equity = None if capital is None else sum_or_none((capital, flows, total))
        shown = ledger.shown() | {
            "equity": to_float_or_none(equity),
            "daily_pnl": to_float_or_none(self._daily(accounts)),
            "drawdown": None if total is None else to_float(drawdown.current),
        }
        self.row = tuple(nan_if_none(shown[name]) for name in SERIES_FIELDS)
        deepest = drawdown.deepest
        outcomes = self._outcomes_of(accounts)
        figures = self.performance.figures(outcomes, capital, self.annualization, self.risk_free_rate)
        return {
            **shown,
            "open_positions": sum([account.open_positions for account in accounts]),
            "reporting_currency": ledger.reporting,
            "starting_capital": to_float_or_none(capital),
            "external_flows": to_float_or_none(flows),
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
            "signals": sum([account.signals for account in accounts]),
            "fills": fills,
        }

    def to_json(self, accounts: Accounts, capital: Decimal | None) -> dict[str, Any]:
        """Returns the whole account's part of the performance document."""
        holdings = [account.holding for account in accounts]
        holding: HoldingTime = (
            exact_sum(held_time for held_time, _ in holdings),
            exact_sum(quantity for _, quantity in holdings),
        )
        figures = self.performance.to_json(
            self._outcomes_of(accounts), capital, self.annualization, holding, self.risk_free_rate
        )
        return figures | {"drawdown": self.drawdown.to_json()}


def earned_by(accounts: Accounts) -> Decimal | None:
    """Returns the current total P&L of the accounts, including fills since the last tick; None without a rate that it
    needs."""
    for account in accounts:
        account.value_positions()
    return sum_or_none(account.total for account in accounts)
