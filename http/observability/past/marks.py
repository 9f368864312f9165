"""Marks for a scrubber: fills, and alerts raised or resolved, in a stretch of time, one per interval and kind."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import orjson

from observability.clocks.timestamps import format_iso_ms
from observability.store.reader import StoreReader

MAX_ALERTS: Final = 10_000
# Each is one read: a day with a million fills is read in pieces of about ten milliseconds.
PIECES: Final = 50

_FILLS: Final = (
    "SELECT min(ts_ns), count(*), min(symbol), max(symbol), min(side), max(side), min(seq) FROM fills "
    "WHERE ts_ns BETWEEN ? AND ? GROUP BY (ts_ns - ?) / ? ORDER BY 1"
)
_ALERTS: Final = (
    "SELECT ts_ns, seq, action, document FROM alert_transitions WHERE ts_ns BETWEEN ? AND ? "
    f"AND action IN ('raised', 'resolved') ORDER BY ts_ns LIMIT {MAX_ALERTS + 1}"
)


async def read_marks(reader: StoreReader, start_ns: int, end_ns: int, points: int) -> dict[str, Any]:
    """Returns the marks in a stretch of time, oldest first. Raises StoreError."""
    width_ns = max(1, -(-(end_ns - start_ns + 1) // points))
    marks: list[dict[str, Any]] = []
    # A piece ends where an interval does.
    step_ns = width_ns * max(1, points // PIECES)
    for at_ns in range(start_ns, end_ns + 1, step_ns):
        marks += await reader.run(_fills, at_ns, min(at_ns + step_ns - 1, end_ns), start_ns, width_ns)
    transitions = await reader.run(_transitions, start_ns, end_ns)
    marks += _merged(transitions[:MAX_ALERTS], start_ns, width_ns)
    marks.sort(key=lambda mark: mark["time"])
    return {
        "start_time": format_iso_ms(start_ns),
        "end_time": format_iso_ms(end_ns),
        "interval_ms": width_ns / 1e6,
        "marks": marks,
        "truncated": len(transitions) > MAX_ALERTS,
    }


def _fills(connection: sqlite3.Connection, start_ns: int, end_ns: int, from_ns: int, width_ns: int) -> list[Any]:
    return [
        {
            "time": format_iso_ms(ts_ns),
            "kind": "fill",
            "count": count,
            "symbol": symbol if symbol == last_symbol else None,
            "side": side if side == last_side else None,
            "seq": seq,
        }
        for ts_ns, count, symbol, last_symbol, side, last_side, seq in connection.execute(
            _FILLS, (start_ns, end_ns, from_ns, width_ns)
        )
    ]


def _transitions(connection: sqlite3.Connection, start_ns: int, end_ns: int) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for ts_ns, seq, action, text in connection.execute(_ALERTS, (start_ns, end_ns)):
        document = orjson.loads(text)
        members = {name: document.get(name) for name in ("severity", "rule", "key", "title")}
        found.append((ts_ns, {"kind": "alert", "count": 1, "state": action, **members, "seq": seq}))
    return found


def _merged(transitions: list[tuple[int, dict[str, Any]]], start_ns: int, width_ns: int) -> list[dict[str, Any]]:
    """Returns one mark for the transitions of one interval to the same state."""
    marks: dict[tuple[int, str], dict[str, Any]] = {}
    for ts_ns, mark in transitions:
        place = (ts_ns - start_ns) // width_ns, mark["state"]
        known = marks.get(place)
        if known is None:
            marks[place] = {"time": format_iso_ms(ts_ns), **mark}
            continue
        known["count"] += 1
        for name in ("severity", "rule", "key", "title"):
            if known[name] != mark[name]:
                known[name] = None
    return [*marks.values()]
