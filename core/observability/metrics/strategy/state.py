"""The strategy section in a checkpoint.

Every field has a default, so that a later version may add some.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from observability.events import Position
from observability.instruments.instrument import Instrument
from observability.metrics.arithmetic.decimals import ZERO
from observability.metrics.arithmetic.ledger import AmountsState
from observability.metrics.arithmetic.rates import Rate
from observability.metrics.market.touch import MarkSource
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.position import AverageCostPosition
from observability.metrics.strategy.position_venues import PositionVenues
from observability.metrics.strategy.symbol_part import SymbolSums
from observability.metrics.trades.position_side import HeldSide
from observability.metrics.trades.stats import Outcomes


class PositionState(msgspec.Struct):
    """A position and the mark it had."""

    symbol: str = ""
    position: AverageCostPosition = msgspec.field(default_factory=AverageCostPosition)
    mark: Decimal = ZERO
    mark_source: MarkSource = "fill"
    mark_ns: int = 0
    updated_ns: int = 0
    round_trip: int | None = None
    venues: PositionVenues = msgspec.field(default_factory=PositionVenues)
    position_side: HeldSide = ""
    currency: str = ""
    """Of its money; empty if an earlier version knew only one."""
    base: str = ""
    is_paid: bool = True
    mark_scale: tuple[Decimal, Decimal] | None = None


class AccountState(msgspec.Struct):
    """One strategy. `outcomes` are those of complete round trips. `days` is a packed `EquityDaysState`, because with
    many strategies the days are most of the state and change only once a day."""

    name: str = ""
    positions: list[PositionState] = []
    realized_gross: Decimal = ZERO
    fees: Decimal = ZERO
    income: Decimal = ZERO
    fills: int = 0
    signals: int = 0
    last_signal: dict[str, Any] | None = None
    outcomes: Outcomes = msgspec.field(default_factory=Outcomes)
    anchor: Decimal | None = ZERO
    held_time: Decimal = ZERO
    closed_quantity: Decimal = ZERO
    drawdown: Drawdown = msgspec.field(default_factory=Drawdown)
    days: bytes = b""
    amounts: list[AmountsState] = []
    """By currency; empty if an earlier version knew only one, whose sums are above."""
    outcomes_by_currency: dict[str, Outcomes] = {}
    settled: dict[int, tuple[str, Decimal | None]] = {}


class StrategyState(msgspec.Struct):
    """The section. Lists are in the order of the dictionaries that they restore; `open` has the positions shown, each
    by its strategy and its key within the account."""

    accounts: list[AccountState] = []
    open: list[tuple[str, str]] = []
    session_end_ns: int | None = None
    day_end_ns: int | None = None
    drawdown: Drawdown = msgspec.field(default_factory=Drawdown)
    days: bytes = b""
    capital: dict[str, Decimal] = {}
    reported_equity: dict[str, Decimal] = {}
    views: list[tuple[str, Position]] = []
    strategies_refused: list[str] = []
    fills_refused: int = 0
    duplicate_fills: int = 0
    last_input_ns: int | None = None
    symbols: list[SymbolSums] = []
    reports_dropped: int = 0
    path_reason: str | None = None
    path_left: list[str] = []
    bookings: dict[str, int] = {}
    """How many of each kind."""
    duplicate_bookings: int = 0
    overclosing_fills: int = 0
    currency: str = ""
    """The reporting currency, of all that names none; empty if an earlier version knew only one."""
    rates: list[Rate] = []
    unassigned: list[AmountsState] = []
    """What was paid in and out for the account as a whole, by currency."""
    instruments: list[Instrument] = []
    """Those that were described."""
    seq: int = 0
    """The newest fill or booking."""
    path: bytes = b""
    """A packed `OpenChunk`; empty if an earlier version kept no path of the equity."""
    closings: bytes = b""
    """A packed `ClosingsState`; empty likewise."""
