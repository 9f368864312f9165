"""The store's rows of equity reports and position reports, and the events that they are made from.

A Decimal is stored as its digits, a time as integer nanoseconds. An event made from its row equals the original. The
columns are those of `observability.store.schema`, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from observability.events import Equity, Position, event_time_ns
from observability.metrics.trades.rows import StoreRow, text_or_none


def equity_report_row(seq: int, event: Equity) -> StoreRow:
    return seq, event_time_ns(event), event.ts_init, str(event.value), event.strategy


def equity_report_of(row: StoreRow) -> Equity:
    _, ts_ns, ts_init_ns, value, strategy = row
    return Equity(Decimal(value), strategy, ts=ts_ns, ts_init=ts_init_ns)


def position_report_row(seq: int, event: Position) -> StoreRow:
    quantity, avg_price = str(event.quantity), str(event.avg_price)
    times = event_time_ns(event), event.ts_init
    return seq, *times, event.symbol, quantity, avg_price, event.strategy, event.position_side


def position_report_of(row: StoreRow) -> Position:
    _, ts_ns, ts_init_ns, symbol, quantity, avg_price, strategy, position_side = row
    money = Decimal(quantity), Decimal(avg_price)
    return Position(symbol, *money, strategy, position_side, ts=ts_ns, ts_init=ts_init_ns)


def account_row(ts_ns: int, strategy: str, money: Sequence[Decimal | None]) -> StoreRow:
    """Returns the row of one minute of an account; `money` is total, realised and unrealised P&L, and capital."""
    return ts_ns, strategy, *map(text_or_none, money)
