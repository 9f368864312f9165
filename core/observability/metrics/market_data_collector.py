"""The market data section: every symbol seen, up to a fixed number of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import isfinite
from operator import attrgetter
from typing import Any, Final

from observability.bus import Bus, EventHandler
from observability.clocks.clock import Clock, EventClock, HostClock
from observability.clocks.timestamps import MAX_NS, NS_PER_S
from observability.errors import CapacityError, EventError, EventRefused
from observability.events import MAX_SYMBOL_LENGTH, Bust, Correct, Event, Print, Quote, Split, event_time_ns
from observability.history.history import History
from observability.instruments.table import InstrumentTable
from observability.listeners import Listeners
from observability.metrics.arithmetic.decimals import to_float_or_none
from observability.metrics.arithmetic.sessions import utc_day_end_ns
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.collectors import MAX_REFUSED_NAMES, BusCollector
from observability.metrics.market.bar_table import BARS, Bar, BarTable
from observability.metrics.market.bar_table import FIELDS as BAR_FIELDS
from observability.metrics.market.print_corrections import (
    BUSTED,
    MAX_CORRECTED,
    NOT_ALL_KEPT,
    PrintChange,
    PrintCorrections,
)
from observability.metrics.market.print_ids import PrintIds
from observability.metrics.market.state import MarketState
from observability.metrics.market.time_order import MAX_AHEAD_NS
from observability.metrics.market.touch import sides_of
from observability.metrics.market.tracked_symbol import SERIES_FIELDS, Follower, Holder, TrackedSymbol
from observability.metrics.market.venues import MAX_VENUES, Venue
from observability.metrics.trades.booking_log import BookingLog
from observability.snapshot.sections import Group
from observability.store.checkpoint import pack, unpack

logger = logging.getLogger(__name__)

_number = attrgetter("number")
# Arrival - `ts` of an event that is just not dated ahead.
_AHEAD_NS: Final = -MAX_AHEAD_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDataSettings:
    """The limits and thresholds of the market data section."""

    max_symbols: int = 1000
    stale_after_seconds: float = 5.0
    stale_after_seconds_by_symbol: Mapping[str, float] = field(default_factory=dict)
    feed_window_seconds: float = 60.0
    session_end_ns: Callable[[int], int] = utc_day_end_ns
    """Returns the end of the session that a time belongs to."""


def _change_of(seq: int, event: Bust | Correct) -> PrintChange:
    """Returns what an event says of a print."""
    named = (event.symbol, event.trade_id, event.venue, event_time_ns(event))
    if isinstance(event, Bust):
        return PrintChange(*named, is_bust=True, seq=seq)
    return PrintChange(*named, price=to_float_or_none(event.price), size=to_float_or_none(event.quantity), seq=seq)


class MarketDataCollector(BusCollector):
    """Tracks symbols, each from its first quote or print on, or from `add_symbol`.

    Beyond `max_symbols` (or the capacity of the history) a symbol is refused whole. `symbols_refused` counts the names,
    each of which is logged once, and `events_refused` their events.
    """

    def __init__(
        self,
        *,
        bus: Bus | None = None,
        clock: Clock | None = None,
        history: History | None = None,
        bookings: BookingLog | None = None,
        settings: MarketDataSettings | None = None,
        instruments: InstrumentTable | None = None,
    ) -> None:
        """Without `bus` the process's default one is used, without `clock` one that follows the events, and without
        `history` none is written. `bookings` is the log that other collectors share, `instruments` the table that knows
        the hours of markets."""
        super().__init__("market_data", bus)
        self.bookings = BookingLog(self.bus) if bookings is None else bookings
        self.clock: Clock = EventClock(HostClock()) if clock is None else clock
        self.fields: None = None
        self._symbols: dict[str, TrackedSymbol] = {}
        # The symbols to refresh with the next tick: those with an input, and by time those that change without one.
        self._changed: list[TrackedSymbol] = []
        self._due: list[tuple[int, int, TrackedSymbol]] = []
        self._next_due_ns = MAX_NS
        # Those whose row of history has changed.
        self._unrecorded: dict[str, TrackedSymbol] = {}
        self._group = Group(None, self._symbols, touched={})
        self.groups: tuple[Group, ...] = (self._group,)
        self.last_input_ns: int | None = None
        self.is_touched = True
        self.events_refused = 0
        self._refused: set[str] = set()
        # Symbols that have all their venues.
        self._full: set[str] = set()
        self._followers: dict[str, Follower] = {}
        self._holders: dict[str, Holder] = {}
        self._history = history
        self._rows = None if history is None else history.standing
        self.settings = MarketDataSettings() if settings is None else settings
        self._instruments = instruments
        if instruments is not None:
            instruments.add_terms_listener(self._on_terms)
        self._print_ids = PrintIds()
        self._corrections = PrintCorrections(self._print_ids)
        self._waiting = self._corrections.waiting
        self._correction_listeners: list[Callable[[PrintChange, dict[str, Any]], None]] = []
        self.repeated_prints = 0
        """Prints that had been delivered before."""
        self.dated_ahead = 0
        """Quotes and prints of this process's life that were dated ahead of their arrival."""
        self._bar_listeners: Listeners[str, Bar] = Listeners("a bar")
        self._symbol_listeners: list[Callable[[str], None]] = []

    @property
    def symbols(self) -> tuple[str, ...]:
        """All tracked symbols in the order in which they appeared."""
        return tuple(self._symbols)

    @property
    def symbols_refused(self) -> int:
        """How many distinct names were refused; at most MAX_REFUSED_NAMES."""
        return len(self._refused)

    @property
    def late_prints(self) -> int:
        """Prints in no bar, because they came too late for theirs."""
        return sum(tracked.bars.late_prints for tracked in self._symbols.values())

    def add_symbol_listener(self, listener: Callable[[str], None]) -> None:
        """Calls `listener` with each further symbol before its first event counts."""
        self._symbol_listeners.append(listener)

    def add_bar_listener(self, listener: Callable[[str, Bar], None]) -> None:
        """Calls `listener` with a symbol and its 1-minute bar when the bar is finished, and again when it is amended:
        on a tick, or with a print that would otherwise drop the bar unpublished."""
        self._bar_listeners.add(listener)

    def add_correction_listener(self, listener: Callable[[PrintChange, dict[str, Any]], None]) -> None:
        """Calls `listener` with each correction of a print that has waited, and its effect, once it waits no more."""
        self._correction_listeners.append(listener)

    @property
    def pending_corrections(self) -> int:
        """Corrections that wait for their print."""
        return self._corrections.n_waiting

    def bars(self, symbol: str, start_ns: int, end_ns: int) -> Iterator[Bar]:
        """Yields the symbol's finished 1-minute bars that begin in start_ns <= t < end_ns, oldest first.

        They go back 24 hours, but only to the beginning of the history, which may be older than this process.
        """
        tracked = self._symbols.get(symbol)
        return iter(()) if tracked is None else tracked.bars.copy_bars(start_ns, end_ns)

    def finish_bars(self) -> None:
        """Publishes the bars in progress as they are; later prints amend them. For the end of what makes prints."""
        for tracked in self._symbols.values():
            tracked.bars.finish(MAX_NS)

    @property
    def tracked(self) -> Mapping[str, TrackedSymbol]:
        """The live data of all symbols, by name."""
        return self._symbols

    def symbol(self, symbol: str) -> TrackedSymbol | None:
        """Returns the live data of one symbol; None if it is not tracked."""
        return self._symbols.get(symbol)

    def stale_after_ns(self, symbol: str) -> int:
        """Returns the age from which the symbol is stale, even if it is not tracked yet."""
        settings = self.settings
        return round(settings.stale_after_seconds_by_symbol.get(symbol, settings.stale_after_seconds) * NS_PER_S)

    def follow(self, symbol: str, follower: Follower) -> None:
        """Calls `follower` with every further event of a symbol, even if it is not tracked yet; replaces an earlier
        follower. The caller bounds the number of symbols."""
        self._followers[symbol] = follower
        tracked = self._symbols.get(symbol)
        if tracked is not None:
            tracked.follower = follower
            if tracked.venues is not None:
                follower.on_venues(tracked)

    def hold(self, symbol: str, holder: Holder | None) -> None:
        """Calls `holder` after every further event of a symbol, even if it is not tracked yet; replaces an earlier
        holder, None removes it. The caller bounds the number of symbols."""
        if holder is None:
            self._holders.pop(symbol, None)
        else:
            self._holders[symbol] = holder
        tracked = self._symbols.get(symbol)
        if tracked is not None:
            tracked.holder = holder

    def lose_venue(self, venue: str, symbols: Iterable[str]) -> None:
        """Lets the quotes of a venue take part in no best any more, because the source of these symbols is lost. Those
        that come later do again."""
        now_ns = self.clock.time_ns()
        for symbol in symbols:
            tracked = self._symbols.get(symbol)
            if tracked is not None and tracked.venues is not None:
                tracked.lose_venue(venue, now_ns)
                self._note_change(tracked)

    async def add_symbol(self, symbol: str) -> None:
        """Tracks a symbol before its first event. Raises CapacityError if there is no room, EventError for a bad
        name."""
        if not 1 <= len(symbol) <= MAX_SYMBOL_LENGTH:
            raise EventError(f"symbol {symbol[:40]!r}: expected 1 to {MAX_SYMBOL_LENGTH} characters")
        if symbol not in self._symbols:
            self._track(symbol)

    async def get_current_metrics(self) -> dict[str, Any]:
        self._update(self.clock.time_ns())
        return {symbol: dict(tracked.to_json()) for symbol, tracked in self._symbols.items()}

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        if self._changed or now_ns >= self._next_due_ns:
            self._update(now_ns)
        rows = self._rows
        if is_recorded and rows is not None:
            rows.begin_tick(now_ns)
            changed = self._unrecorded
            if changed:
                for tracked in changed.values():
                    tracked.record(now_ns)
                changed.clear()
            if rows.is_shared:
                rows.end_tick()

    def on_quote(self, event: Quote) -> None:
        """Sets the touch of a symbol; locked and crossed ones are counted."""
        # hot: once per quote (benchmarks/bench_intake.py)
        tracked = self._symbols.get(event.symbol)
        if tracked is None:
            tracked = self._admit(event.symbol)
        if event.venue != tracked.quote_venue and tracked.is_at_several(event.venue, is_print=False):
            self._add_quote_of_venue(tracked, event)
            return
        bid = event.bid
        ask = event.ask
        bid_size = event.bid_size
        ask_size = event.ask_size
        spread: float | None
        if bid and ask and bid_size and ask_size:
            spread = ask - bid
        else:
            bid, ask, bid_size, ask_size = sides_of(event)
            spread = None if bid is None or ask is None else ask - bid
        now_ns = event.ts_init
        ts_ns: Any = event.ts
        if now_ns >= tracked.rollover_ns:
            tracked.roll_over(now_ns)
        if ts_ns.__class__ is not int:
            ts_ns = now_ns
        if spread is not None and spread <= 0.0:
            if spread < 0.0:
                tracked.crossed += 1
            else:
                tracked.locked += 1
        tracked.updates += 1
        if not tracked.has_input:
            tracked.has_input = True
            self._changed.append(tracked)
        quotes = tracked.quotes
        before_ns = quotes.newest_ns
        offset_ns = now_ns - ts_ns
        if ts_ns < before_ns or offset_ns < _AHEAD_NS:
            self.dated_ahead += offset_ns < _AHEAD_NS
            is_newest, ts_ns = tracked.place(quotes, ts_ns, now_ns)
            if not is_newest:
                tracked.updated_ns = now_ns
                return
        else:
            quotes.newest_ns = ts_ns
            quotes.arrived_ns = now_ns
            if offset_ns:
                tracked.add_offset(offset_ns)
        tracked.bid = bid
        tracked.ask = ask
        tracked.bid_size = bid_size
        tracked.ask_size = ask_size
        tracked.updated_ns = now_ns
        # Most quotes change a size only.
        if spread != tracked.spread:
            tracked.change_spread(spread, ts_ns, before_ns)
        follower = tracked.follower
        if follower is not None:
            follower.on_touch(bid, ask, ts_ns, now_ns)
        holder = tracked.holder
        if holder is not None:
            holder.on_price(tracked, now_ns)

    def on_print(self, event: Print) -> None:
        """Adds one trade of the market to its session and to its bar; a repeated one changes nothing."""
        # hot: once per print (benchmarks/bench_intake.py)
        tracked = self._symbols.get(event.symbol)
        if tracked is None:
            tracked = self._admit(event.symbol)
        if event.venue != tracked.print_venue and tracked.is_at_several(event.venue, is_print=True):
            self._add_print_of_venue(tracked, event)
            return
        price = event.price
        now_ns = event.ts_init
        ts_ns: Any = event.ts
        if ts_ns.__class__ is not int:
            ts_ns = now_ns
        if event.trade_id is not None and self._print_ids.is_repeated(event, ts_ns):
            self.repeated_prints += 1
            return
        if now_ns >= tracked.rollover_ns:
            tracked.roll_over(now_ns)
        offset_ns = now_ns - ts_ns
        bar = tracked.bars.current
        if bar.last_ns <= ts_ns < bar.end_ns and offset_ns >= _AHEAD_NS:
            # The bar's last print is the newest one, so this one is.
            tracked.turnover.add(price, event.size, event.aggressor_side)
            if offset_ns:
                tracked.add_offset(offset_ns)
            prints = tracked.prints
            prints.newest_ns = ts_ns
            prints.arrived_ns = now_ns
            tracked.last_price = price
            bar.last_ns = ts_ns
            bar.close = price
            # All prints of a bar belong to one session, so a price within the bar's range is within the session's.
            if price > bar.high:
                bar.high = price
                if price > tracked.high:  # type: ignore[operator]  # the bar has a print
                    tracked.high = price
            elif price < bar.low:
                bar.low = price
                if price < tracked.low:  # type: ignore[operator]
                    tracked.low = price
        else:
            self._add_out_of_order(tracked, event, ts_ns)
        tracked.updated_ns = now_ns
        tracked.updates += 1
        if not tracked.has_input:
            tracked.has_input = True
            self._changed.append(tracked)
        follower = tracked.follower
        if follower is not None:
            follower.on_print(event)
        holder = tracked.holder
        if holder is not None:
            holder.on_price(tracked, now_ns)
        if self._waiting:
            self._apply_waiting(event)

    def correct_print(self, change: PrintChange) -> dict[str, Any]:
        """Applies a bust or a correction of a print, or lets it wait until the print comes; returns its effect."""
        found = self._corrections.find(change)
        if not isinstance(found, str):
            return self._correct(found, change)
        given_up = self._corrections.wait(change)
        if given_up is not None:
            logger.error(
                "correction %d of print %r of %s is given up: its print has not come, and %d others wait",
                given_up.seq, given_up.trade_id, given_up.symbol, MAX_CORRECTED,
            )  # fmt: skip
            self._on_corrected(given_up, {"status": "given_up", "reason": f"{MAX_CORRECTED} others wait"})
        return {"status": "pending", "reason": found}

    def on_correction(self, event: Bust | Correct) -> None:
        """Applies a bust or a correction of a print, which names neither an order nor a side, or lets it wait."""
        booking = self.bookings.booking_of(event)
        if booking is not None and not (event.order_id or event.side):
            booking.effect = self.correct_print(_change_of(booking.seq, event))

    def save(self) -> bytes:
        return pack(
            MarketState(
                [tracked.to_state() for tracked in self._symbols.values()],
                self.last_input_ns,
                self.events_refused,
                sorted(self._refused),
                self._print_ids.to_state(),
                self._corrections.to_state(),
            )
        )

    def load(self, data: bytes) -> None:
        """Restores the symbols in their order, as far as there is room for them."""
        state = unpack(data, MarketState)
        now_ns = self.clock.time_ns()
        for each in state.symbols:
            with suppress(EventRefused):
                tracked = self._symbols.get(each.symbol) or self._admit(each.symbol)
                tracked.load_state(each, now_ns)
                self._note_change(tracked)
        self._print_ids.load_state(state.print_ids)
        self._corrections.load_state(state.corrections)
        self.last_input_ns = None if state.last_input_ns is None else min(state.last_input_ns, now_ns)
        self.events_refused = state.events_refused
        # With a larger MAX_SYMBOLS than before, the next event of a refused symbol finds room.
        if len(self._symbols) >= self.settings.max_symbols:
            self._refused.update(state.refused[: MAX_REFUSED_NAMES - len(self._refused)])

    def on_split(self, event: Split) -> None:
        """Scales the prices of a symbol that are from before a split."""
        tracked = self._symbols.get(event.symbol)
        if tracked is not None and self.bookings.booking_of(event) is not None:
            tracked.split(Ratio(event.numerator, event.denominator), event.ts_init or self.clock.time_ns())
            self._note_change(tracked)

    def _handlers(self) -> dict[type[Event], EventHandler]:
        return {
            Quote: self.on_quote,
            Print: self.on_print,
            Split: self.on_split,
            Bust: self.on_correction,
            Correct: self.on_correction,
        }

    def _add_out_of_order(self, tracked: TrackedSymbol, event: Print, ts_ns: int) -> None:
        """Adds a print that begins a bar, comes late or is dated ahead."""
        now_ns = event.ts_init
        price = event.price
        if not (isfinite(price) and isfinite(event.size)):
            raise EventError(f"print of {event.size!r} at {price!r}: expected finite numbers")
        prints = tracked.prints
        offset_ns = now_ns - ts_ns
        if ts_ns < prints.newest_ns or offset_ns < _AHEAD_NS:
            self.dated_ahead += offset_ns < _AHEAD_NS
            is_newest, ts_ns = tracked.place(prints, ts_ns, now_ns)
        else:
            is_newest = True
            prints.newest_ns = ts_ns
            prints.arrived_ns = now_ns
            if offset_ns:
                tracked.add_offset(offset_ns)
        # A publisher inside this process may leave the times unset, which must not make a bar of 1970.
        tracked.bars.add(ts_ns or self.clock.time_ns(), price, event.size, event.aggressor_side)
        if is_newest:
            tracked.last_price = price
        tracked.high = price if tracked.high is None else max(tracked.high, price)
        tracked.low = price if tracked.low is None else min(tracked.low, price)

    def _add_quote_of_venue(self, tracked: TrackedSymbol, event: Quote) -> None:
        """Adds a quote of a symbol that is traded at several venues."""
        venue, ts_ns, now_ns = self._venue(tracked, event)
        tracked.add_quote(venue, sides_of(event), ts_ns, now_ns)

    def _add_print_of_venue(self, tracked: TrackedSymbol, event: Print) -> None:
        """Adds a print of a symbol that is traded at several venues."""
        venue, ts_ns, now_ns = self._venue(tracked, event)
        if event.trade_id is not None and self._print_ids.is_repeated(event, ts_ns):
            self.repeated_prints += 1
        else:
            tracked.add_print(venue, event, ts_ns, now_ns)
            if self._waiting:
                self._apply_waiting(event)

    def _apply_waiting(self, event: Print) -> None:
        """Applies the corrections that have waited for a print."""
        for change in self._corrections.take_waiting(event):
            self._on_corrected(change, self._correct(event, change))

    def _on_corrected(self, change: PrintChange, effect: dict[str, Any]) -> None:
        for listener in self._correction_listeners:
            listener(change, effect)

    def _correct(self, event: Print, change: PrintChange) -> dict[str, Any]:
        """Makes a remembered print count as its corrections say; returns what that has changed."""
        corrections, tracked = self._corrections, self._symbols[event.symbol]
        before = corrections.counted(event)
        corrections.add(event, change)
        after = corrections.counted(event)
        effect: dict[str, Any] = {
            "status": "applied" if before is not None else "void",
            "before": None if before is None else before._asdict(),
            "after": None if after is None else after._asdict(),
            "reason": BUSTED if before is None else None,
        }
        if before is not None and before != after:
            kept = list(corrections.kept(event.symbol))
            if not tracked.correct_print(event, before, after, kept, self.clock.time_ns()):
                effect["reason"] = NOT_ALL_KEPT
            self._note_change(tracked)
        return effect

    def _venue(self, tracked: TrackedSymbol, event: Quote | Print) -> tuple[Venue, int, int]:
        """Returns the venue, `ts` and arrival of an event. Raises EventRefused if there is no room for the venue."""
        venue = tracked.venue(event.venue)
        if venue is None:
            self.events_refused += 1
            if tracked.symbol not in self._full and len(self._full) < MAX_REFUSED_NAMES:
                self._full.add(tracked.symbol)
                logger.warning(
                    "venue %r of %s is refused, and further ones: all %d venues of the symbol are in use",
                    event.venue, tracked.symbol, MAX_VENUES,
                )  # fmt: skip
            raise EventRefused("venue", f"no room: all {MAX_VENUES} venues of {tracked.symbol} are in use")
        # A publisher inside this process may leave the times unset.
        now_ns = event.ts_init or self.clock.time_ns()
        ts_ns = event.ts if isinstance(event.ts, int) else now_ns
        self.dated_ahead += ts_ns - now_ns > MAX_AHEAD_NS
        self._note_change(tracked)
        return venue, ts_ns, now_ns

    def _on_terms(self, symbol: str) -> None:
        """Lets a symbol have the hours of the calendar that its instrument names."""
        tracked = self._symbols.get(symbol)
        if tracked is not None and self._instruments is not None:
            tracked.set_hours(self._instruments.hours(symbol))
            self._note_change(tracked)

    def _publish_bar(self, symbol: str, bar: Bar) -> None:
        self._bar_listeners.call(symbol, bar)

    def _update(self, now_ns: int) -> None:
        """Refreshes the symbols that have an input or are due; the others stay what they are, at no cost."""
        changed, due, touched = self._changed, self._due, self._group.touched
        while due and due[0][0] <= now_ns:
            wake_ns, _, tracked = heappop(due)
            if wake_ns != tracked.wake_ns:
                # It has been planned for an earlier time since.
                continue
            tracked.wake_ns = MAX_NS
            if not tracked.has_input:
                changed.append(tracked)
        self._next_due_ns = due[0][0] if due else MAX_NS
        if not changed:
            return
        assert touched is not None
        self.is_touched = True
        # Bars that are finished on one tick are published in the order of their symbols.
        changed.sort(key=_number)
        newest_ns = self.last_input_ns or 0
        unrecorded = self._unrecorded
        for tracked in changed:
            if tracked.refresh(now_ns):
                touched[tracked.symbol] = unrecorded[tracked.symbol] = tracked
            if tracked.updated_ns > newest_ns:
                newest_ns = tracked.updated_ns
            due_ns = tracked.due_ns
            if due_ns < tracked.wake_ns:
                tracked.wake_ns = due_ns
                heappush(due, (due_ns, tracked.number, tracked))
        changed.clear()
        self._next_due_ns = due[0][0] if due else MAX_NS
        self.last_input_ns = newest_ns or None

    def _note_change(self, tracked: TrackedSymbol) -> None:
        if not tracked.has_input:
            tracked.has_input = True
            self._changed.append(tracked)

    def _admit(self, symbol: str) -> TrackedSymbol:
        """Tracks the symbol of an event. Raises EventRefused, and counts the event, if there is no room for it."""
        if symbol not in self._refused:
            try:
                return self._track(symbol)
            except CapacityError as error:
                if len(self._refused) < MAX_REFUSED_NAMES:
                    self._refused.add(symbol)
                    logger.warning("symbol %r is refused: %s", symbol, error)
        self.events_refused += 1
        raise EventRefused("symbol", f"no room: all {len(self._symbols)} symbols (MAX_SYMBOLS) are in use")

    def _track(self, symbol: str) -> TrackedSymbol:
        settings = self.settings
        if len(self._symbols) >= settings.max_symbols:
            raise CapacityError(f"all {settings.max_symbols} symbols are in use")
        series = bars = None
        if self._history is not None:
            series = self._history.open_standing(self.name, symbol, SERIES_FIELDS)
            bars = BarTable(self._history.open_table(BARS, symbol, BAR_FIELDS))
        tracked = self._symbols[symbol] = TrackedSymbol(
            symbol,
            number=len(self._symbols),
            stale_after_ns=self.stale_after_ns(symbol),
            session_end_ns=settings.session_end_ns,
            feed_window_seconds=settings.feed_window_seconds,
            on_bar=self._publish_bar,
            series=series,
            bars=bars,
        )
        if self._instruments is not None:
            tracked.set_hours(self._instruments.hours(symbol))
        tracked.follower = self._followers.get(symbol)
        tracked.holder = self._holders.get(symbol)
        self._note_change(tracked)
        for listener in self._symbol_listeners:
            listener(symbol)
        return tracked
