"""Kraken spot, version 2 of its WebSocket API: tickers on each change of the best bid or ask, and trades.

    {"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":105944.2,"bid_qty":2.5,"ask":...}]}
    {"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":105944.2,"qty":0.0002,
                                                "trade_id":10218208,"timestamp":"2023-10-06T17:35:55.440295Z"}]}

Numbers are JSON numbers; `side` is the taker's; the trade ids of a pair have no gaps. A new subscription begins with
the last trades. https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/ticker
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from observability.events import Price, Print, Quote, Side, Size, Symbol
from observability.sources.feeds.dialect import HEARTBEAT, NOTICE, UNKNOWN, Dialect, Heartbeat, MarketEvent


class _Message(msgspec.Struct, gc=False):
    channel: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw()
    method: str = ""
    success: bool | None = None
    error: str = ""


class _Ticker(msgspec.Struct, gc=False):
    symbol: Symbol
    bid: Price
    bid_qty: Size
    ask: Price
    ask_qty: Size
    timestamp: str | None = None


class _Trade(msgspec.Struct, gc=False):
    symbol: Symbol
    side: Literal["buy", "sell"]
    price: Price
    qty: Size
    trade_id: int
    timestamp: str


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_tickers = msgspec.json.Decoder(list[_Ticker]).decode
_decode_trades = msgspec.json.Decoder(list[_Trade]).decode


class KrakenDialect(Dialect):
    """Of the spot exchange."""

    venue = "KRAKEN"
    url = "wss://ws.kraken.com/v2"
    heartbeat = Heartbeat(20.0, b'{"method":"ping"}')

    @staticmethod
    def symbol(text: str) -> str:
        return text.upper()

    def requests(self, symbols: Sequence[str]) -> list[tuple[dict[str, Any], int]]:
        channels = ({"channel": "ticker", "event_trigger": "bbo"}, {"channel": "trade"})
        return [
            ({"method": "subscribe", "params": {**channel, "symbol": symbols, "snapshot": True}}, len(symbols))
            for channel in channels
        ]

    def decode(self, message: bytes, ts_init: int) -> Sequence[MarketEvent] | str:
        # hot: once per message (benchmarks/bench_feeds.py)
        envelope = _decode_message(message)
        if envelope.channel == "ticker":
            return [
                Quote(
                    each.symbol, each.bid, each.ask, each.bid_qty, each.ask_qty, self.venue,
                    ts=None if each.timestamp is None else self.time_of(each.timestamp), ts_init=ts_init,
                )
                for each in _decode_tickers(envelope.data)
            ]  # fmt: skip
        if envelope.channel == "trade":
            trades = [self._print(each, ts_init) for each in _decode_trades(envelope.data)]
            if envelope.type == "snapshot":
                return self.missed_trades(trades)
            for symbol, trade_id, _ in trades:
                self.count_trade(symbol, trade_id)
            return [event for _, _, event in trades]
        return self._control(envelope)

    def _print(self, trade: _Trade, ts_init: int) -> tuple[str, int, MarketEvent]:
        aggressor_side: Side = trade.side
        event = Print(
            trade.symbol, trade.price, trade.qty, aggressor_side, trade.trade_id, self.venue,
            ts=self.time_of(trade.timestamp), ts_init=ts_init,
        )  # fmt: skip
        return trade.symbol, trade.trade_id, event

    def _control(self, message: _Message) -> str:
        if message.method == "subscribe":
            if not message.success:
                raise self.refuse(message.error)
            return self.confirm()
        if message.method == "pong" or message.channel == "heartbeat":
            return HEARTBEAT
        return NOTICE if message.channel == "status" else message.channel or UNKNOWN
