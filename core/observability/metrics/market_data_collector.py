"""The market data section: every symbol seen, up to a fixed number of them.

No sums and no derived prices here (see `symbol_state.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from observability.core.bus import Bus, Handler
from observability.core.clock import Clock, EventClock, HostClock
from observability.core.errors import CapacityError, EventError
from observability.core.events import Event, Print, Quote
from observability.core.parts import Group
from observability.core.rings import History
from observability.core.timestamps import NS_PER_S
from observability.metrics.collectors import BusCollector
from observability.metrics.symbol_state import SERIES_FIELDS, SymbolState

logger = logging.getLogger(__name__)

MAX_SYMBOL_LENGTH = 32

# Names of refused symbols that are kept, so that each is logged once; further ones are only counted by event.
MAX_REFUSED_NAMES = 1024


class MarketDataCollector(BusCollector):
    """Keeps the state of each symbol; it appears with its first quote or print, or with `add_symbol`.

    Beyond `max_symbols` (or the history's room) a symbol is refused whole: `symbols_refused` counts the names, of which
    each is logged once, and `events_refused` their events.
    """

    def __init__(
        self,
        *,
        bus: Bus | None = None,
        clock: Clock | None = None,
        history: History | None = None,
        max_symbols: int = 64,
        stale_after_seconds: float = 5.0,
        stale_after_seconds_by_symbol: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__("market_data", bus)
        self.clock: Clock = EventClock(HostClock()) if clock is None else clock
        self.max_symbols = max_symbols
        self.fields: None = None
        self._symbols: dict[str, SymbolState] = {}
        self.groups: tuple[Group, ...] = (Group(None, self._symbols),)
        self.last_input_ns: int | None = None
        self.events_refused = 0
        self._refused: set[str] = set()
        self._history = history
        self._stale_after_seconds = stale_after_seconds
        self._stale_after_seconds_by_symbol = dict(stale_after_seconds_by_symbol or {})

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol tracked, in the order in which they appeared."""
        return tuple(self._symbols)

    @property
    def symbols_refused(self) -> int:
        """Distinct names refused, as far as they are kept (MAX_REFUSED_NAMES)."""
        return len(self._refused)

    def symbol_state(self, symbol: str) -> SymbolState | None:
        """Returns the live state of one symbol, for those who mark positions to it."""
        return self._symbols.get(symbol)

    async def add_symbol(self, symbol: str) -> None:
        """Tracks a symbol before its first event. Raises CapacityError without room, EventError for a bad name."""
        if not 1 <= len(symbol) <= MAX_SYMBOL_LENGTH:
            raise EventError(f"symbol {symbol[:40]!r}: expected 1 to {MAX_SYMBOL_LENGTH} characters")
        if symbol not in self._symbols:
            self._track(symbol)

    async def get_current_metrics(self) -> dict[str, Any]:
        self._update(self.clock.time_ns())
        return {symbol: dict(state.to_json()) for symbol, state in self._symbols.items()}

    def refresh(self, now_ns: int) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        self._update(now_ns)
        for state in self._symbols.values():
            state.record(now_ns)

    def on_quote(self, event: Quote) -> None:
        """Takes the touch over, locked and crossed ones too."""
        # hot: once per quote (benchmarks/bench_intake.py)
        state = self._symbols.get(event.symbol)
        if state is None:
            state = self._admit(event.symbol)
            if state is None:
                return
        bid = event.bid
        ask = event.ask
        now_ns = event.ts_init
        if now_ns >= state.session_end_ns:
            state.turn_session(now_ns)
        state.bid = bid
        state.ask = ask
        state.bid_size = event.bid_size
        state.ask_size = event.ask_size
        state.updated_ns = now_ns
        state.has_input = True
        if bid is not None and ask is not None and bid >= ask:
            if bid > ask:
                state.crossed += 1
            else:
                state.locked += 1

    def on_print(self, event: Print) -> None:
        """Adds one trade of the market to the session."""
        # hot: once per print (benchmarks/bench_intake.py)
        state = self._symbols.get(event.symbol)
        if state is None:
            state = self._admit(event.symbol)
            if state is None:
                return
        price = event.price
        now_ns = event.ts_init
        if now_ns >= state.session_end_ns:
            state.turn_session(now_ns)
        state.turnover.add(price, event.size)
        state.trades += 1
        state.last_price = price
        high = state.high
        if high is None:
            state.high = state.low = price
        elif price > high:
            state.high = price
        elif price < state.low:  # type: ignore[operator]  # set together with high
            state.low = price
        state.updated_ns = now_ns
        state.has_input = True

    def _handlers(self) -> dict[type[Event], Handler]:
        return {Quote: self.on_quote, Print: self.on_print}

    def _update(self, now_ns: int) -> None:
        newest_ns = self.last_input_ns or 0
        for state in self._symbols.values():
            state.refresh(now_ns)
            if state.updated_ns > newest_ns:
                newest_ns = state.updated_ns
        self.last_input_ns = newest_ns or None

    def _admit(self, symbol: str) -> SymbolState | None:
        """Tracks the symbol of an event, or counts its refusal."""
        if symbol not in self._refused:
            try:
                return self._track(symbol)
            except CapacityError as error:
                if len(self._refused) < MAX_REFUSED_NAMES:
                    self._refused.add(symbol)
                    logger.warning("symbol %r is refused: %s", symbol, error)
        self.events_refused += 1
        return None

    def _track(self, symbol: str) -> SymbolState:
        if len(self._symbols) >= self.max_symbols:
            raise CapacityError(f"all {self.max_symbols} symbols are in use")
        series = None if self._history is None else self._history.open(self.name, symbol, SERIES_FIELDS)
        seconds = self._stale_after_seconds_by_symbol.get(symbol, self._stale_after_seconds)
        state = self._symbols[symbol] = SymbolState(symbol, round(seconds * NS_PER_S), series)
        return state
