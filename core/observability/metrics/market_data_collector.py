"""The market data section: every symbol seen, up to a fixed number of them.

No sums and no derived prices here (see `symbol_state.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from observability.bus import Bus, Handler
from observability.clocks.clock import Clock, EventClock, HostClock
from observability.clocks.timestamps import NS_PER_S
from observability.errors import CapacityError, EventError
from observability.events import MAX_SYMBOL_LENGTH, Event, Print, Quote
from observability.history.history import History
from observability.metrics.arithmetic.sessions import session_end_ns
from observability.metrics.collectors import BusCollector
from observability.metrics.market.bar_table import BARS, Bar, BarRing
from observability.metrics.market.bar_table import FIELDS as BAR_FIELDS
from observability.metrics.market.symbol_state import SERIES_FIELDS, Follower, SymbolRecord, SymbolState, SymbolTerms
from observability.snapshot.sections import Group
from observability.store.checkpoint import pack, unpack

logger = logging.getLogger(__name__)

# Names of refused symbols that are kept, so that each is logged once; further ones are only counted by event.
MAX_REFUSED_NAMES = 1024


class MarketState(msgspec.Struct):
    """The collector in a checkpoint."""

    symbols: list[SymbolRecord] = []
    last_input_ns: int | None = None
    events_refused: int = 0
    refused: list[str] = []


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
        feed_window_seconds: float = 60.0,
        session_end_ns: Callable[[int], int] = session_end_ns,
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
        self._followers: dict[str, Follower] = {}
        self._history = history
        self._stale_after_seconds = stale_after_seconds
        self._stale_after_seconds_by_symbol = dict(stale_after_seconds_by_symbol or {})
        self._feed_window_seconds = feed_window_seconds
        self._session_end_ns = session_end_ns
        self._bar_listeners: list[Callable[[str, Bar], None]] = []

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol tracked, in the order in which they appeared."""
        return tuple(self._symbols)

    @property
    def symbols_refused(self) -> int:
        """Distinct names refused, as far as they are kept (MAX_REFUSED_NAMES)."""
        return len(self._refused)

    @property
    def late_prints(self) -> int:
        """Prints that are in no bar, because they came too late for theirs or were dated far ahead of their arrival."""
        return sum(state.bars.late_prints for state in self._symbols.values())

    def add_bar_listener(self, listener: Callable[[str, Bar], None]) -> None:
        """Calls `listener` with a symbol and its 1-minute bar when that is finished, and again when it was amended:
        within the tick, or within a print that leaves no more time for it."""
        self._bar_listeners.append(listener)

    def bars(self, symbol: str, start_ns: int, end_ns: int) -> Iterator[Bar]:
        """Yields the symbol's finished 1-minute bars that begin in start_ns <= t < end_ns, oldest first, as far as they
        are of the last 24 hours and of this process, or of one before it whose history goes on."""
        state = self._symbols.get(symbol)
        return iter(()) if state is None else state.bars.copy_bars(start_ns, end_ns)

    def symbol_state(self, symbol: str) -> SymbolState | None:
        """Returns the live state of one symbol, for those who mark positions to it."""
        return self._symbols.get(symbol)

    def stale_after_ns(self, symbol: str) -> int:
        """Returns how long a touch of the symbol may stand, also before it is tracked."""
        return round(self._stale_after_seconds_by_symbol.get(symbol, self._stale_after_seconds) * NS_PER_S)

    def follow(self, symbol: str, follower: Follower) -> None:
        """Shows `follower` what comes of a symbol from now on, in place of an earlier one; also before it is tracked.
        Whoever follows bounds the number of symbols."""
        self._followers[symbol] = follower
        state = self._symbols.get(symbol)
        if state is not None:
            state.follower = follower

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
        ts_ns: Any = event.ts
        if now_ns >= state.turn_ns:
            state.turn(now_ns)
        if ts_ns.__class__ is not int:
            ts_ns = now_ns
        offset_ns = now_ns - ts_ns
        if offset_ns and now_ns:
            state.note_offset(offset_ns)
        state.bid = bid
        state.ask = ask
        state.bid_size = event.bid_size
        state.ask_size = event.ask_size
        state.updated_ns = now_ns
        state.updates += 1
        state.has_input = True
        spread = None if bid is None or ask is None else ask - bid
        # Most quotes change a size only.
        if spread != state.spread:
            state.change_spread(spread, ts_ns)
        state.quote_ns = ts_ns
        if spread is not None and spread <= 0.0:
            if spread < 0.0:
                state.crossed += 1
            else:
                state.locked += 1
        follower = state.follower
        if follower is not None:
            follower.on_quote(event)

    def on_print(self, event: Print) -> None:
        """Adds one trade of the market to the session and to its bar."""
        # hot: once per print (benchmarks/bench_intake.py)
        state = self._symbols.get(event.symbol)
        if state is None:
            state = self._admit(event.symbol)
            if state is None:
                return
        price = event.price
        now_ns = event.ts_init
        ts_ns: Any = event.ts
        if now_ns >= state.turn_ns:
            state.turn(now_ns)
        if ts_ns.__class__ is not int:
            ts_ns = now_ns
        offset_ns = now_ns - ts_ns
        if offset_ns and now_ns:
            state.note_offset(offset_ns)
        bar = state.bars.current
        if bar.last_ns <= ts_ns < bar.end_ns:
            state.turnover.add(price, event.size, event.aggressor_side)
            bar.last_ns = ts_ns
            bar.close = price
            # All of a bar's prints are of one session, so what is inside the bar is inside the session.
            if price > bar.high:
                bar.high = price
                if price > state.high:  # type: ignore[operator]  # the bar has a print
                    state.high = price
            elif price < bar.low:
                bar.low = price
                if price < state.low:  # type: ignore[operator]
                    state.low = price
        else:
            self._take_out_of_line(state, event, ts_ns)
        state.last_price = price
        state.updated_ns = now_ns
        state.updates += 1
        state.has_input = True
        follower = state.follower
        if follower is not None:
            follower.on_print(event)

    def save(self) -> bytes:
        return pack(
            MarketState(
                [state.to_record() for state in self._symbols.values()],
                self.last_input_ns,
                self.events_refused,
                sorted(self._refused),
            )
        )

    def load(self, data: bytes) -> None:
        """Takes over the symbols of an earlier process, in their order and as far as there is room."""
        loaded = unpack(data, MarketState)
        for record in loaded.symbols:
            state = self._symbols.get(record.symbol) or self._admit(record.symbol)
            if state is not None:
                state.load_record(record)
        self.last_input_ns = loaded.last_input_ns
        self.events_refused = loaded.events_refused
        self._refused.update(loaded.refused[: MAX_REFUSED_NAMES - len(self._refused)])

    def _handlers(self) -> dict[type[Event], Handler]:
        return {Quote: self.on_quote, Print: self.on_print}

    def _take_out_of_line(self, state: SymbolState, event: Print, ts_ns: int) -> None:
        """Adds a print that begins a bar, or comes late."""
        now_ns = event.ts_init
        if now_ns <= 0 or ts_ns <= 0:
            # A publisher inside this process may leave the times unset; a bar of 1970 would be a lie.
            now_ns = now_ns or self.clock.time_ns()
            ts_ns = ts_ns or now_ns
        price = event.price
        state.bars.take(ts_ns, price, event.size, event.aggressor_side, now_ns)
        state.high = price if state.high is None else max(state.high, price)
        state.low = price if state.low is None else min(state.low, price)

    def _hand_on_bar(self, symbol: str, bar: Bar) -> None:
        for listener in self._bar_listeners:
            listener(symbol, bar)

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
        series = bar_ring = None
        if self._history is not None:
            series = self._history.open(self.name, symbol, SERIES_FIELDS)
            bar_ring = BarRing(self._history.open_table(BARS, symbol, BAR_FIELDS))
        terms = SymbolTerms(
            self.stale_after_ns(symbol), self._session_end_ns, self._feed_window_seconds, self._hand_on_bar
        )
        state = self._symbols[symbol] = SymbolState(symbol, terms, series, bar_ring)
        state.follower = self._followers.get(symbol)
        return state
