"""The account of one strategy: its positions, P&L, fills and signals."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import nan
from typing import Any, Final

from observability.clocks.timestamps import format_iso_ms
from observability.events import Fill, Signal, code_of, event_time_ns
from observability.history.standing import StandingSeries
from observability.metrics.arithmetic.decimals import (
    EXACT,
    ZERO,
    ShownDecimal,
    add,
    exact_sum,
    nan_if_none,
    subtract,
    to_float,
    to_float_or_none,
)
from observability.metrics.arithmetic.ledger import AmountsState, Ledger, sum_or_none
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.performance import HoldingTime, Performance
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.strategy.returns import EquityDays
from observability.metrics.strategy.state import AccountState
from observability.metrics.trades.stats import Outcomes, outcomes_in_one
from observability.metrics.trades.trade import Trade
from observability.snapshot.sections import JsonPart

CURVES: Final = "strategies"
"""The section of the history that has a series per strategy."""
MAX_SETTLED: Final = 1_000
"""Round trips that a settlement has ended, whose outcomes are kept for the best and the worst of all."""
CURVE_FIELDS: Final = ("equity", "total_pnl", "realized_pnl", "unrealized_pnl", "drawdown")


class StrategyAccount(JsonPart):
    """The sums of one strategy, by currency. Realised P&L is net of fees; dropping a flat position changes no sum.

    Sums over currencies are in the reporting currency, and None while a rate that they need is missing.
    """

    __slots__ = (
        "_closed_quantity",
        "_complete",
        "_held_time",
        "_outcomes",
        "_outcomes_fills",
        "_outcomes_json",
        "_outcomes_key",
        "_outcomes_shown",
        "_row",
        "_shown_flows",
        "_shown_maximum",
        "anchor",
        "days",
        "drawdown",
        "fills",
        "has_input",
        "last_signal",
        "ledger",
        "name",
        "open_positions",
        "performance",
        "positions",
        "rates",
        "series",
        "settled",
        "signals",
    )

    def __init__(self, name: str, rates: Rates) -> None:
        super().__init__()
        self.name = name
        self.rates = rates
        self.ledger = Ledger(rates)
        self.positions: dict[str, PositionPart] = {}
        """By their keys within the account, which are their symbols unless they are sides (`place_of`)."""
        self.fills = 0
        self.signals = 0
        self.last_signal: dict[str, Any] | None = None
        self.anchor: Decimal | None = ZERO
        """The total P&L when the session began; None if it was not known."""
        self.drawdown = Drawdown()
        self.days = EquityDays()
        self.performance = Performance(self.days)
        # Of complete round trips, by currency; and of all, after so many fills.
        self._complete: dict[str, Outcomes] = {}
        self._outcomes: dict[str, Outcomes] = {}
        self._outcomes_fills = 0
        # Of all in the reporting currency: what they were made of, and what is shown of them.
        self._outcomes_key: tuple[dict[str, Outcomes] | None, int] = (None, 0)
        self._outcomes_shown = Outcomes()
        self._outcomes_json: dict[str, Any] = {}
        self.settled: dict[int, tuple[str, Decimal | None]] = {}
        """The outcome of each round trip that a settlement has ended, which is in no trade, with its currency."""
        # Of flat positions that were dropped.
        self._held_time = ZERO
        self._closed_quantity = ZERO
        # Per tick.
        self.open_positions = 0
        self.has_input = True
        self._shown_flows, self._shown_maximum = ShownDecimal(), ShownDecimal()
        self.series: StandingSeries | None = None
        """Its series of the history, if one is written."""
        self._row: tuple[float, ...] = (nan,) * len(CURVE_FIELDS)

    def to_state(self) -> AccountState:
        """Returns the state. It shares this account's own objects, so it must be packed at once."""
        return AccountState(
            name=self.name,
            positions=[part.to_state() for part in self.positions.values()],
            amounts=self.ledger.to_state(),
            fills=self.fills,
            signals=self.signals,
            last_signal=self.last_signal,
            outcomes_by_currency=self._complete,
            anchor=self.anchor,
            held_time=self._held_time,
            closed_quantity=self._closed_quantity,
            drawdown=self.drawdown,
            days=self.days.to_state(),
            settled=self.settled,
        )

    @classmethod
    def from_state(cls, state: AccountState, rates: Rates) -> StrategyAccount:
        """Returns the account of a checkpoint. Raises CheckpointError if its days cannot be read."""
        account = cls(state.name, rates)
        ledger = account.ledger
        ledger.load_state(
            state.amounts or [AmountsState(rates.reporting, state.realized_gross, state.fees, state.income)]
        )
        parts = [PositionPart.from_state(state.name, each, ledger) for each in state.positions]
        account.positions = {part.place: part for part in parts}
        account.fills, account.signals, account.last_signal = state.fills, state.signals, state.last_signal
        for currency, outcomes in (state.outcomes_by_currency if state.amounts else {"": state.outcomes}).items():
            account._complete.setdefault(code_of(currency) or rates.reporting, Outcomes()).merge(outcomes)
        account.anchor, account.drawdown = state.anchor, state.drawdown
        account._outcomes_fills = -1
        account.settled = state.settled
        account._held_time, account._closed_quantity = state.held_time, state.closed_quantity
        account.days = EquityDays.from_state(state.days)
        account.performance = Performance(account.days)
        account.value_positions()
        return account

    @property
    def realized(self) -> Decimal | None:
        return self.ledger.realized

    @property
    def unrealized(self) -> Decimal | None:
        return self.ledger.unrealized

    @property
    def total(self) -> Decimal | None:
        return self.ledger.total

    @property
    def daily(self) -> Decimal | None:
        """P&L since the session began."""
        total = self.total
        return None if total is None or self.anchor is None else subtract(total, self.anchor)

    def apply(self, fill: Fill, trade: Trade, part: PositionPart) -> tuple[Decimal, Decimal]:
        """Adds one fill to a position of this account, and writes what it realised into its trade. Returns what it
        realised before fees, and the part of its fee that is in the same currency."""
        # hot: once per fill (benchmarks/bench_intake.py)
        closing = part.apply(fill, trade, self.rates)
        amounts = part.amounts
        asset, fee = fill.commission_asset, fill.commission
        if asset and asset != amounts.currency:
            if asset == part.terms.base:
                assert trade.fee_value is not None, "a fee in the base asset has the price of its fill"
                fee = trade.fee_value
            else:
                fee = ZERO
                self.ledger.of(asset).book(ZERO, fill.commission)
        self.fills += 1
        self.has_input = True
        if closing is None:
            amounts.book(ZERO, fee)
            return ZERO, fee
        if closing.is_flat:
            outcomes = self._complete.get(amounts.currency)
            if outcomes is None:
                outcomes = self._complete[amounts.currency] = Outcomes()
            outcomes.add(None if trade.pnl is None else closing.outcome)
        amounts.book(closing.gross, fee)
        return closing.gross, fee

    def replace(self, before: StrategyAccount, after: StrategyAccount) -> bool:
        """Replaces what some fills have made of the sums, which `before` has, by what `after` has. Returns False if the
        best or the worst outcome has to be found again."""
        for currency, gross, fee, income in differences(before, after):
            amounts = self.ledger.of(currency)
            amounts.book(gross, fee)
            if income:
                amounts.earn(income)
        self.fills += after.fills - before.fills
        for trip in before.settled:
            self.settled.pop(trip, None)
        self.settled.update(after.settled)
        self._outcomes_fills = -1
        self.has_input = True
        is_known = True
        for currency in {*before._complete, *after._complete}:
            outcomes = self._complete.setdefault(currency, Outcomes())
            old, new = (each._complete.get(currency) or Outcomes() for each in (before, after))
            is_known &= outcomes.replace(old, new)
            if not (outcomes.n_closing or outcomes.n_unvalued):
                del self._complete[currency]
        return is_known

    @property
    def cash(self) -> dict[str, Decimal]:
        """What was realised by currency, less what the open positions have cost."""
        cash = {currency: amounts.realized for currency, amounts in self.ledger.by_currency.items()}
        for part in self.positions.values():
            if part.position.quantity:
                currency = part.amounts.currency
                cash[currency] = subtract(cash[currency], part.position.open_cost)
        return cash

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever counted, or all of it was taken back."""
        return not (
            self.fills
            or self.signals
            or any(part.position.quantity for part in self.positions.values())
            or not self.ledger.is_empty
        )

    def set_extremes(self, outcomes: Mapping[str, Outcomes]) -> None:
        """Sets the best and the worst outcome of the round trips that are complete, by currency."""
        for currency, complete in self._complete.items():
            found = outcomes.get(currency) or Outcomes()
            complete.best, complete.worst = found.best, found.worst
        self._outcomes_fills = -1
        self.has_input = True

    @property
    def outcomes(self) -> dict[str, Outcomes]:
        """The outcomes of all round trips that have closed anything, by currency, with what they have realised so
        far."""
        if self._outcomes_fills != self.fills:
            self._outcomes_fills = self.fills
            self._outcomes = {}
            for currency, complete in self._complete.items():
                self._outcomes[currency] = Outcomes()
                self._outcomes[currency].merge(complete)
            for part in self.positions.values():
                position = part.position
                if position.outcome is not None:
                    outcomes = self._outcomes.setdefault(part.terms.currency, Outcomes())
                    outcomes.add(None if position.is_unvalued else position.outcome)
        return self._outcomes

    def outcomes_in_one(self) -> Outcomes:
        """Returns the same in the reporting currency: the same object while they stay the same. Do not modify it."""
        # hot: once per account per tick in which something moved (benchmarks/bench_tick.py)
        outcomes, (known, generation) = self.outcomes, self._outcomes_key
        if outcomes is not known or generation != self.rates.generation:
            self._outcomes_key = outcomes, self.rates.generation
            self._outcomes_shown = shown = outcomes_in_one(outcomes, self.rates)
            self._outcomes_json = {
                "win_rate": shown.win_rate,
                "n_wins": shown.n_wins,
                "n_losses": shown.n_losses,
                "n_breakeven": shown.n_breakeven,
            }
        return self._outcomes_shown

    def observe(self, now_ns: int) -> None:
        """Observes the equity that a fill, a mark or a rate has made."""
        # hot: once per fill, and per event that moves the mark of an open position (benchmarks/bench_intake.py)
        self.has_input = True
        ledger = self.ledger
        if ledger.foreign:
            total = ledger.total
            if total is None:
                return
        else:
            own = ledger.own
            total = add(own.realized, own.unrealized)
        self.drawdown.observe(total, now_ns)

    def look(self, now_ns: int) -> None:
        """Observes the equity that a rate has made, unless nothing has been earned yet."""
        self.has_input = True
        total = self.ledger.total
        if total is not None:
            self.drawdown.look(total, now_ns)

    def add_flow(self, day: int, total: Decimal, value: Decimal, now_ns: int, seq: int) -> None:
        """Adds what the booking `seq` pays in or out on a day, in the reporting currency, while the total P&L is
        `total`."""
        self.days.add_flow(day, total, value, seq)
        self.drawdown.add_flow(value, total, now_ns)
        self.has_input = True

    def settle(self, part: PositionPart, price: Decimal, venue: str, ts_ns: int) -> Decimal:
        """Closes a position, or what it holds at one venue, at a price that no fill has made; returns what that
        realises before fees."""
        closing = part.settle(price, venue, ts_ns)
        if closing is None:
            return ZERO
        amounts, position = part.amounts, part.position
        if closing.is_flat:
            outcomes = self._complete.setdefault(amounts.currency, Outcomes())
            outcome = None if position.is_unvalued else closing.outcome
            outcomes.add(outcome)
            if part.round_trip is not None:
                self.settled[part.round_trip] = amounts.currency, outcome
                if len(self.settled) > MAX_SETTLED:
                    del self.settled[next(iter(self.settled))]
        amounts.book(closing.gross, ZERO)
        self._outcomes_fills = -1
        self.has_input = True
        return closing.gross

    def equity(self, capital: Decimal | None) -> Decimal | None:
        """Returns the equity in the reporting currency; None without a capital, or a rate that it needs."""
        return sum_or_none((capital, self.ledger.flows, self.total))

    def add_signal(self, event: Signal) -> None:
        """Counts one signal and keeps it as the last one."""
        self.signals += 1
        self.last_signal = {
            "symbol": event.symbol,
            "action": event.action,
            "confidence": event.confidence,
            "timestamp": format_iso_ms(event_time_ns(event)),
        }
        self.has_input = True

    def drop(self, place: str) -> None:
        """Drops a flat position; its results stay in the account."""
        position = self.positions.pop(place).position
        assert not position.quantity, f"{place} is open"
        self._held_time = add(self._held_time, position.held_time)
        self._closed_quantity = add(self._closed_quantity, position.closed_quantity)

    @property
    def holding(self) -> HoldingTime:
        """The holding time of everything closed, dropped positions included."""
        positions = [part.position for part in self.positions.values()]
        return (
            add(self._held_time, exact_sum(position.held_time for position in positions)),
            add(self._closed_quantity, exact_sum(position.closed_quantity for position in positions)),
        )

    def performance_json(self, capital: Decimal | None, annualization: int, risk_free_rate: Decimal) -> dict[str, Any]:
        """Returns this strategy's part of the performance document."""
        outcomes = self.outcomes_in_one()
        figures = self.performance.to_json(outcomes, capital, annualization, self.holding, risk_free_rate)
        return figures | {"drawdown": self.drawdown.to_json()}

    def begin_path_anew(self) -> None:
        """Forgets what depends on the past values of the P&L."""
        self.drawdown, self.days = Drawdown(), EquityDays()
        self.performance = Performance(self.days)
        self.anchor = self.total

    def begin_session(self) -> None:
        """Anchors the daily P&L to the total P&L at the current marks."""
        self.value_positions()
        self.anchor = self.total
        self.has_input = True

    def close_day(self, day: int, last: int, *, is_gap: bool) -> None:
        """Ends a UTC day, and those without an event up to `last`, with the total P&L at the current marks."""
        self.value_positions()
        self.days.close(day, last, self.total, is_gap=is_gap)

    def value_positions(self) -> None:
        """Adds up the positions at their current marks."""
        # hot: once per account per tick in which it moved (benchmarks/bench_tick.py)
        self.ledger.clear_positions()
        n_open = 0
        add, own = EXACT.add, self.ledger.own
        own_unrealized = own_gross = own_net = ZERO
        for part in self.positions.values():
            if part.position.quantity:
                n_open += 1
                amounts, exposure, unrealized = part.amounts, part.exposure, part.unrealized
                if amounts is own:
                    own_unrealized = add(own_unrealized, unrealized)
                    own_gross = add(own_gross, exposure.copy_abs())
                    own_net = add(own_net, exposure)
                else:
                    amounts.unrealized = add(amounts.unrealized, unrealized)
                    amounts.gross_exposure = add(amounts.gross_exposure, exposure.copy_abs())
                    amounts.net_exposure = add(amounts.net_exposure, exposure)
                if not part.is_paid:
                    amounts.margined = add(amounts.margined, subtract(exposure, unrealized))
        own.unrealized, own.gross_exposure, own.net_exposure = own_unrealized, own_gross, own_net
        self.open_positions = n_open

    def record(self, now_ns: int) -> None:
        """Gives the tick at `now_ns` a row of the history."""
        if self.series is not None:
            self.series.follow(now_ns, self._row)

    def refresh(self, now_ns: int, capital: Decimal | None) -> None:
        """Updates the JSON from the positions."""
        # hot: once per account per tick in which it moved (benchmarks/bench_tick.py)
        self.value_positions()
        self.has_input = False
        self.drawdown.set_capital(capital)
        ledger = self.ledger
        shown = ledger.shown()
        total = ledger.total
        if self.drawdown.peak_ns is not None and total is not None:
            self.drawdown.observe(total, now_ns)
        self.outcomes_in_one()
        equity = None if capital is None else to_float_or_none(self.equity(capital))
        pnl = (shown["total_pnl"], shown["realized_pnl"], shown["unrealized_pnl"])
        fall = None if total is None else to_float(self.drawdown.current)
        self._row = tuple(map(nan_if_none, (equity, *pnl, fall)))
        flows = ledger.flows
        self.offer(
            {
                **shown,
                "daily_pnl": shown["total_pnl"] if self.anchor is ZERO else to_float_or_none(self.daily),
                "external_flows": None if flows is None else self._shown_flows.of(flows),
                "equity": equity,
                "open_positions": self.open_positions,
                "drawdown": fall,
                "max_drawdown": self._shown_maximum.of(self.drawdown.deepest.depth),
                "fills": self.fills,
                **self._outcomes_json,
                "signals": self.signals,
                "last_signal": self.last_signal,
            }
        )


def differences(before: StrategyAccount, after: StrategyAccount) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    """Returns by how much two accounts differ, by currency: in what was realised before fees, in fees and in income."""
    found = []
    for currency in {**before.ledger.by_currency, **after.ledger.by_currency}:
        old, new = before.ledger.of(currency), after.ledger.of(currency)
        change = [subtract(getattr(new, name), getattr(old, name)) for name in ("realized_gross", "fees", "income")]
        if any(change):
            gross, fee, income = change
            found.append((currency, gross, fee, income))
    return found
