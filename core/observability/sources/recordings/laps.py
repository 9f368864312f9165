"""Laps: the same recordings over and over, each lap later in time than the one before it, with ids that never repeat.

All that is kept of a lap is its span and the range of its trade ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from observability.clocks.timestamps import MAX_NS, NS_PER_DAY, NS_PER_HOUR, NS_PER_S
from observability.errors import SourceError
from observability.events import Event, Fill, Order, Print

# A recording this long is repeated at the same time of day, so that daily figures start again with each lap; a shorter
# one is repeated after a pause of one second.
_SESSION_NS = NS_PER_HOUR
_PAUSE_NS = NS_PER_S
# Repeating a gap of years between two recordings would exceed 64-bit time within a few laps.
_MAX_GAP_NS = 7 * NS_PER_DAY
_LAST_BEGIN_NS = MAX_NS - 365 * NS_PER_DAY


class Laps:
    """Iterates over the events of `open_lap()` over and over; ends only when a lap has no event.

    The first lap is as recorded. Later laps are shifted in time; their integer trade ids continue where the previous
    lap ended, and text ids get the suffix `~LAP`. Raises SourceError when shifted times would exceed 64 bits (the year
    2262).
    """

    def __init__(self, open_lap: Callable[[], Iterator[Event]]) -> None:
        self._open_lap = open_lap
        self._id_ranges: dict[tuple[str, str], tuple[int, int]] = {}
        self.lap = 0
        """The current lap, from 1."""

    def __iter__(self) -> Iterator[Event]:
        ranges = self._id_ranges
        first_ns = last_ns = 0
        self.lap = 1
        for event in self._open_lap():
            if event.ts_init > last_ns:
                first_ns = first_ns or event.ts_init
                last_ns = event.ts_init
            if isinstance(event, Print) and isinstance(event.trade_id, int):
                number, key = event.trade_id, (event.venue, event.symbol)
                low, high = ranges.get(key, (number, number))
                ranges[key] = (min(low, number), max(high, number))
            yield event
        is_session = last_ns - first_ns >= _SESSION_NS
        begin_ns = 0
        while last_ns > begin_ns:
            self.lap += 1
            if last_ns > _LAST_BEGIN_NS:
                raise SourceError(f"lap {self.lap}: its times would be after the year 2262; restart the replay")
            begin_ns = last_ns
            shift = last_ns + _PAUSE_NS - first_ns
            if is_session:
                shift = -(-shift // NS_PER_DAY) * NS_PER_DAY
            for event in self._open_lap():
                shift = min(shift, last_ns + _MAX_GAP_NS - event.ts_init)
                event.ts_init += shift
                last_ns = max(last_ns, event.ts_init)
                if isinstance(event.ts, int):
                    event.ts += shift
                self._rename(event, shift)
                yield event

    def _rename(self, event: Event, shift: int) -> None:
        suffix = f"~{self.lap}"
        if isinstance(event, Print):
            if isinstance(event.trade_id, int):
                low, high = self._id_ranges.get((event.venue, event.symbol), (0, 0))
                event.trade_id += (high - low + 1) * (self.lap - 1)
            elif event.trade_id is not None:
                event.trade_id += suffix
        elif isinstance(event, Order):
            event.order_id += suffix
            if event.client_order_id:
                event.client_order_id += suffix
            if isinstance(event.decision_ts, int):
                event.decision_ts += shift
        elif isinstance(event, Fill):
            if event.order_id:
                event.order_id += suffix
            event.trade_id += suffix
