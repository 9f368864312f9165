"""The market data section in a checkpoint.

Every field but a symbol's name has a default, so that a later version may add some.
"""

from __future__ import annotations

import msgspec

from observability.clocks.timestamps import MAX_NS
from observability.events import Print
from observability.metrics.arithmetic.turnover import TurnoverState
from observability.metrics.market.bars import BarsState
from observability.metrics.market.feed import FeedState
from observability.metrics.market.print_corrections import PrintCorrectionsState
from observability.metrics.market.venues import VenuesState


class SymbolState(msgspec.Struct):
    """One symbol."""

    symbol: str
    bid: float | None = None
    ask: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    last_price: float | None = None
    quote_ns: int = 0
    updated_ns: int = 0
    session_end_ns: int = 0
    calendar: str = ""
    turnover: TurnoverState | None = None
    high: float | None = None
    low: float | None = None
    locked: int = 0
    crossed: int = 0
    spread: float | None = None
    spread_since_ns: int = 0
    spread_time: float = 0.0
    quoted_ns: int = 0
    second_end_ns: int = MAX_NS
    updates: int = 0
    update_seconds: list[int] = []
    bars: BarsState = msgspec.field(default_factory=BarsState)
    feed: FeedState = msgspec.field(default_factory=FeedState)
    quote_arrived_ns: int = 0
    print_ns: int = 0
    print_arrived_ns: int = 0
    late: tuple[int, int] = (0, 0)
    """Quotes and prints that were older than the newest one."""
    ahead: tuple[int, int] = (0, 0)
    """Quotes and prints that were dated ahead."""
    clock_offsets_ns: tuple[int | None, int | None] = (None, None)
    """By how much a clock of the quotes, and of the prints, disagrees."""
    venue_names: tuple[str | None, str | None] = (None, None)
    """The only venue of the quotes, and of the prints."""
    venues: VenuesState | None = None
    """Of a symbol that is traded at several."""


class MarketState(msgspec.Struct):
    """The section. Symbols are in the order in which they appeared."""

    symbols: list[SymbolState] = []
    last_input_ns: int | None = None
    events_refused: int = 0
    refused: list[str] = []
    print_ids: list[Print] = []
    corrections: PrintCorrectionsState = msgspec.field(default_factory=PrintCorrectionsState)
