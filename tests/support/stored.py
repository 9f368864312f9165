"""Rows of the store for its tests, and what a file and its counters contain."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from observability.memory.counters import Counter, Counters

NOON_NS = 1_340_280_000_000_000_000
"""2012-06-21T12:00Z."""


def fill_row(seq: int, **changes: Any) -> tuple[Any, ...]:
    """Returns the parameters of INSERT_FILL."""
    row: dict[str, Any] = {
        "seq": seq,
        "ts_ns": NOON_NS + seq,
        "ts_init_ns": NOON_NS + seq,
        "trade_id": f"t{seq}",
        "order_id": f"o{seq}",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": "100",
        "price": "585.25",
        "commission": "0.1",
        "liquidity": "",
        "strategy": "alpha",
        "venue": "XNAS",
        "latency_ms": None,
        "mid": None,
        "slippage_bps": None,
        "pnl": None,
        "quantity_real": 100.0,
        "gross_pnl": None,
        "round_trip": None,
        "day": 0,
        "leg": 1,
        "is_flat": 0,
        "position_side": "",
        "reason": "",
        "commission_asset": "",
        "currency": "USD",
        "fee_value": None,
        "notional": None,
        "status": "",
        "corrections": None,
        "new_id": "",
    }
    assert changes.keys() <= row.keys()
    return tuple((row | changes).values())


def select(path: Path, question: str, *parameters: Any) -> list[Any]:
    """Returns the rows of a file, which no process may have open; a row of one column is its value."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(question, parameters).fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


def count_of(counters: Counters, name: str) -> int:
    """Returns the value of a counter without labels."""
    (family,) = (family for family in counters.families() if family.name == name)
    (sample,) = family.samples.values()
    assert isinstance(sample, Counter)
    return sample.value
