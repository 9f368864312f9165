"""The account of one strategy: its positions, P&L, fills and signals."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from observability.clocks.timestamps import format_iso_ms
from observability.events import Fill, Signal, event_time_ns
from observability.metrics.arithmetic.decimals import EXACT, ZERO, exact_sum, to_float
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.performance import HoldingTime, Performance
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.strategy.returns import EquityDays
from observability.metrics.strategy.state import AccountState
from observability.metrics.trades.stats import Outcomes
from observability.metrics.trades.trade import Trade
from observability.snapshot.sections import JsonPart


class StrategyAccount(JsonPart):
    """The sums of one strategy. Realised P&L is net of fees; dropping a flat position changes no sum."""

    __slots__ = (
        "_closed_quantity",
        "_complete",
        "_held_time",
        "_outcomes",
        "_outcomes_fills",
        "anchor",
        "days",
        "drawdown",
        "fees",
        "fills",
        "gross_exposure",
        "has_input",
        "income",
        "last_signal",
        "name",
        "net_exposure",
        "open_positions",
        "performance",
        "positions",
        "realized_gross",
        "signals",
        "unrealized",
    )

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.positions: dict[str, PositionPart] = {}
        """By their keys within the account, which are their symbols unless they are sides (`place_of`)."""
        self.realized_gross = ZERO
        self.fees = ZERO
        self.income = ZERO
        """P&L that no fill has made: funding, dividends, interest, ..."""
        self.fills = 0
        self.signals = 0
        self.last_signal: dict[str, Any] | None = None
        self.anchor = ZERO
        """The total P&L when the session began."""
        self.drawdown = Drawdown()
        self.days = EquityDays()
        self.performance = Performance(self.days)
        # Of complete round trips; and of all, after so many fills.
        self._complete = Outcomes()
        self._outcomes = Outcomes()
        self._outcomes_fills = 0
        # Of flat positions that were dropped.
        self._held_time = ZERO
        self._closed_quantity = ZERO
        # Per tick.
        self.unrealized = ZERO
        self.gross_exposure = ZERO
        self.net_exposure = ZERO
        self.open_positions = 0
        self.has_input = True

    def to_state(self) -> AccountState:
        """Returns the state. It shares this account's own objects, so it must be packed at once."""
        return AccountState(
            name=self.name,
            positions=[part.to_state() for part in self.positions.values()],
            realized_gross=self.realized_gross,
            fees=self.fees,
            income=self.income,
            fills=self.fills,
            signals=self.signals,
            last_signal=self.last_signal,
            outcomes=self._complete,
            anchor=self.anchor,
            held_time=self._held_time,
            closed_quantity=self._closed_quantity,
            drawdown=self.drawdown,
            days=self.days.to_state(),
        )

    @classmethod
    def from_state(cls, state: AccountState) -> StrategyAccount:
        """Returns the account of a checkpoint. Raises CheckpointError if its days cannot be read."""
        account = cls(state.name)
        parts = [PositionPart.from_state(state.name, each) for each in state.positions]
        account.positions = {part.place: part for part in parts}
        account.realized_gross, account.fees, account.income = state.realized_gross, state.fees, state.income
        account.fills, account.signals, account.last_signal = state.fills, state.signals, state.last_signal
        account._complete, account.anchor, account.drawdown = state.outcomes, state.anchor, state.drawdown
        account._outcomes_fills = -1
        account._held_time, account._closed_quantity = state.held_time, state.closed_quantity
        account.days = EquityDays.from_state(state.days)
        account.performance = Performance(account.days)
        account.value_positions()
        return account

    @property
    def realized(self) -> Decimal:
        """Realised by fills, net of fees, and earned without any."""
        realized = EXACT.subtract(self.realized_gross, self.fees)
        return EXACT.add(realized, self.income) if self.income else realized

    @property
    def total(self) -> Decimal:
        return EXACT.add(self.realized, self.unrealized)

    @property
    def daily(self) -> Decimal:
        """P&L since the session began."""
        return EXACT.subtract(self.total, self.anchor)

    def apply(self, fill: Fill, trade: Trade, part: PositionPart) -> None:
        """Adds one fill to a position of this account, and writes what it realised into its trade."""
        closing = part.apply(fill, trade)
        self.fees = EXACT.add(self.fees, fill.commission)
        self.fills += 1
        self.has_input = True
        if closing is not None:
            self.realized_gross = EXACT.add(self.realized_gross, closing.gross)
            if closing.is_flat:
                self._complete.add(closing.outcome)

    @property
    def outcomes(self) -> Outcomes:
        """The outcomes of all round trips that have closed anything, with what they have realised so far."""
        if self._outcomes_fills != self.fills:
            self._outcomes_fills = self.fills
            self._outcomes = Outcomes()
            self._outcomes.merge(self._complete)
            for part in self.positions.values():
                if part.position.outcome is not None:
                    self._outcomes.add(part.position.outcome)
        return self._outcomes

    def move(self, unrealized: Decimal, now_ns: int) -> None:
        """Adds the change of a position's unrealised P&L, and observes the equity that results."""
        # hot: once per fill, and per event that moves the mark of an open position (benchmarks/bench_intake.py)
        self.unrealized = EXACT.add(self.unrealized, unrealized)
        self.has_input = True
        self.drawdown.observe(EXACT.add(self.realized, self.unrealized), now_ns)

    def earn(self, amount: Decimal, now_ns: int) -> None:
        """Adds P&L that no fill has made, and observes the equity that results."""
        self.income = EXACT.add(self.income, amount)
        self.move(ZERO, now_ns)

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
        self._held_time = EXACT.add(self._held_time, position.held_time)
        self._closed_quantity = EXACT.add(self._closed_quantity, position.closed_quantity)

    @property
    def holding(self) -> HoldingTime:
        """The holding time of everything closed, dropped positions included."""
        positions = [part.position for part in self.positions.values()]
        return (
            EXACT.add(self._held_time, exact_sum(position.held_time for position in positions)),
            EXACT.add(self._closed_quantity, exact_sum(position.closed_quantity for position in positions)),
        )

    def performance_json(self, capital: Decimal | None, annualization: int) -> dict[str, Any]:
        """Returns this strategy's part of the performance document."""
        figures = self.performance.to_json(self.outcomes, capital, annualization, self.holding)
        return figures | {"drawdown": self.drawdown.to_json()}

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
        unrealized = gross = net = ZERO
        n_open = 0
        for part in self.positions.values():
            if part.position.quantity:
                n_open += 1
                unrealized = EXACT.add(unrealized, part.unrealized)
                gross = EXACT.add(gross, part.value.copy_abs())
                net = EXACT.add(net, part.value)
        self.unrealized = unrealized
        self.gross_exposure = gross
        self.net_exposure = net
        self.open_positions = n_open

    def refresh(self, now_ns: int, capital: Decimal | None) -> None:
        """Updates the JSON from the positions."""
        self.value_positions()
        self.has_input = False
        self.drawdown.set_capital(capital)
        if self.drawdown.peak_ns is not None:
            self.drawdown.observe(self.total, now_ns)
        outcomes = self.outcomes
        self.offer(
            {
                "total_pnl": to_float(self.total),
                "daily_pnl": to_float(self.daily),
                "realized_pnl": to_float(self.realized),
                "realized_gross_pnl": to_float(self.realized_gross),
                "unrealized_pnl": to_float(self.unrealized),
                "fees": to_float(self.fees),
                "income": to_float(self.income),
                "open_positions": self.open_positions,
                "gross_exposure": to_float(self.gross_exposure),
                "net_exposure": to_float(self.net_exposure),
                "drawdown": to_float(self.drawdown.current),
                "max_drawdown": to_float(self.drawdown.maximum),
                "fills": self.fills,
                "win_rate": outcomes.win_rate,
                "n_wins": outcomes.n_wins,
                "n_losses": outcomes.n_losses,
                "n_breakeven": outcomes.n_breakeven,
                "signals": self.signals,
                "last_signal": self.last_signal,
            }
        )
