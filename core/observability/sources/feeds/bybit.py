"""Bybit version 5, spot: the first level of the order book, and trades.

    {"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1672304484978,"cts":1672304484976,
     "data":{"s":"BTCUSDT","b":[["16578.50","1.5"]],"a":[["16578.56","0.6"]],"u":18521288,"seq":7961638724}}
    {"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":...,
     "data":[{"T":1709891679000,"s":"BTCUSDT","S":"Buy","v":"0.010","p":"27451.00","i":"2290000000067434"}]}

`S` is the taker's side. Trade ids and the update ids of snapshots leave numbers out, so what is lost of them is not
known; those of deltas leave none out. https://bybit-exchange.github.io/docs/v5/ws/connect
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from observability.events import OptionalName, Price, Print, Quote, Side, Size, Symbol
from observability.sources.feeds.dialect import HEARTBEAT, UNKNOWN, Dialect, Heartbeat, MarketEvent, time_of_ms

# More are refused for spot.
_MAX_TOPICS_PER_REQUEST: Final = 10


class _Message(msgspec.Struct, gc=False):
    topic: str = ""
    type: str = ""
    ts: int = 0
    cts: int = 0
    data: msgspec.Raw = msgspec.Raw()
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""


class _Book(msgspec.Struct, gc=False, rename={"symbol": "s", "bids": "b", "asks": "a", "update_id": "u"}):
    symbol: Symbol
    bids: list[tuple[Price, Size]]
    asks: list[tuple[Price, Size]]
    update_id: int


class _Trade(
    msgspec.Struct,
    gc=False,
    rename={"symbol": "s", "trade_ms": "T", "side": "S", "size": "v", "price": "p", "trade_id": "i"},
):
    symbol: Symbol
    trade_ms: int
    side: Literal["Buy", "Sell"]
    size: Size
    price: Price
    trade_id: OptionalName


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_book = msgspec.json.Decoder(_Book, strict=False).decode
_decode_trades = msgspec.json.Decoder(list[_Trade], strict=False).decode

_SIDES: Final[dict[str, Side]] = {"Buy": "buy", "Sell": "sell"}
_Level = tuple[float, float]


class _Touch:
    """The first level of a book, from snapshots and the deltas after them."""

    __slots__ = ("ask", "bid", "update_id")

    def __init__(self) -> None:
        self.bid: _Level | None = None
        self.ask: _Level | None = None
        self.update_id: int | None = None
        """None until a snapshot."""


class BybitDialect(Dialect):
    """Of the spot exchange, and by another URL of linear and inverse contracts."""

    venue = "BYBIT"
    url = "wss://stream.bybit.com/v5/public/spot"
    heartbeat = Heartbeat(20.0, b'{"op":"ping"}')

    def __init__(self) -> None:
        super().__init__()
        self._touches: dict[str, _Touch] = {}

    @staticmethod
    def symbol(text: str) -> str:
        return text.replace("/", "").upper()

    def requests(self, symbols: Sequence[str]) -> list[tuple[dict[str, Any], int]]:
        self._touches.clear()
        topics = [f"{channel}.{symbol}" for symbol in symbols for channel in ("orderbook.1", "publicTrade")]
        return [
            ({"op": "subscribe", "args": topics[start : start + _MAX_TOPICS_PER_REQUEST]}, 1)
            for start in range(0, len(topics), _MAX_TOPICS_PER_REQUEST)
        ]

    def decode(self, message: bytes, ts_init: int) -> Sequence[MarketEvent] | str:
        # hot: once per message (benchmarks/bench_feeds.py)
        envelope = _decode_message(message)
        channel = envelope.topic.partition(".")[0]
        if channel == "publicTrade":
            return [
                Print(
                    each.symbol, each.price, each.size, _SIDES[each.side], each.trade_id, self.venue,
                    ts=time_of_ms(each.trade_ms), ts_init=ts_init,
                )
                for each in _decode_trades(envelope.data)
            ]  # fmt: skip
        if channel == "orderbook":
            return self._quote(_decode_book(envelope.data), envelope, ts_init)
        return channel or self._control(envelope)

    def _quote(self, book: _Book, message: _Message, ts_init: int) -> Sequence[MarketEvent]:
        ts = time_of_ms(message.cts or message.ts)
        touch = self._touches.get(book.symbol)
        if touch is None:
            touch = self._touches[book.symbol] = _Touch()
        if message.type == "snapshot":
            touch.bid = book.bids[0] if book.bids else None
            touch.ask = book.asks[0] if book.asks else None
        else:
            if touch.update_id is None:
                return ()
            if book.update_id != touch.update_id + 1:
                self.gaps += max(0, book.update_id - touch.update_id - 1)
                # What the lost deltas were is not known: there is no touch until the next snapshot.
                touch.update_id = None
                return (Quote(book.symbol, None, None, None, None, self.venue, ts=ts, ts_init=ts_init),)
            touch.bid = _changed(touch.bid, book.bids)
            touch.ask = _changed(touch.ask, book.asks)
        touch.update_id = book.update_id
        bid, bid_size = touch.bid or (None, None)
        ask, ask_size = touch.ask or (None, None)
        return (Quote(book.symbol, bid, ask, bid_size, ask_size, self.venue, ts=ts, ts_init=ts_init),)

    def _control(self, message: _Message) -> str:
        if message.op in ("ping", "pong"):
            return HEARTBEAT
        if message.op == "subscribe":
            if not message.success:
                raise self.refuse(message.ret_msg)
            return self.confirm()
        return message.op or UNKNOWN


def _changed(level: _Level | None, changes: list[tuple[float, float]]) -> _Level | None:
    """Returns the only level of one side after a delta: a size of 0 removes a price, another one sets it."""
    for price, size in changes:
        if size:
            level = price, size
        elif level is not None and level[0] == price:
            level = None
    return level
