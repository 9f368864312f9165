"""The messages that a stream yields, as the server sent them.

A `Snapshot` is always whole: deltas have been applied. `docs/api.md` describes every field.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class _Timed(TypedDict):
    seq: int
    timestamp: str


class Snapshot(_Timed):
    """One tick: `seq` rises by one per tick within an `epoch`. Sections that were not asked for are absent."""

    type: Literal["metrics_update"]
    epoch: str
    mono_ns: int
    age_ms: dict[str, float | None]
    market_data: dict[str, dict[str, Any]]
    strategy: dict[str, Any]
    execution: dict[str, Any]
    system: dict[str, Any]


class Trade(_Timed):
    """One fill of ours; `prev` is the `seq` of the one before it in the same filter."""

    type: Literal["trade"]
    prev: int
    trade_id: str
    order_id: str
    symbol: str
    side: str
    quantity: float
    price: float


class Alert(_Timed):
    """One transition of an alert."""

    type: Literal["alert"]
    prev: int


class Booking(_Timed):
    """What changed the book and is no fill."""

    type: Literal["booking"]
    prev: int
    kind: str


class OrderReport(_Timed):
    """One report of one of our orders."""

    type: Literal["order"]
    prev: int
    order_id: str
    symbol: str
    side: str
    status: str
    quantity: float
    price: float | None
    reason: str


Message = Snapshot | Trade | Alert | Booking | OrderReport
