"""The store's rows of what the journal writes, and the events they were made of.

No SQL here (see `observability.store.schema`, whose columns these are in order) and nothing is read or written.

A Decimal is its digits, a time integer nanoseconds; an event made of its row equals the event that made the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from observability.events import Equity, Fill, Order, Position
from observability.metrics.arithmetic.sessions import event_time_ns
from observability.metrics.trades.trade_log import Trade

Row = tuple[Any, ...]


def fill_row(trade: Trade, ts_init_ns: int) -> Row:
    """Returns the row of a fill that was taken."""
    return (
        trade.seq,
        trade.ts_ns,
        ts_init_ns,
        trade.trade_id,
        trade.order_id,
        trade.symbol,
        trade.side,
        str(trade.quantity),
        str(trade.price),
        str(trade.commission),
        trade.liquidity,
        trade.strategy,
        trade.venue,
        trade.latency_ms,
        _text(trade.mid),
        trade.slippage_bps,
        _text(trade.pnl),
        float(trade.quantity),
    )


def trade_of(row: Row) -> Trade:
    """Returns the record of a fill."""
    seq, ts_ns, _, trade_id, order_id, symbol, side, quantity, price, commission, liquidity, strategy, venue = row[:13]
    latency_ms, mid, slippage_bps, pnl = row[13:17]
    return Trade(
        seq=seq,
        trade_id=trade_id,
        order_id=order_id,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        ts_ns=ts_ns,
        strategy=strategy,
        venue=venue,
        commission=Decimal(commission),
        liquidity=liquidity,
        latency_ms=latency_ms,
        slippage_bps=slippage_bps,
        pnl=_decimal(pnl),
        mid=_decimal(mid),
    )


def fill_of(row: Row) -> Fill:
    """Returns the event."""
    trade = trade_of(row)
    return Fill(
        trade.trade_id,
        trade.order_id,
        trade.symbol,
        trade.side,  # type: ignore[arg-type]  # one of the two, as the event had it
        trade.quantity,
        trade.price,
        trade.commission,
        trade.liquidity,  # type: ignore[arg-type]
        trade.strategy,
        trade.venue,
        trade.latency_ms,
        ts=trade.ts_ns,
        ts_init=row[2],
    )


def order_row(seq: int, event: Order) -> Row:
    return (
        seq,
        event_time_ns(event),
        event.ts_init,
        event.order_id,
        event.symbol,
        event.side,
        str(event.quantity),
        event.status,
        _text(event.price),
        event.order_type,
        event.strategy,
        event.venue,
        event.client_order_id,
        event.reason,
        _text(event.arrival_price),
        event.decision_ts if isinstance(event.decision_ts, int) else None,
    )


def order_of(row: Row) -> Order:
    _, ts_ns, ts_init_ns, order_id, symbol, side, quantity, status, price, order_type, strategy, venue = row[:12]
    client_order_id, reason, arrival_price, decision_ns = row[12:]
    return Order(
        order_id,
        symbol,
        side,
        Decimal(quantity),
        status,
        _decimal(price),
        order_type,
        strategy,
        venue,
        client_order_id,
        reason,
        _decimal(arrival_price),
        decision_ns,
        ts=ts_ns,
        ts_init=ts_init_ns,
    )


def equity_report_row(seq: int, event: Equity) -> Row:
    return seq, event_time_ns(event), event.ts_init, str(event.value), event.strategy


def equity_report_of(row: Row) -> Equity:
    _, ts_ns, ts_init_ns, value, strategy = row
    return Equity(Decimal(value), strategy, ts=ts_ns, ts_init=ts_init_ns)


def position_report_row(seq: int, event: Position) -> Row:
    quantity, avg_price = str(event.quantity), str(event.avg_price)
    return seq, event_time_ns(event), event.ts_init, event.symbol, quantity, avg_price, event.strategy


def position_report_of(row: Row) -> Position:
    _, ts_ns, ts_init_ns, symbol, quantity, avg_price, strategy = row
    return Position(symbol, Decimal(quantity), Decimal(avg_price), strategy, ts=ts_ns, ts_init=ts_init_ns)


def account_row(ts_ns: int, strategy: str, money: Sequence[Decimal | None]) -> Row:
    """Returns the row of an account's minute: total, realised and unrealised P&L, capital."""
    return ts_ns, strategy, *map(_text, money)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
