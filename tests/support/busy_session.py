"""A session in which everything happens that the API can tell of: markets at two venues, orders of every fate,
bookings, corrections, differences to the engine, alerts, silences and log lines."""

from __future__ import annotations

from typing import Any

from hosts import post
from server_process import Server

REJECTS = ("insufficient margin", "price outside of the limits", "unknown instrument")


def events() -> list[dict[str, Any]]:
    """Returns the events in their order. They have no times of their own."""
    found: list[dict[str, Any]] = [
        {"type": "equity", "value": "250000"},
        {"type": "rate", "base": "EUR", "quote": "USD", "rate": "1.0845"},
        {
            "type": "instrument", "symbol": "FUT", "kind": "future", "quote_currency": "USD", "multiplier": "10",
            "tick_size": "0.25", "lot_size": "1", "expiry": "2030-12-18T21:00:00Z", "calendar": "XCME",
        },
        {"type": "instrument", "symbol": "SAP", "kind": "equity", "quote_currency": "EUR", "tick_size": "0.01"},
        {"type": "heartbeat", "component": "gateway", "status": "degraded", "detail": "slow"},
        {"type": "metric", "name": "queue_depth", "value": 12, "labels": {"venue": "XNAS"}},
        {"type": "log", "level": "error", "message": "the gateway is slow", "logger": "engine", "fields": {"ms": 250}},
        {"type": "alert", "severity": "critical", "title": "no quotes from XNAS", "key": "venue/XNAS"},
        {"type": "alert", "severity": "warning", "title": "risk limit near", "key": "risk"},
        {"type": "alert", "severity": "info", "title": "end of day soon", "key": "eod"},
        {"type": "alert", "severity": "info", "title": "end of day soon", "key": "eod", "state": "resolved"},
        {"type": "signal", "strategy": "mean", "symbol": "AAPL", "action": "buy", "confidence": 0.8},
    ]  # fmt: skip
    for symbol, price in (("AAPL", 100.0), ("AMZN", 200.0), ("SAP", 150.0), ("FUT", 4000.0)):
        for venue in ("XNAS", "BATS"):
            found.append({
                "type": "quote", "symbol": symbol, "bid": price - 0.01, "ask": price + 0.01, "bid_size": 500,
                "ask_size": 300, "venue": venue,
            })  # fmt: skip
            found.append({
                "type": "print", "symbol": symbol, "price": price, "size": 100, "aggressor_side": "buy", "venue": venue,
            })  # fmt: skip
    for number in range(60):
        found += _order(number)
    found += [
        {"type": "order", "order_id": "r1", "symbol": "AAPL", "side": "buy", "quantity": "10", "status": "new",
         "price": "99", "strategy": "mean", "venue": "XNAS"},
        {"type": "order", "order_id": "r1", "symbol": "AAPL", "side": "buy", "quantity": "10", "status": "replaced",
         "price": "99", "strategy": "mean", "venue": "XNAS"},
        {"type": "order", "order_id": "r2", "symbol": "AAPL", "side": "buy", "quantity": "12", "status": "new",
         "price": "99.5", "strategy": "mean", "venue": "XNAS", "replaces": "r1"},
        {"type": "fill", "trade_id": "h1", "symbol": "HEDGED", "side": "buy", "quantity": "2", "price": "50",
         "strategy": "hedge", "position_side": "long"},
        {"type": "fill", "trade_id": "h2", "symbol": "HEDGED", "side": "sell", "quantity": "1", "price": "51",
         "strategy": "hedge", "position_side": "short", "reason": "liquidation"},
        {"type": "position", "symbol": "AAPL", "quantity": "1000", "avg_price": "100", "strategy": "mean"},
        {"type": "position", "symbol": "OLD", "quantity": "5", "avg_price": "10", "strategy": "mean", "adopt": True},
        {"type": "cash", "amount": "1000", "reason": "deposit", "cash_id": "cash1", "strategy": "mean"},
        {"type": "cash", "amount": "2000", "reason": "deposit", "cash_id": "cash1", "strategy": "mean"},
        {"type": "cash", "amount": "-10", "reason": "fee", "cash_id": "cash2", "currency": "EUR"},
        {"type": "funding", "symbol": "FUT", "amount": "-1.25", "funding_id": "funding1", "strategy": "mean"},
        {"type": "dividend", "symbol": "AAPL", "amount_per_share": "0.25", "dividend_id": "dividend1"},
        {"type": "split", "symbol": "OLD", "numerator": "2", "split_id": "split1"},
        {"type": "settlement", "symbol": "OLD", "price": "6", "settlement_id": "settlement1"},
        {"type": "correct", "trade_id": "t1", "order_id": "o1", "symbol": "AMZN", "side": "sell", "price": "200.5"},
        {"type": "bust", "trade_id": "t4", "order_id": "o4", "symbol": "AAPL", "side": "buy"},
        {"type": "bust", "trade_id": "never", "order_id": "o9", "symbol": "AAPL", "side": "buy"},
        {"type": "fill", "trade_id": "t1", "order_id": "o1", "symbol": "AMZN", "side": "sell", "quantity": "99",
         "price": "200", "strategy": "trend", "venue": "XNAS"},
    ]  # fmt: skip
    return found


def _order(number: int) -> list[dict[str, Any]]:
    """Returns the reports and fills of one order: filled, in parts, rejected, cancelled or still open."""
    symbol, price = ("AAPL", 100) if number % 2 == 0 else ("AMZN", 200)
    common = {
        "type": "order", "order_id": f"o{number}", "symbol": symbol, "side": "buy" if number % 4 < 1 else "sell",
        "quantity": "10", "price": f"{price}", "order_type": "limit",
        "strategy": "mean" if number % 2 == 0 else "trend", "venue": "XNAS" if number % 3 else "BATS",
        "client_order_id": f"c{number}",
    }  # fmt: skip
    fill = {
        "type": "fill", "trade_id": f"t{number}", "commission": "0.35", "commission_asset": "USD", "liquidity": "taker",
        "latency_ms": 1.5, **{name: common[name] for name in ("order_id", "symbol", "side", "strategy", "venue")},
    }  # fmt: skip
    sent = [{**common, "status": "pending_new", "arrival_price": f"{price}.01"}]
    if number % 7 == 3:
        return [*sent, {**common, "status": "rejected", "reason": REJECTS[number % 3]}]
    sent.append({**common, "status": "new"})
    if number % 7 == 5:
        return [*sent, {**common, "status": "pending_cancel"}, {**common, "status": "canceled"}]
    if number % 7 == 6:
        return [*sent, {**fill, "quantity": "4", "price": f"{price}.02"}, {**common, "status": "partially_filled"}]
    return [*sent, {**fill, "quantity": "10", "price": f"{price}.02"}, {**common, "status": "filled"}]


def play(server: Server) -> None:
    """Sends the session to a server, acknowledges an alert and silences another."""
    post(server, "/api/ingest", events())
    server.next_snapshot()
    (found,) = [alert for alert in server.get("/api/system/alerts")["alerts"] if alert["key"] == "risk"]
    post(server, f"/api/system/alerts/acknowledge/{found['alert_id']}?author=ana&comment=seen", {})
    post(server, "/api/system/silences", {"rules": ["stale_*"], "duration": "4h", "author": "ana", "comment": "closed"})
