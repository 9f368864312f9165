"""The store's row of a trade, and back again: the trade and the fill that a row was made of.

A Decimal is stored as its digits and a time as integer nanoseconds, so that a fill made from its row equals the fill
that made the row. The columns are those of `observability.store.schema`, in order.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.errors import StoreError
from observability.events import Fill, code_of
from observability.metrics.trades.correction import Corrected
from observability.metrics.trades.trade import Trade

StoreRow = tuple[Any, ...]
"""The values of one row, in the order of its table's columns."""

_NOT_CORRECTED: Final[StoreRow] = ("", None, "")
_decode_corrected = msgspec.json.Decoder(Corrected).decode


def fill_row(trade: Trade, ts_init_ns: int) -> StoreRow:
    """Returns the row of a trade; `ts_init_ns` is when its fill arrived."""
    # hot: once per fill (benchmarks/bench_intake.py)
    pnl, mid, gross_pnl = trade.pnl, trade.mid, trade.gross_pnl
    fee_value, notional = trade.fee_value, trade.notional
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
        None if mid is None else str(mid),
        trade.slippage_bps,
        None if pnl is None else str(pnl),
        float(trade.quantity),
        None if gross_pnl is None else str(gross_pnl),
        trade.round_trip,
        trade.day,
        trade.leg,
        trade.is_flat,
        trade.position_side,
        trade.reason,
        trade.commission_asset,
        trade.currency,
        None if fee_value is None else str(fee_value),
        None if notional is None else str(notional),
        *(_NOT_CORRECTED if trade.corrected is None else correction_columns(trade)),
    )


def correction_columns(trade: Trade) -> StoreRow:
    """Returns the last columns of the row: status, corrections, and the id that a correction gave the fill."""
    corrected = trade.corrected
    if corrected is None:
        return _NOT_CORRECTED
    return corrected.status, msgspec.json.encode(corrected).decode(), corrected.new_id


def counted_columns(trade: Trade) -> StoreRow:
    """Returns what a correction of this or an earlier fill may change: the parameters of schema.UPDATE_COUNTED_FILL."""
    return (
        str(trade.quantity),
        str(trade.price),
        str(trade.commission),
        float(trade.quantity),
        trade.slippage_bps,
        text_or_none(trade.pnl),
        text_or_none(trade.gross_pnl),
        trade.round_trip,
        trade.is_flat,
        text_or_none(trade.fee_value),
        text_or_none(trade.notional),
        *correction_columns(trade),
        trade.seq,
    )


def trade_of(row: StoreRow) -> Trade:
    """Returns the trade. Raises StoreError if the row is damaged."""
    try:
        return _trade_of(row)
    except (ValueError, ArithmeticError, TypeError, msgspec.DecodeError) as error:
        raise StoreError(f"row {row[0]!r} of the trades is damaged: {error!r}") from None


def _trade_of(row: StoreRow) -> Trade:
    seq, ts_ns, ts_init_ns, trade_id, order_id, symbol, side, quantity, price, commission, liquidity = row[:11]
    strategy, venue, latency_ms, mid, slippage_bps, pnl, _, gross_pnl, round_trip, day, leg, is_flat = row[11:23]
    position_side, reason, commission_asset, currency, fee_value, notional, _, corrections, _ = row[23:]
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
        pnl=decimal_or_none(pnl),
        mid=decimal_or_none(mid),
        gross_pnl=decimal_or_none(gross_pnl),
        round_trip=round_trip,
        day=day,
        leg=leg,
        is_flat=bool(is_flat),
        position_side=position_side,
        reason=reason,
        commission_asset=code_of(commission_asset),
        currency=code_of(currency),
        fee_value=decimal_or_none(fee_value),
        notional=decimal_or_none(notional),
        ts_init_ns=ts_init_ns,
        corrected=None if corrections is None else _decode_corrected(corrections),
    )


def fill_of(row: StoreRow) -> Fill:
    """Returns the fill as it was delivered first."""
    trade = trade_of(row)
    trade.correct(None)
    return trade.to_fill()


def text_or_none(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def decimal_or_none(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
