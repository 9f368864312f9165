"""OKX version 5: the best bid and ask tick by tick, and trades.

    {"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"bids":[["8476.97","256","0","12"]],"asks":[...],
                                                              "ts":"1597026383085","seqId":123456}]}
    {"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9",
                                                             "sz":"0.12","side":"buy","ts":"1630048897897","count":"3"}]}

Every message of bbo-tbt is a whole touch. A print stands for `count` trades of one order at one price, of which it has
the last id; the trade ids of an instrument have no gaps. `side` is the taker's. Sizes of derivatives are contracts.
https://www.okx.com/docs-v5/en/#order-book-trading-market-data
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from observability.events import Price, Print, Quote, Size, Symbol
from observability.sources.feeds.dialect import HEARTBEAT, NOTICE, UNKNOWN, Dialect, Heartbeat, MarketEvent, time_of_ms


class _Argument(msgspec.Struct, frozen=True, gc=False, rename={"symbol": "instId"}):
    channel: str = ""
    symbol: Symbol = ""


class _Message(msgspec.Struct, gc=False):
    arg: _Argument = _Argument()
    data: msgspec.Raw = msgspec.Raw()
    event: str = ""
    msg: str = ""


_Level = tuple[Price, Size, str, str]


class _Book(msgspec.Struct, gc=False, rename={"sequence": "seqId", "previous": "prevSeqId"}):
    bids: list[_Level]
    asks: list[_Level]
    ts: int
    sequence: int | None = None
    previous: int | None = None


class _Trade(msgspec.Struct, gc=False, rename={"symbol": "instId", "trade_id": "tradeId", "price": "px", "size": "sz"}):
    symbol: Symbol
    trade_id: int
    price: Price
    size: Size
    side: Literal["buy", "sell"]
    ts: int
    count: int = 1


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_books = msgspec.json.Decoder(list[_Book], strict=False).decode
_decode_trades = msgspec.json.Decoder(list[_Trade], strict=False).decode


class OkxDialect(Dialect):
    """Of all instruments: `BTC-USDT` is spot, `BTC-USDT-SWAP` the perpetual."""

    venue = "OKX"
    url = "wss://ws.okx.com:8443/ws/v5/public"
    # The venue closes a connection on which nothing was sent either way for 30 seconds.
    heartbeat = Heartbeat(20.0, b"ping")

    def __init__(self) -> None:
        super().__init__()
        self._sequences: dict[str, int] = {}

    @staticmethod
    def symbol(text: str) -> str:
        return text.replace("/", "-").upper()

    def requests(self, symbols: Sequence[str]) -> list[tuple[dict[str, Any], int]]:
        self._sequences.clear()
        arguments = [{"channel": channel, "instId": symbol} for symbol in symbols for channel in ("bbo-tbt", "trades")]
        return [({"op": "subscribe", "args": arguments}, len(arguments))]

    def decode(self, message: bytes, ts_init: int) -> Sequence[MarketEvent] | str:
        # hot: once per message (benchmarks/bench_feeds.py)
        if message == b"pong":
            return HEARTBEAT
        envelope = _decode_message(message)
        if envelope.event:
            return self._control(envelope)
        channel = envelope.arg.channel
        if channel == "bbo-tbt":
            symbol = envelope.arg.symbol
            return [self._quote(symbol, book, ts_init) for book in _decode_books(envelope.data)]
        if channel == "trades":
            events: list[MarketEvent] = []
            for each in _decode_trades(envelope.data):
                events.append(
                    Print(
                        each.symbol, each.price, each.size, each.side, each.trade_id, self.venue,
                        ts=time_of_ms(each.ts), ts_init=ts_init,
                    )
                )  # fmt: skip
                self.count_trade(each.symbol, each.trade_id, each.count)
            return events
        return channel or UNKNOWN

    def _quote(self, symbol: str, book: _Book, ts_init: int) -> Quote:
        if book.sequence is not None:
            newest = self._sequences.get(symbol)
            # Where the venue names the message before this one, another one in between was lost.
            if newest is not None and book.previous is not None and newest < book.previous:
                self.gaps += 1
            self._sequences[symbol] = book.sequence
        bid, bid_size = book.bids[0][:2] if book.bids else (None, None)
        ask, ask_size = book.asks[0][:2] if book.asks else (None, None)
        return Quote(symbol, bid, ask, bid_size, ask_size, self.venue, ts=time_of_ms(book.ts), ts_init=ts_init)

    def _control(self, message: _Message) -> str:
        if message.event == "error":
            raise self.refuse(message.msg)
        if message.event == "subscribe":
            return self.confirm()
        if message.event == "notice":
            # The connection is about to be closed for an upgrade of the service.
            self.is_leaving = True
        return NOTICE
