"""The curves of a bundle: a history that is made from the figures of its frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import NS_PER_S
from observability.errors import CapacityError
from observability.history.history import History
from observability.metrics.execution_collector import SERIES_FIELDS as EXECUTION_FIELDS
from observability.metrics.market.tracked_symbol import SERIES_FIELDS as SYMBOL_FIELDS
from observability.metrics.strategy.account import CURVE_FIELDS, CURVES
from observability.metrics.strategy.totals import SERIES_FIELDS as STRATEGY_FIELDS
from observability.metrics.system_collector import SERIES_FIELDS as SYSTEM_FIELDS
from observability.recorder.recording import Cursor, Place, Recording

# Of a longer bundle the full frames are read alone, every ten seconds.
FINE_NS: Final = 1200 * NS_PER_S
# About a second of reading, of ten symbols.
MAX_FRAMES: Final = 4_000


class _Quote(msgspec.Struct):
    last_price: float | None = None
    bid: float | None = None
    ask: float | None = None
    volume: float | None = None
    quote_stale: bool = True


class _Snapshot(msgspec.Struct):
    market_data: dict[str, _Quote] = {}
    strategy: dict[str, Any] = {}
    execution: dict[str, Any] = {}
    system: dict[str, Any] = {}


_decode: Final = msgspec.json.Decoder(_Snapshot).decode


def fill_history(history: History, recording: Recording) -> None:
    """Records what the frames of a recording show: one of each second, or of each ten of a long recording. What cannot
    be read is left out."""
    start_ns, end_ns = recording.start_ns(), recording.end_ns()
    if start_ns is None or end_ns is None:
        return
    places = list(_places(recording, is_fine=end_ns - start_ns <= FINE_NS))
    stride = -(-len(places) // MAX_FRAMES) or 1
    cursor = Cursor(recording)
    for place in places[::stride]:
        try:
            frame = cursor.go(place)
            snapshot = _decode(frame.payload)
            _record(history, frame.ts_ns, snapshot)
        except (OSError, ValueError, OverflowError, CapacityError):
            continue


def _places(recording: Recording, *, is_fine: bool) -> Iterator[Place]:
    for segment in recording.segments:
        for number, start_ns in enumerate(segment.times):
            place = Place(segment.number, number, 0)
            due_ns = start_ns
            for record, time_ns in enumerate(recording.group(place).times if is_fine else (start_ns,)):
                if time_ns >= due_ns:
                    due_ns = time_ns + NS_PER_S
                    yield place._replace(record=record)


def _record(history: History, ts_ns: int, snapshot: _Snapshot) -> None:
    for section, fields in (("strategy", STRATEGY_FIELDS), ("execution", EXECUTION_FIELDS), ("system", SYSTEM_FIELDS)):
        figures = getattr(snapshot, section)
        history.open(section, "", fields).record(ts_ns, _row(figures, fields))
    accounts = snapshot.strategy.get("strategies")
    for name, figures in accounts.items() if isinstance(accounts, dict) else ():
        if isinstance(figures, dict):
            history.open(CURVES, name, CURVE_FIELDS).record(ts_ns, _row(figures, CURVE_FIELDS))
    for symbol, quote in snapshot.market_data.items():
        mid = spread = math.nan
        if quote.bid is not None and quote.ask is not None and not quote.quote_stale:
            mid, spread = (quote.bid + quote.ask) / 2, quote.ask - quote.bid
        row = _number(quote.last_price), mid, spread, _number(quote.volume)
        history.open("market_data", symbol, SYMBOL_FIELDS).record(ts_ns, row)


def _row(figures: dict[str, Any], fields: tuple[str, ...]) -> list[float]:
    return [_number(figures.get(name)) for name in fields]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
