"""The store's row of an order report, and back again: the report and the event that a row was made of.

A Decimal is stored as its digits and a time as integer nanoseconds, so that an event made from its row equals the event
that made the row. The columns are those of `observability.store.schema`, in order.
"""

from __future__ import annotations

from observability.errors import StoreError
from observability.events import Order, event_time_ns
from observability.metrics.execution.orders.report_log import OrderReport
from observability.metrics.trades.rows import StoreRow, decimal_or_none


def report_row(report: OrderReport) -> StoreRow:
    # hot: once per order report (benchmarks/bench_intake.py)
    event = report.event
    price, arrival_price = event.price, event.arrival_price
    return (
        report.seq,
        event_time_ns(event),
        event.ts_init,
        event.order_id,
        event.symbol,
        event.side,
        str(event.quantity),
        event.status,
        None if price is None else str(price),
        event.order_type,
        event.strategy,
        event.venue,
        event.client_order_id,
        event.reason,
        None if arrival_price is None else str(arrival_price),
        event.decision_ts if isinstance(event.decision_ts, int) else None,
        event.replaces,
        report.is_first,
    )


def report_of(row: StoreRow) -> OrderReport:
    """Returns the report. Raises StoreError if the row is damaged."""
    try:
        return _report_of(row)
    except (ValueError, ArithmeticError, TypeError) as error:
        raise StoreError(f"row {row[0]!r} of the order reports is damaged: {error!r}") from None


def _report_of(row: StoreRow) -> OrderReport:
    seq, ts_ns, ts_init_ns, order_id, symbol, side, quantity, status, price, order_type, strategy, venue = row[:12]
    client_order_id, reason, arrival_price, decision_ns, replaces, is_first = row[12:]
    number = decimal_or_none(quantity)
    assert number is not None, "the column takes no NULL"
    event = Order(
        order_id,
        symbol,
        side,
        number,
        status,
        decimal_or_none(price),
        order_type,
        strategy,
        venue,
        client_order_id,
        reason,
        decimal_or_none(arrival_price),
        decision_ns,
        replaces,
        ts=ts_ns,
        ts_init=ts_init_ns,
    )
    return OrderReport(seq, event, bool(is_first))
