"""The meaning, the unit and an example of each field of the events; types and bounds are those of their Structs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from observability.schemas.builders import MONEY, PRICE, QUANTITY


@dataclass(frozen=True, slots=True)
class EventField:
    """One field, of one type of event or of all that have it."""

    meaning: str
    example: Any
    unit: str = ""


_COMMON: Final = {
    "ts": EventField("When it happened, by the engine or exchange; the time of arrival if absent.",
                     "2025-10-21T14:30:00.123456789Z"),
    "ts_init": EventField("When it arrived first; only recordings have it.", 1761057000123456789, "ns"),
    "symbol": EventField("The symbol.", "AAPL"),
    "venue": EventField("The venue; empty if there is but one.", "XNAS"),
    "strategy": EventField("The strategy.", "mean_reversion"),
    "price": EventField("The price.", "585.27", PRICE),
    "quantity": EventField("The quantity.", "100", QUANTITY),
    "side": EventField("Whether we buy or sell.", "buy"),
    "order_id": EventField("The engine's or exchange's id of the order.", "o1"),
    "trade_id": EventField("The exchange's id of the trade.", "t1"),
    "reason": EventField("Why, in words.", "insufficient margin"),
    "position_side": EventField("The side of the position in hedge mode.", "both"),
    "currency": EventField("The currency; the reporting one if empty.", "USD"),
    "detail": EventField("What there is to know, in words.", "no answer for 5 s"),
    "commission": EventField("The fee; negative for a rebate.", "0.5", MONEY),
    "confidence": EventField("How sure the strategy is.", 0.8, "as sent"),
}  # fmt: skip
_OF_TYPE: Final = {
    "quote": {
        "bid": EventField("Best bid; null for a side without orders.", 585.25, PRICE),
        "ask": EventField("Best ask; null for a side without orders.", 585.27, PRICE),
        "bid_size": EventField("Size at the best bid.", 300.0, QUANTITY),
        "ask_size": EventField("Size at the best ask.", 200.0, QUANTITY),
    },
    "print": {
        "price": EventField("The price.", 585.26, PRICE),
        "size": EventField("The quantity traded.", 200.0, QUANTITY),
        "aggressor_side": EventField("The side that took liquidity.", "buy"),
        "trade_id": EventField("The exchange's id; a print with one counts once.", "4711"),
    },
    "order": {
        "quantity": EventField("Of the whole order, not the remainder.", "100", QUANTITY),
        "status": EventField("FIX OrdStatus (39).", "new"),
        "price": EventField("The limit; absent without one.", "585.27", PRICE),
        "order_type": EventField("Such as `limit`.", "limit"),
        "client_order_id": EventField("The client's own id.", "c1"),
        "reason": EventField("Why, for rejects and others.", ""),
        "arrival_price": EventField("The engine's price when the order arrived.", "585.26", PRICE),
        "decision_ts": EventField("When it was decided.", "2025-10-21T14:30:00.120Z"),
        "replaces": EventField("The order in whose place this one goes on.", ""),
    },
    "fill": {
        "order_id": EventField("Its order; empty for what a venue did to a position.", "o1"),
        "commission_asset": EventField("The currency of the commission; by default the instrument's.", "USD"),
        "liquidity": EventField("Whether it added or took liquidity.", "taker"),
        "latency_ms": EventField("From sending to acknowledgement, as the engine measured it.", 1.2, "ms"),
        "reason": EventField("Why it was filled, if no order did it: `liquidation`, `adl`, `settlement`.", ""),
        "corrects": EventField("The id of the fill in whose place this one counts.", ""),
    },
    "position": {
        "quantity": EventField("Signed quantity that the engine holds.", "100", QUANTITY),
        "avg_price": EventField("Its average price.", "585.1", PRICE),
        "adopt": EventField("Whether to take it over, as opened before the first fill.", False),
    },
    "signal": {"action": EventField("What the strategy wants to do.", "buy")},
    "equity": {"value": EventField("The equity of the account, or of the strategy.", "250000", MONEY)},
    "log": {
        "level": EventField("How bad it is.", "warning"),
        "message": EventField("The line.", "order o1 was refused"),
        "logger": EventField("Who wrote it.", "engine.orders"),
        "fields": EventField("Further fields; at most 16 KiB of JSON.", {"attempt": 2}),
    },
    "alert": {
        "severity": EventField("How bad it is.", "warning"),
        "title": EventField("What is wrong.", "the venue does not answer"),
        "key": EventField("Events of the same key are about the same alert; the title if empty.", "venue/XNAS"),
        "state": EventField("Whether it begins or is over.", "raised"),
        "labels": EventField("Labels of the alert; at most 32.", {"team": "equities"}),
        "links": EventField("Pages that help, by a word for each.", {"runbook": "https://wiki.example.com/feed"}),
    },
    "heartbeat": {
        "component": EventField("Who is alive.", "order_gateway"),
        "status": EventField("How it is.", "ok"),
    },
    "metric": {
        "name": EventField("The series' name.", "queue_depth"),
        "value": EventField("Its value.", 12.0, "as sent"),
        "labels": EventField("Its labels; at most 8.", {"venue": "XNAS"}),
    },
    "instrument": {
        "venue": EventField("The venue it holds at; empty for all.", ""),
        "kind": EventField("What it is.", "equity"),
        "quote_currency": EventField("What its price is in.", "USD"),
        "base_currency": EventField("What is traded.", ""),
        "settlement_currency": EventField("What its P&L is in; the quote currency if empty.", "USD"),
        "multiplier": EventField("Units per contract.", "1", "1"),
        "contract": EventField("Its form.", "linear"),
        "tick_size": EventField("The smallest step of its price.", "0.01", PRICE),
        "lot_size": EventField("The smallest step of its quantity.", "1", QUANTITY),
        "expiry": EventField("When it ends.", "2026-12-18T21:00:00Z"),
        "calendar": EventField("The exchange whose sessions it trades in (ISO 10383).", "XNAS"),
    },
    "rate": {
        "base": EventField("One of this currency", "EUR"),
        "quote": EventField("is so many of this one.", "USD"),
        "rate": EventField("The rate.", "1.0845", "rate"),
    },
    "cash": {
        "amount": EventField("+ comes in, - goes out.", "10000", MONEY),
        "reason": EventField("What it is; deposits, withdrawals and transfers are no P&L.", "deposit"),
        "cash_id": EventField("Its id: with one it counts once.", "d1"),
    },
    "funding": {
        "amount": EventField("+ received, - paid.", "-1.25", MONEY),
        "funding_id": EventField("Its id: with one it counts once.", "f1"),
    },
    "dividend": {
        "amount_per_share": EventField("Per share; or `amount`.", "0.25", MONEY),
        "amount": EventField("The sum that was paid; or `amount_per_share`.", None, MONEY),
        "dividend_id": EventField("Its id: with one it counts once.", "v1"),
    },
    "split": {
        "numerator": EventField("`denominator` shares become this many.", "2", "1"),
        "denominator": EventField("Of how many shares.", "1", "1"),
        "split_id": EventField("Its id: with one it counts once.", "s1"),
    },
    "settlement": {
        "price": EventField("The final price; it closes every position in the symbol.", "585.27", PRICE),
        "settlement_id": EventField("Its id: with one it counts once.", "e1"),
    },
    "bust": {"side": EventField("The side of the fill.", "buy")},
    "correct": {
        "side": EventField("The side of the fill.", "buy"),
        "quantity": EventField("The right quantity; absent if it was right.", "90", QUANTITY),
        "price": EventField("The right price; absent if it was right.", "585.28", PRICE),
        "commission": EventField("The right fee; absent if it was right.", "0.45", MONEY),
        "new_trade_id": EventField("The id that the fill has from now on.", "t1a"),
    },
}  # fmt: skip


def event_field(kind: str, name: str) -> EventField | None:
    """Returns what a field of a type of event means; None if nothing is said of it."""
    return _OF_TYPE.get(kind, {}).get(name) or _COMMON.get(name)
