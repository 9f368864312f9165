"""Binance, spot and USD-M futures: combined streams of trades and book tickers.

    {"stream":"btcusdt@bookTicker","data":{"s":"BTCUSDT","b":"61837.63","B":"3.7","a":...}}
    {"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":3735683259,"p":"61837.63","q":"0.02","T":1723161255342,"m":true}}

Trade ids have no gaps. Spot book tickers have no time of the exchange. A symbol that is not listed is confirmed like
any other and stays silent. https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from observability.events import Price, Print, Quote, Side, Size, Symbol
from observability.sources.feeds.dialect import NOTICE, UNKNOWN, Dialect, Heartbeat, MarketEvent, time_of_ms


class _Error(msgspec.Struct, gc=False):
    msg: str = ""


class _Message(msgspec.Struct, gc=False, rename={"last_update_id": "lastUpdateId", "kind": "e"}):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()
    last_update_id: int | None = None
    kind: str = ""
    id: int | None = None
    error: _Error | None = None
    msg: str = ""


class _BookTicker(
    msgspec.Struct,
    gc=False,
    rename={"symbol": "s", "bid": "b", "bid_size": "B", "ask": "a", "ask_size": "A", "event_ms": "E"},
):
    symbol: Symbol
    bid: Price
    bid_size: Size
    ask: Price
    ask_size: Size
    # Sent by futures, not by spot.
    event_ms: int | None = None


class _Trade(
    msgspec.Struct,
    gc=False,
    rename={"symbol": "s", "price": "p", "size": "q", "trade_ms": "T", "buyer_is_maker": "m", "kind": "X"},
):
    symbol: Symbol
    price: Price
    size: Size
    trade_ms: int
    buyer_is_maker: bool
    t: int | None = None
    """The id of a trade."""
    a: int | None = None
    """The id of an aggregate trade: those of one order at one price and moment, together."""
    kind: str = "MARKET"
    """Sent by futures: `NA` is no trade."""


# Not strict, because the exchange sends numbers as text.
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_book_ticker = msgspec.json.Decoder(_BookTicker, strict=False).decode
_decode_trade: Final[Callable[[msgspec.Raw], _Trade]] = msgspec.json.Decoder(_Trade, strict=False).decode


class BinanceDialect(Dialect):
    """Of the spot exchange. Where a symbol has trades in both forms, those of the form that comes first are taken."""

    venue = "BINANCE"
    url = "wss://stream.binance.com:9443/stream"
    heartbeat = Heartbeat(30.0)
    max_age_seconds = 24 * 3600.0

    def __init__(self) -> None:
        super().__init__()
        self._channels: dict[str, str] = {}

    @staticmethod
    def symbol(text: str) -> str:
        return text.replace("/", "").upper()

    def requests(self, symbols: Sequence[str]) -> list[tuple[dict[str, Any], int]]:
        streams = [f"{symbol.lower()}@{channel}" for symbol in symbols for channel in ("bookTicker", "trade")]
        return [({"method": "SUBSCRIBE", "params": streams, "id": 1}, 1)]

    def decode(self, message: bytes, ts_init: int) -> Sequence[MarketEvent] | str:
        # hot: once per message (benchmarks/bench_feeds.py)
        envelope = _decode_message(message)
        channel = envelope.stream.partition("@")[2]
        if channel == "bookTicker":
            touch = _decode_book_ticker(envelope.data)
            ts = None if touch.event_ms is None else time_of_ms(touch.event_ms)
            return (
                Quote(
                    touch.symbol, touch.bid, touch.ask, touch.bid_size, touch.ask_size, self.venue,
                    ts=ts, ts_init=ts_init,
                ),
            )  # fmt: skip
        if channel in ("trade", "aggTrade"):
            trade = _decode_trade(envelope.data)
            trade_id = trade.t if channel == "trade" else trade.a
            if trade_id is None:
                raise ValueError(f"{channel} without an id")
            if self._channels.setdefault(trade.symbol, channel) != channel:
                return f"{channel} beside {self._channels[trade.symbol]}"
            if trade.kind == "NA":
                return "trade that is none"
            aggressor_side: Side = "sell" if trade.buyer_is_maker else "buy"
            event = Print(
                trade.symbol, trade.price, trade.size, aggressor_side, trade_id, self.venue,
                ts=time_of_ms(trade.trade_ms), ts_init=ts_init,
            )  # fmt: skip
            self.count_trade(trade.symbol, trade_id)
            return (event,)
        return channel or self._control(envelope)

    def _control(self, message: _Message) -> str:
        if message.error is not None or message.msg:
            raise self.refuse(message.error.msg if message.error is not None else message.msg)
        if message.id is not None:
            return self.confirm()
        if message.kind == "serverShutdown":
            self.is_leaving = True
            return NOTICE
        return UNKNOWN if message.last_update_id is None else "rest_depth_snapshot"


class BinanceUsdmDialect(BinanceDialect):
    """Of USD-M futures, whose symbols may be those of spot. The path has trades and book tickers, no aggregate ones."""

    venue = "BINANCE-USDM"
    url = "wss://fstream.binance.com/public/stream"
