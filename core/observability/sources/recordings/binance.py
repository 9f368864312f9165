"""Binance recordings: messages of combined streams as received, one per line, each after the local time of its arrival.

    1723161254087891268 {"stream":"btcusdt@bookTicker","data":{"s":"BTCUSDT","b":"61837.63","B":"3.7","a":...}}
    └ local ns, ts_init └ as sent

Level 1 only: depth updates and snapshots are counted, and no book is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from observability.clocks.timestamps import MAX_NS, NS_PER_MS
from observability.events import Event, Print, Quote, Side
from observability.sources.recordings.lines import RecordingCounts

BINANCE_VENUE = "BINANCE"

_LINE = re.compile(rb"(\d{16,19}) (\{.*)", re.DOTALL)


class _Message(msgspec.Struct, gc=False, rename={"last_update_id": "lastUpdateId"}):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()
    last_update_id: int | None = None


class _BookTicker(
    msgspec.Struct,
    gc=False,
    rename={"symbol": "s", "bid": "b", "bid_size": "B", "ask": "a", "ask_size": "A", "event_ms": "E"},
):
    symbol: str
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    # Sent by futures, not by spot.
    event_ms: int | None = None


class _Trade(
    msgspec.Struct,
    gc=False,
    rename={"symbol": "s", "trade_id": "t", "price": "p", "size": "q", "trade_ms": "T", "buyer_is_maker": "m"},
):
    symbol: str
    trade_id: int
    price: float
    size: float
    trade_ms: int
    buyer_is_maker: bool


class _AggregateTrade(
    msgspec.Struct,
    gc=False,
    rename={"symbol": "s", "trade_id": "a", "price": "p", "size": "q", "trade_ms": "T", "buyer_is_maker": "m"},
):
    """The trades of one order at one price and moment, together."""

    symbol: str
    trade_id: int
    price: float
    size: float
    trade_ms: int
    buyer_is_maker: bool


# Not strict, because the exchange sends numbers as text.
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_book_ticker = msgspec.json.Decoder(_BookTicker, strict=False).decode
_decode_trade: Final[Mapping[str, Callable[[msgspec.Raw], _Trade | _AggregateTrade]]] = {
    "trade": msgspec.json.Decoder(_Trade, strict=False).decode,
    "aggTrade": msgspec.json.Decoder(_AggregateTrade, strict=False).decode,
}


def looks_like_binance(line: bytes) -> bool:
    """Returns whether a line has the form of this recording."""
    return _LINE.fullmatch(line) is not None


def read_binance(lines: Iterable[bytes], *, counts: RecordingCounts) -> Iterator[Event]:
    """Yields a quote per book ticker and a print per trade or aggregate trade; counts other messages; counts and skips
    bad lines. If a symbol has trades of both kinds, those of the first kind are taken and the others counted.

    `ts` is the exchange's time (the recorder's where the exchange sends none), `ts_init` the recorder's. Either of the
    two clocks may be ahead of the other; neither is corrected.
    """
    # hot: once per line
    read_line = _LINE.fullmatch
    decoders = _decode_trade
    # Of a symbol's trades, each is a print once: those of the channel that comes first.
    channels: dict[str, str] = {}
    delivered = counts.events
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        fields = read_line(line)
        if fields is None:
            counts.bad_line(number, f"expected <ns since the epoch> <JSON>, got {line[:80]!r}")
            continue
        local, payload = fields.groups()
        ts_init = int(local)
        try:
            message = _decode_message(payload)
            channel = message.stream.partition("@")[2]
            if channel == "bookTicker":
                touch = _decode_book_ticker(message.data)
                ts = ts_init if touch.event_ms is None else touch.event_ms * NS_PER_MS
                event: Event = Quote(
                    touch.symbol, touch.bid, touch.ask, touch.bid_size, touch.ask_size, BINANCE_VENUE,
                    ts=ts, ts_init=ts_init,
                )  # fmt: skip
            elif (decode_trade := decoders.get(channel)) is not None:
                trade = decode_trade(message.data)
                if channels.setdefault(trade.symbol, channel) != channel:
                    counts.skip(f"{channel} beside {channels[trade.symbol]}", number)
                    continue
                aggressor_side: Side = "sell" if trade.buyer_is_maker else "buy"
                ts = trade.trade_ms * NS_PER_MS
                event = Print(
                    trade.symbol, trade.price, trade.size, aggressor_side, trade.trade_id, BINANCE_VENUE,
                    ts=ts, ts_init=ts_init,
                )  # fmt: skip
            else:
                is_snapshot = not channel and message.last_update_id is not None
                counts.skip("rest_depth_snapshot" if is_snapshot else channel or "unknown", number)
                continue
        except msgspec.MsgspecError as error:
            counts.bad_line(number, error)
            continue
        if ts_init > MAX_NS or not 0 <= ts <= MAX_NS:
            # For example a stream whose times are in microseconds.
            counts.bad_line(number, f"times {ts_init} and {ts} ns: expected times before the year 2262")
            continue
        delivered[event.__class__] += 1
        yield event
