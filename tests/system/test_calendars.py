"""Calendars of exchanges through a server."""

from __future__ import annotations

from typing import Any

from hosts import post
from server_process import running


def instrument(symbol: str, calendar: str) -> dict[str, str]:
    return {"type": "instrument", "symbol": symbol, "kind": "equity", "quote_currency": "USD", "calendar": calendar}


def test_hours_are_read_without_the_server_and_shown_once_they_are_known() -> None:
    symbols = {"AAPL": "XNYS", "BTC": "24/7", "ODD": "NOWHERE"}
    with running() as server:
        answer = post(server, "/api/ingest", [instrument(*each) for each in symbols.items()])
        assert answer["accepted"] == 3
        prints = [{"type": "print", "symbol": symbol, "price": 100, "size": 1} for symbol in symbols]
        post(server, "/api/ingest", prints)
        shown: dict[str, Any] = {}
        while not (shown.keys() >= symbols.keys() and shown["AAPL"]["closed"] is not None):
            shown = server.next_snapshot()["market_data"]
        assert shown["BTC"]["closed"] is False
        assert not (shown["AAPL"]["closed"] and shown["AAPL"]["stale"])
        # What cannot be read is known about as late.
        faults: dict[str, str | None] = {}
        while not faults.get("ODD"):
            server.next_snapshot()
            faults = {each["symbol"]: each["calendar_fault"] for each in server.get("/api/instruments")["instruments"]}
        assert "no calendar" in str(faults["ODD"])
        assert (faults["AAPL"], faults["BTC"]) == (None, None)
