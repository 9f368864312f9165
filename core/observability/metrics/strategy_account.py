"""The account of one strategy: its positions, P&L, fills and signals.

No events' delivery and no bounds here (see `strategy_collector.py`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from observability.core.events import Fill, Signal
from observability.core.timestamps import format_iso_ms
from observability.metrics.json_part import JsonPart
from observability.metrics.money import EXACT, ZERO, to_float
from observability.metrics.position_part import PositionPart
from observability.metrics.positions import signed_quantity
from observability.metrics.sessions import event_time_ns
from observability.metrics.trade_stats import WinCount


class StrategyAccount(JsonPart):
    """Adds up one strategy. Realised P&L is net of fees; a flat position may be forgotten without changing a sum."""

    __slots__ = (
        "anchor",
        "fees",
        "fills",
        "gross_exposure",
        "has_input",
        "last_signal",
        "name",
        "net_exposure",
        "open_positions",
        "positions",
        "realized_gross",
        "signals",
        "unrealized",
        "wins",
    )

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.positions: dict[str, PositionPart] = {}
        self.realized_gross = ZERO
        self.fees = ZERO
        self.fills = 0
        self.signals = 0
        self.last_signal: dict[str, Any] | None = None
        self.wins = WinCount()
        self.anchor = ZERO
        """Total P&L when the session began."""
        # Per tick.
        self.unrealized = ZERO
        self.gross_exposure = ZERO
        self.net_exposure = ZERO
        self.open_positions = 0
        self.has_input = True

    @property
    def realized(self) -> Decimal:
        return EXACT.subtract(self.realized_gross, self.fees)

    @property
    def total(self) -> Decimal:
        return EXACT.add(self.realized, self.unrealized)

    @property
    def daily(self) -> Decimal:
        """P&L since the session began."""
        return EXACT.subtract(self.total, self.anchor)

    def apply(self, fill: Fill, part: PositionPart) -> Decimal | None:
        """Adds one fill to a position of this account; returns what it realised net of its own commission, None if it
        closed nothing."""
        gross = part.apply(signed_quantity(fill), fill.price, fill.commission, fill.ts_init)
        self.fees = EXACT.add(self.fees, fill.commission)
        self.fills += 1
        self.has_input = True
        if gross is None:
            return None
        self.realized_gross = EXACT.add(self.realized_gross, gross)
        pnl = EXACT.subtract(gross, fill.commission)
        self.wins.add(pnl)
        return pnl

    def note_signal(self, event: Signal) -> None:
        """Counts one signal and keeps it as the last."""
        self.signals += 1
        self.last_signal = {
            "symbol": event.symbol,
            "action": event.action,
            "confidence": event.confidence,
            "timestamp": format_iso_ms(event_time_ns(event)),
        }
        self.has_input = True

    def begin_session(self) -> None:
        """Anchors the daily P&L to the total as it is marked now."""
        self.value_positions()
        self.anchor = self.total
        self.has_input = True

    def value_positions(self) -> None:
        """Adds up the positions at the marks they have."""
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

    def refresh(self) -> None:
        """Brings the JSON up to the positions' values."""
        self.value_positions()
        self.has_input = False
        wins = self.wins
        self.offer(
            {
                "total_pnl": to_float(self.total),
                "daily_pnl": to_float(self.daily),
                "realized_pnl": to_float(self.realized),
                "realized_gross_pnl": to_float(self.realized_gross),
                "unrealized_pnl": to_float(self.unrealized),
                "fees": to_float(self.fees),
                "open_positions": self.open_positions,
                "gross_exposure": to_float(self.gross_exposure),
                "net_exposure": to_float(self.net_exposure),
                "fills": self.fills,
                "win_rate": wins.win_rate,
                "n_wins": wins.n_wins,
                "n_losses": wins.n_losses,
                "n_breakeven": wins.n_breakeven,
                "signals": self.signals,
                "last_signal": self.last_signal,
            }
        )
