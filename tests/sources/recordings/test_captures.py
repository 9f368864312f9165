"""Captures become quotes and prints, and the recorded minutes agree with independently computed figures."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import parse_iso_ns
from observability.events import Event, Print, Quote
from observability.sources.feeds.binance import BinanceDialect
from observability.sources.recordings.captures import read_capture
from observability.sources.recordings.lines import MAX_KINDS, OTHER_KINDS, RecordingCounts
from observability.sources.recordings.recording import Recording

DATA = Path(__file__).parents[3] / "../shared/data"

needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside the checkout")
each_symbol = pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])


@cache
def expected(symbol: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((DATA / "expected/binance_spot.json").read_text())["symbols"][f"spot:{symbol}"]
    return figures


@cache
def recorded(symbol: str) -> tuple[list[Event], RecordingCounts]:
    (path,) = (DATA / "binance_spot").glob(f"{symbol.lower()}_*.gz")
    recording = Recording(path)
    return list(recording.events()), recording.counts


def read(*lines: bytes) -> tuple[list[Event], RecordingCounts]:
    counts = RecordingCounts(Path("binance"))
    return list(read_capture(lines, BinanceDialect(), counts=counts)), counts


@needs_recordings
@each_symbol
def test_every_recorded_line_is_counted_by_kind(symbol: str) -> None:
    events, counts = recorded(symbol)
    by_kind = {"bookTicker": counts.events[Quote], "trade": counts.events[Print], **counts.skipped}
    assert by_kind == expected(symbol)["by_kind"]
    assert counts.bad_lines == 0
    assert len(events) == counts.events[Quote] + counts.events[Print]


@needs_recordings
@each_symbol
def test_recorded_trades_add_up_to_the_expected_figures(symbol: str) -> None:
    figures = expected(symbol)["trades"]
    prints = [event for event in recorded(symbol)[0] if isinstance(event, Print)]
    sizes = [Decimal(repr(event.size)) for event in prints]
    volume = {"buy": Decimal(0), "sell": Decimal(0)}
    for event, size in zip(prints, sizes, strict=True):
        assert event.aggressor_side is not None
        volume[event.aggressor_side] += size
    assert len(prints) == figures["trades"]
    assert volume["buy"] == Decimal(figures["aggressor_buy_volume"])
    assert volume["sell"] == Decimal(figures["aggressor_sell_volume"])
    assert sum(Decimal(repr(e.price)) * size for e, size in zip(prints, sizes, strict=True)) == Decimal(
        figures["notional"]
    )
    assert (prints[0].price, prints[-1].price) == (float(figures["first_price"]), float(figures["last_price"]))
    assert (prints[0].ts, prints[-1].ts) == (parse_iso_ns(figures["first_trade"]), parse_iso_ns(figures["last_trade"]))
    assert max(e.price for e in prints) == float(figures["high"])
    assert min(e.price for e in prints) == float(figures["low"])


@needs_recordings
@each_symbol
def test_recorded_trade_ids_are_kept(symbol: str) -> None:
    ids = [event.trade_id for event in recorded(symbol)[0] if isinstance(event, Print)]
    figures = expected(symbol)
    assert ids == list(range(figures["first_trade_id"], figures["last_trade_id"] + 1))


@needs_recordings
@each_symbol
def test_the_last_recorded_touch_and_the_spreads_are_as_expected(symbol: str) -> None:
    figures = expected(symbol)
    quotes = [event for event in recorded(symbol)[0] if isinstance(event, Quote)]
    touch = figures["last_book_ticker"]
    last = quotes[-1]
    assert (last.bid, last.ask) == (float(touch["bid"]), float(touch["ask"]))
    assert (last.bid_size, last.ask_size) == (float(touch["bid_qty"]), float(touch["ask_qty"]))
    assert last.ts == last.ts_init == touch["local_ts_ns"]
    spreads = [Decimal(repr(quote.ask)) - Decimal(repr(quote.bid)) for quote in quotes]
    assert (min(spreads), max(spreads)) == (Decimal(figures["spread_min"]), Decimal(figures["spread_max"]))


def test_a_futures_book_ticker_has_the_exchanges_time() -> None:
    data = b'{"E":1700000001234,"s":"X","b":"1","B":"2","a":"3","A":"4"}'
    events, _ = read(b'1700000000000000000 {"stream":"x@bookTicker","data":%s}' % data)
    assert events == [Quote("X", 1.0, 3.0, 2.0, 4.0, "BINANCE", ts=1700000001234000000, ts_init=1700000000000000000)]


@pytest.mark.parametrize(("maker", "aggressor"), [(b"true", "sell"), (b"false", "buy")])
def test_the_aggressor_is_the_side_that_was_not_the_maker(maker: bytes, aggressor: str) -> None:
    line = b'1700000000000000000 {"stream":"x@trade","data":{"s":"X","t":9,"p":"1.5","q":"2","T":1700000000001,"m":%s}}'
    events, _ = read(line % maker)
    assert isinstance(events[0], Print) and events[0].aggressor_side == aggressor


@pytest.mark.parametrize(
    "bad",
    [
        b"no time at all",
        b'1700000000000000000 {"stream":"x@trade","data":{"s":"X"}}',
        b'1700000000000000000 {"stream":"x@trade","data":',
        b'1700000000000000000 {"stream":"x@bookTicker","data":{"s":"X","b":"one","B":"2","a":"3","A":"4"}}',
        b'17_0000000000000000 {"stream":"x@trade"}',
        b'9300000000000000000 {"stream":"x@trade","data":{"s":"X","t":9,"p":"1","q":"2","T":1,"m":true}}',
        b'1700000000000000000 {"stream":"x@trade","data":{"s":"X","t":9,"p":"1","q":"2","T":17000000000001,"m":true}}',
    ],
)
def test_a_bad_line_is_counted_and_skipped(bad: bytes) -> None:
    good = b'1700000000000000000 {"stream":"x@bookTicker","data":{"s":"X","b":"1","B":"2","a":"3","A":"4"}}'
    events, counts = read(good, bad, good)
    assert len(events) == 2
    assert counts.bad_lines == 1


@given(text=st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False, allow_infinity=False).map(str))
def test_a_number_sent_as_text_is_the_nearest_double(text: str) -> None:
    line = f'1700000000000000000 {{"stream":"x@bookTicker","data":{{"s":"X","b":"{text}","B":"1","a":"1","A":"1"}}}}'
    events, _ = read(line.encode())
    assert isinstance(events[0], Quote) and events[0].bid == float(text)


def trade_line(channel: str, number: int, symbol: str = "BTCUSDT") -> bytes:
    key = {"trade": "t", "aggTrade": "a"}[channel]
    data = f'{{"e":"{channel}","E":1723161254088,"s":"{symbol}","{key}":{number},"p":"61837.63","q":"0.5",'
    data += '"f":1,"l":2,"T":1723161254087,"m":true,"M":true}'
    return f'1723161254089891268 {{"stream":"{symbol.lower()}@{channel}","data":{data}}}'.encode()


def test_an_aggregate_trade_is_a_print() -> None:
    (event,), counts = read(trade_line("aggTrade", 7))
    assert isinstance(event, Print)
    assert (event.symbol, event.price, event.size, event.aggressor_side, event.trade_id, event.ts) == (
        "BTCUSDT", 61837.63, 0.5, "sell", 7, 1723161254087 * 10**6,
    )  # fmt: skip
    assert (counts.skipped, counts.bad_lines) == ({}, 0)


@pytest.mark.parametrize(("first", "second"), [("trade", "aggTrade"), ("aggTrade", "trade")])
def test_trades_recorded_in_both_forms_count_once(first: str, second: str) -> None:
    lines = [trade_line(first, 1), trade_line(second, 9), trade_line(first, 2), trade_line(second, 1, "ETHUSDT")]
    events, counts = read(*lines)
    assert [(event.symbol, event.trade_id) for event in events if isinstance(event, Print)] == [
        ("BTCUSDT", 1), ("BTCUSDT", 2), ("ETHUSDT", 1),
    ]  # fmt: skip
    assert counts.skipped == {f"{second} beside {first}": 1}


def test_the_first_line_of_each_kind_that_is_skipped_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    line = b'1723161254089891268 {"stream":"btcusdt@depth","data":{}}'
    _, counts = read(line, line, line)
    assert counts.skipped == {"depth": 3}
    assert [record.getMessage() for record in caplog.records] == [
        "binance:1: depth: lines of this kind become no event and are skipped"
    ]


def test_kinds_beyond_the_bound_are_counted_together() -> None:
    lines = [b'1723161254089891268 {"stream":"x@%d","data":{}}' % number for number in range(MAX_KINDS + 9)]
    _, counts = read(*lines)
    assert (len(counts.skipped), counts.skipped[OTHER_KINDS]) == (MAX_KINDS + 1, 9)


OTHER_CAPTURES = {
    "BINANCE": b'{"stream":"x@bookTicker","data":{"s":"X","b":"1","B":"2","a":"3","A":"4"}}',
    "BYBIT": b'{"topic":"orderbook.1.X","type":"snapshot","ts":1723161255343,'
    b'"data":{"s":"X","b":[["1","1"]],"a":[],"u":1}}',
    "COINBASE": b'{"channel":"market_trades","sequence_num":5,"events":[{"type":"update","trades":[{"trade_id":"7",'
    b'"product_id":"X","price":"1","size":"2","side":"BUY","time":"2024-08-08T23:54:15Z"}]}]}',
    "KRAKEN": b'{"channel":"ticker","type":"update","data":[{"symbol":"X","bid":1,"bid_qty":1,"ask":2,"ask_qty":1}]}',
    "OKX": b'{"arg":{"channel":"trades","instId":"X"},"data":[{"instId":"X","tradeId":"7","px":"1","sz":"2",'
    b'"side":"buy","ts":"1723161255342"}]}',
}


@pytest.mark.parametrize("venue", OTHER_CAPTURES)
def test_the_venue_of_a_capture_is_told_by_its_messages(tmp_path: Path, venue: str) -> None:
    answers = (b'{"result":null,"id":1}', b'{"success":true,"op":"subscribe"}', b"pong")
    lines = [b"1723161254089891268 " + message for message in (*answers, OTHER_CAPTURES[venue])]
    path = tmp_path / "capture"
    path.write_bytes(b"\n".join(lines))
    (event,) = Recording(path).events()
    assert isinstance(event, Quote | Print)
    assert (event.symbol, event.venue, event.ts_init) == ("X", venue, 1723161254089891268)


def test_each_reading_of_a_capture_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(b"\n".join((trade_line("aggTrade", 1), trade_line("trade", 1), trade_line("aggTrade", 2))))
    recording = Recording(path)
    assert [len(list(recording.events())) for _ in range(2)] == [2, 2]
    assert recording.bytes_read == recording.bytes_total


def test_a_refused_subscription_in_a_capture_is_counted() -> None:
    _, counts = read(b'1723161254089891268 {"error":{"code":2,"msg":"Invalid request"},"id":1}')
    assert counts.skipped == {"BINANCE refuses the subscription: Invalid request": 1}
