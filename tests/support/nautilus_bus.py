"""What NautilusTrader's message bus writes: the dicts of its events, and the fields of a stream's entry.

The dicts are those of `to_dict` of version 1.221; entries of version 2 have `type` and `encoding` besides.
"""

from __future__ import annotations

from typing import Any

import msgspec

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
STRATEGY = "EMA-CROSS-001"
ORDER = "O-20261129-000000-001-001-1"
ACCOUNT = "BINANCE-001"
T0 = 1_795_957_200_000_000_000
EVENT_ID = "0735d249-fec9-4f8a-a7fd-4e21f28d057e"


def entry(message: dict[str, Any], *, encoding: str = "msgpack", version: int = 1) -> dict[str, bytes]:
    """Returns the fields of an entry. Version 1 writes times as text."""
    topic = {"Q": "data.quotes", "T": "data.trades", "O": "events.order", "P": "events.position"}.get(
        message["type"][0], "events"
    )
    codec: Any = msgspec.json if encoding == "json" else msgspec.msgpack
    if version == 1:
        timed = {name: str(value) if name.startswith("ts_") else value for name, value in message.items()}
        return {"topic": topic.encode(), "payload": codec.encode(timed)}
    return {
        "topic": topic.encode(),
        "type": kind_of(message["type"]).encode(),
        "payload": codec.encode(message),
        "encoding": encoding.encode(),
    }


def kind_of(name: str) -> str:
    """Returns the field `type` of version 2."""
    return "OrderEventAny" if name.startswith("Order") else "PositionEvent" if name.startswith("Position") else name


def quote(number: int = 0, **other: Any) -> dict[str, Any]:
    return {
        "type": "QuoteTick", "instrument_id": INSTRUMENT, "bid_price": "61837.60", "ask_price": "61837.70",
        "bid_size": "1.500", "ask_size": "2.000", "ts_event": T0 + number, "ts_init": T0 + number + 500, **other,
    }  # fmt: skip


def trade(number: int = 0, **other: Any) -> dict[str, Any]:
    return {
        "type": "TradeTick", "instrument_id": INSTRUMENT, "price": "61837.70", "size": "0.250",
        "aggressor_side": "BUYER", "trade_id": f"M{number}", "ts_event": T0 + number, "ts_init": T0 + number + 500,
        **other,
    }  # fmt: skip


def initialized(order_id: str = ORDER, **other: Any) -> dict[str, Any]:
    return {
        "type": "OrderInitialized", "trader_id": "TESTER-001", "strategy_id": STRATEGY, "instrument_id": INSTRUMENT,
        "client_order_id": order_id, "order_side": "BUY", "order_type": "LIMIT", "quantity": "2.000",
        "time_in_force": "GTC", "post_only": True, "reduce_only": False, "quote_quantity": False,
        "options": {"price": "61000.10", "display_qty": None, "expire_time_ns": 0}, "emulation_trigger": "NO_TRIGGER",
        "trigger_instrument_id": None, "contingency_type": "NO_CONTINGENCY", "order_list_id": None,
        "linked_order_ids": None, "parent_order_id": None, "exec_algorithm_id": None, "exec_algorithm_params": None,
        "exec_spawn_id": None, "tags": None, "event_id": EVENT_ID, "ts_init": T0, "ts_event": T0,
        "reconciliation": False, **other,
    }  # fmt: skip


def order(kind: str, order_id: str | None = ORDER, **other: Any) -> dict[str, Any]:
    """Returns any later event of an order but OrderFilled."""
    return {
        "type": kind, "trader_id": "TESTER-001", "strategy_id": STRATEGY, "instrument_id": INSTRUMENT,
        "client_order_id": order_id, "venue_order_id": "V1", "account_id": ACCOUNT, "event_id": EVENT_ID,
        "ts_event": T0 + 1000, "ts_init": T0 + 1500, "reconciliation": False, **other,
    }  # fmt: skip


def filled(trade_id: str, order_id: str | None = ORDER, **other: Any) -> dict[str, Any]:
    return {
        **order("OrderFilled", order_id), "trade_id": trade_id, "position_id": "P-1", "order_side": "BUY",
        "order_type": "LIMIT", "last_qty": "1.000", "last_px": "61000.10", "currency": "USDT",
        "commission": "12.20002000 USDT", "liquidity_side": "MAKER", "info": None, **other,
    }  # fmt: skip


def position(kind: str, **other: Any) -> dict[str, Any]:
    return {
        "type": kind, "trader_id": "TESTER-001", "strategy_id": STRATEGY, "instrument_id": INSTRUMENT,
        "position_id": "P-1", "account_id": ACCOUNT, "opening_order_id": ORDER, "entry": "BUY", "side": "LONG",
        "signed_qty": 1.0, "quantity": "1.000", "peak_qty": "1.000", "last_qty": "1.000", "last_px": "61000.10",
        "currency": "USDT", "avg_px_open": 61000.1, "realized_pnl": "-12.20002000 USDT", "event_id": EVENT_ID,
        "ts_event": T0 + 2000, "ts_init": T0 + 2500, **other,
    }  # fmt: skip


def closed(**other: Any) -> dict[str, Any]:
    """Returns a PositionClosed, which has no `ts_event`."""
    message = position(
        "PositionClosed", side="FLAT", signed_qty=0.0, quantity="0.000", avg_px_close=61002.3, realized_return=0.0001,
        ts_opened=T0 + 2000, ts_closed=T0 + 3000, closing_order_id=ORDER, duration_ns=1000, **other,
    )  # fmt: skip
    del message["ts_event"]
    return message


def account(total: str = "1000000.00", currency: str = "USDT", **other: Any) -> dict[str, Any]:
    return {
        "type": "AccountState", "account_id": ACCOUNT, "account_type": "MARGIN", "base_currency": None,
        "balances": [balance(total, currency)], "margins": [], "reported": True, "info": {}, "event_id": EVENT_ID,
        "ts_event": T0, "ts_init": T0, **other,
    }  # fmt: skip


def balance(total: str, currency: str) -> dict[str, Any]:
    return {"type": "AccountBalance", "total": total, "locked": "0.00", "free": total, "currency": currency}
