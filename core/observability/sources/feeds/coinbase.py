"""Coinbase Advanced Trade: tickers, market trades, and the heartbeats that keep the subscriptions open.

    {"channel":"ticker","timestamp":"2026-04-07T14:30:03Z","sequence_num":12,"events":[{"type":"update","tickers":[
        {"product_id":"BTC-USD","best_bid":"68900.00","best_bid_quantity":"1.5","best_ask":...}]}]}
    {"channel":"market_trades","sequence_num":5,"events":[{"type":"update","trades":[
        {"trade_id":"995098700","product_id":"BTC-USD","price":"68900.50","size":"0.0015","side":"BUY","time":...}]}]}

`side` is the maker's. `sequence_num` counts all messages of a connection, from 0. A ticker is sent with each trade, so
a touch that moves without one is seen later. A new subscription begins with the last trades.
https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from observability.events import Price, Print, Quote, Side, Size, Symbol
from observability.sources.feeds.dialect import HEARTBEAT, UNKNOWN, Dialect, Heartbeat, MarketEvent


class _Message(msgspec.Struct, gc=False, rename={"kind": "type"}):
    channel: str = ""
    timestamp: str = ""
    sequence_num: int | None = None
    events: msgspec.Raw = msgspec.Raw()
    kind: str = ""
    message: str = ""


class _Ticker(msgspec.Struct, gc=False):
    product_id: Symbol
    best_bid: Price
    best_bid_quantity: Size
    best_ask: Price
    best_ask_quantity: Size


class _Tickers(msgspec.Struct, gc=False):
    tickers: list[_Ticker]


class _Trade(msgspec.Struct, gc=False):
    product_id: Symbol
    trade_id: int
    price: Price
    size: Size
    side: Literal["BUY", "SELL", "UNKNOWN_ORDER_SIDE"]
    time: str


class _Trades(msgspec.Struct, gc=False):
    type: str
    trades: list[_Trade]


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_tickers = msgspec.json.Decoder(list[_Tickers], strict=False).decode
_decode_trades = msgspec.json.Decoder(list[_Trades], strict=False).decode

_AGGRESSORS: Final[dict[str, Side]] = {"BUY": "sell", "SELL": "buy"}


class CoinbaseDialect(Dialect):
    """Of Advanced Trade."""

    venue = "COINBASE"
    url = "wss://advanced-trade-ws.coinbase.com"
    heartbeat = Heartbeat(20.0)

    def __init__(self) -> None:
        super().__init__()
        self._sequence: int | None = None

    @staticmethod
    def symbol(text: str) -> str:
        return text.replace("/", "-").upper()

    def requests(self, symbols: Sequence[str]) -> list[tuple[dict[str, Any], int]]:
        self._sequence = None
        return [
            ({"type": "subscribe", "channel": "heartbeats"}, 1),
            ({"type": "subscribe", "channel": "ticker", "product_ids": symbols}, 1),
            ({"type": "subscribe", "channel": "market_trades", "product_ids": symbols}, 1),
        ]

    def decode(self, message: bytes, ts_init: int) -> Sequence[MarketEvent] | str:
        # hot: once per message (benchmarks/bench_feeds.py)
        envelope = _decode_message(message)
        if envelope.sequence_num is not None:
            if self._sequence is not None and envelope.sequence_num > self._sequence + 1:
                self.gaps += envelope.sequence_num - self._sequence - 1
            self._sequence = envelope.sequence_num
        if envelope.channel == "ticker":
            ts = self.time_of(envelope.timestamp)
            return [
                Quote(
                    each.product_id, each.best_bid, each.best_ask, each.best_bid_quantity, each.best_ask_quantity,
                    self.venue, ts=ts, ts_init=ts_init,
                )
                for event in _decode_tickers(envelope.events)
                for each in event.tickers
            ]  # fmt: skip
        if envelope.channel == "market_trades":
            events: list[MarketEvent] = []
            for update in _decode_trades(envelope.events):
                trades = [self._print(each, ts_init) for each in reversed(update.trades)]
                if update.type == "snapshot":
                    events += self.missed_trades(trades)
                else:
                    for symbol, trade_id, event in trades:
                        self.note_trade(symbol, trade_id)
                        events.append(event)
            return events
        return self._control(envelope)

    def _print(self, trade: _Trade, ts_init: int) -> tuple[str, int, MarketEvent]:
        event = Print(
            trade.product_id, trade.price, trade.size, _AGGRESSORS.get(trade.side), trade.trade_id, self.venue,
            ts=self.time_of(trade.time), ts_init=ts_init,
        )  # fmt: skip
        return trade.product_id, trade.trade_id, event

    def _control(self, message: _Message) -> str:
        if message.kind == "error":
            raise self.refuse(message.message)
        if message.channel == "subscriptions":
            return self.confirm()
        return HEARTBEAT if message.channel == "heartbeats" else message.channel or UNKNOWN
