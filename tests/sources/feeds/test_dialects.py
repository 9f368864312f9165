"""What the messages of each venue become: its own examples in form, with numbers of ours."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import parse_iso_ns
from observability.events import Print, Quote
from observability.sources.feeds.binance import BinanceDialect, BinanceUsdmDialect
from observability.sources.feeds.bybit import BybitDialect
from observability.sources.feeds.coinbase import CoinbaseDialect
from observability.sources.feeds.dialect import BAD_MESSAGE, Dialect, IsoReader, SubscriptionRefused
from observability.sources.feeds.kraken import KrakenDialect
from observability.sources.feeds.okx import OkxDialect
from observability.sources.feeds.venues import VENUES, venue_of

NOW = 1_723_161_255_500_000_000
MS = 1_723_161_255_342
ISO = "2024-08-08T23:54:15.342000Z"


def decode(dialect: Dialect, message: object) -> list[Any]:
    events = dialect.decode(json.dumps(message).encode(), NOW)
    assert not isinstance(events, str), events
    return list(events)


def binance(channel: str, **data: object) -> dict[str, object]:
    return {"stream": f"btcusdt@{channel}", "data": {"e": channel, "s": "BTCUSDT", **data}}


def kraken_trades(kind: str, *numbers: int) -> dict[str, object]:
    trade = {"symbol": "BTC/USD", "side": "buy", "price": 5.5, "qty": 1.5, "ord_type": "limit", "timestamp": ISO}
    return {"channel": "trade", "type": kind, "data": [{**trade, "trade_id": number} for number in numbers]}


def coinbase_trades(sequence: int, kind: str, *numbers: int) -> dict[str, object]:
    trade = {"product_id": "BTC-USD", "price": "5.5", "size": "1.5", "side": "BUY", "time": ISO}
    # The newest is first.
    trades = [{**trade, "trade_id": str(number)} for number in sorted(numbers, reverse=True)]
    events = [{"type": kind, "trades": trades}]
    return {"channel": "market_trades", "timestamp": ISO, "sequence_num": sequence, "events": events}


def bybit_book(kind: str, update_id: int, bids: object, asks: object) -> dict[str, object]:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": update_id, "seq": 7961638724}
    return {"topic": "orderbook.1.BTCUSDT", "type": kind, "ts": MS + 2, "cts": MS, "data": data}


def okx_trade(number: int, count: int) -> dict[str, object]:
    trade = {"instId": "BTC-USDT", "tradeId": str(number), "px": "5.5", "sz": "1.5", "side": "buy", "ts": str(MS)}
    return {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [{**trade, "count": str(count)}]}


def ids(events: list[Any]) -> list[object]:
    return [event.trade_id for event in events]


# -- quotes


def test_a_spot_book_ticker_of_binance_has_no_time_of_the_exchange() -> None:
    (event,) = decode(BinanceDialect(), binance("bookTicker", u=1, b="5.25", B="1", a="5.5", A="2"))
    assert event == Quote("BTCUSDT", 5.25, 5.5, 1.0, 2.0, "BINANCE", ts=None, ts_init=NOW)


def test_a_futures_book_ticker_of_binance_has_the_exchanges_time() -> None:
    (event,) = decode(BinanceUsdmDialect(), binance("bookTicker", u=1, b="5.25", B="1", a="5.5", A="2", T=MS, E=MS))
    assert event == Quote("BTCUSDT", 5.25, 5.5, 1.0, 2.0, "BINANCE-USDM", ts=MS * 10**6, ts_init=NOW)


def test_a_ticker_of_kraken_is_a_quote() -> None:
    ticker = {"symbol": "BTC/USD", "bid": 5.25, "bid_qty": 1, "ask": 5.5, "ask_qty": 2.0, "last": 5.4, "timestamp": ISO}
    (event,) = decode(KrakenDialect(), {"channel": "ticker", "type": "update", "data": [ticker]})
    assert event == Quote("BTC/USD", 5.25, 5.5, 1.0, 2.0, "KRAKEN", ts=MS * 10**6, ts_init=NOW)


def test_a_ticker_of_coinbase_is_a_quote_at_the_time_of_its_message() -> None:
    ticker = {
        "type": "ticker", "product_id": "BTC-USD", "price": "5.4", "best_bid": "5.25", "best_bid_quantity": "1",
        "best_ask": "5.5", "best_ask_quantity": "2",
    }  # fmt: skip
    events = [{"type": "update", "tickers": [ticker]}]
    message = {"channel": "ticker", "timestamp": "2024-08-08T23:54:15.342000001Z", "sequence_num": 3, "events": events}
    (event,) = decode(CoinbaseDialect(), message)
    assert event == Quote("BTC-USD", 5.25, 5.5, 1.0, 2.0, "COINBASE", ts=MS * 10**6 + 1, ts_init=NOW)


def test_a_book_of_bybit_is_a_quote_at_the_time_of_the_matching_engine() -> None:
    (event,) = decode(BybitDialect(), bybit_book("snapshot", 8, [["5.25", "1"]], [["5.5", "2"]]))
    assert event == Quote("BTCUSDT", 5.25, 5.5, 1.0, 2.0, "BYBIT", ts=MS * 10**6, ts_init=NOW)


def test_a_delta_of_bybit_changes_the_touch_of_the_snapshot_before_it() -> None:
    dialect = BybitDialect()
    decode(dialect, bybit_book("snapshot", 8, [["5.25", "1"]], [["5.5", "2"]]))
    (moved,) = decode(dialect, bybit_book("delta", 9, [["5.25", "0"], ["5.24", "3"]], []))
    (emptied,) = decode(dialect, bybit_book("delta", 10, [], [["5.5", "0"]]))
    assert (moved.bid, moved.bid_size, moved.ask, moved.ask_size) == (5.24, 3.0, 5.5, 2.0)
    assert (emptied.bid, emptied.bid_size, emptied.ask, emptied.ask_size) == (5.24, 3.0, None, None)


def test_after_a_lost_delta_of_bybit_there_is_no_touch_until_the_next_snapshot() -> None:
    dialect = BybitDialect()
    decode(dialect, bybit_book("snapshot", 8, [["5.25", "1"]], [["5.5", "2"]]))
    (unknown,) = decode(dialect, bybit_book("delta", 11, [["5.24", "3"]], []))
    assert (unknown.bid, unknown.ask, dialect.gaps) == (None, None, 2)
    assert decode(dialect, bybit_book("delta", 12, [["5.24", "3"]], [])) == []
    (known,) = decode(dialect, bybit_book("snapshot", 1, [["5.25", "1"]], [["5.5", "2"]]))
    assert (known.bid, known.ask, dialect.gaps) == (5.25, 5.5, 2)


def test_a_delta_of_bybit_before_any_snapshot_is_no_quote() -> None:
    dialect = BybitDialect()
    assert decode(dialect, bybit_book("delta", 9, [["5.25", "1"]], [])) == []
    decode(dialect, bybit_book("snapshot", 8, [["5.25", "1"]], [["5.5", "2"]]))
    dialect.subscribe(["BTCUSDT"])
    assert decode(dialect, bybit_book("delta", 9, [["5.25", "2"]], [])) == []


def okx_book(bids: object, asks: object, **sequence: int) -> dict[str, object]:
    data = {"bids": bids, "asks": asks, "ts": str(MS), **sequence}
    return {"arg": {"channel": "bbo-tbt", "instId": "BTC-USDT"}, "data": [data]}


def test_a_touch_of_okx_is_a_quote() -> None:
    (event,) = decode(OkxDialect(), okx_book([["5.25", "1", "0", "3"]], [["5.5", "2", "0", "1"]], seqId=5))
    assert event == Quote("BTC-USDT", 5.25, 5.5, 1.0, 2.0, "OKX", ts=MS * 10**6, ts_init=NOW)


def test_a_side_without_orders_is_null() -> None:
    (okx,) = decode(OkxDialect(), okx_book([], [["5.5", "2", "0", "1"]], seqId=5))
    (bybit,) = decode(BybitDialect(), bybit_book("snapshot", 8, [], [["5.5", "2"]]))
    for event in (okx, bybit):
        assert (event.bid, event.bid_size, event.ask, event.ask_size) == (None, None, 5.5, 2.0)


def test_a_touch_of_okx_after_one_that_did_not_come_is_a_gap() -> None:
    dialect = OkxDialect()
    for previous, number in ((4, 5), (5, 9), (12, 14), (14, 15)):
        decode(dialect, okx_book([], [], seqId=number, prevSeqId=previous))
    assert dialect.gaps == 1
    dialect.subscribe(["BTC-USDT"])
    decode(dialect, okx_book([], [], seqId=40, prevSeqId=30))
    assert dialect.gaps == 1


# -- prints


@pytest.mark.parametrize(("is_maker", "aggressor"), [(True, "sell"), (False, "buy")])
def test_the_aggressor_at_binance_is_the_side_that_was_not_the_maker(is_maker: bool, aggressor: str) -> None:
    (event,) = decode(BinanceDialect(), binance("trade", t=9, p="5.5", q="1.5", T=MS, m=is_maker, M=True))
    assert event == Print("BTCUSDT", 5.5, 1.5, aggressor, 9, "BINANCE", ts=MS * 10**6, ts_init=NOW)


@pytest.mark.parametrize(("side", "aggressor"), [("BUY", "sell"), ("SELL", "buy"), ("UNKNOWN_ORDER_SIDE", None)])
def test_the_side_of_coinbase_is_the_makers(side: str, aggressor: str | None) -> None:
    message = json.loads(json.dumps(coinbase_trades(3, "update", 9)).replace("BUY", side))
    (event,) = decode(CoinbaseDialect(), message)
    assert event == Print("BTC-USD", 5.5, 1.5, aggressor, 9, "COINBASE", ts=MS * 10**6, ts_init=NOW)


def test_the_side_of_kraken_is_the_takers() -> None:
    (event,) = decode(KrakenDialect(), kraken_trades("update", 9))
    assert event == Print("BTC/USD", 5.5, 1.5, "buy", 9, "KRAKEN", ts=MS * 10**6, ts_init=NOW)


def test_the_side_of_bybit_is_the_takers() -> None:
    trade = {"T": MS, "s": "BTCUSDT", "S": "Buy", "v": "1.5", "p": "5.5", "i": "9dc75fca-4bdd-4773", "BT": False}
    message = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": MS, "data": [trade]}
    (event,) = decode(BybitDialect(), message)
    assert event == Print("BTCUSDT", 5.5, 1.5, "buy", "9dc75fca-4bdd-4773", "BYBIT", ts=MS * 10**6, ts_init=NOW)


def test_the_side_of_okx_is_the_takers() -> None:
    (event,) = decode(OkxDialect(), okx_trade(9, 1))
    assert event == Print("BTC-USDT", 5.5, 1.5, "buy", 9, "OKX", ts=MS * 10**6, ts_init=NOW)


def test_a_trade_of_binance_that_is_none_is_no_print() -> None:
    message = binance("trade", t=9, p="0", q="0", X="NA", T=MS, m=True)
    assert BinanceUsdmDialect().decode(json.dumps(message).encode(), NOW) == "trade that is none"


def test_the_missing_ids_of_trades_are_counted() -> None:
    dialect = BinanceDialect()
    for number in (3, 4, 8, 7, 9):
        decode(dialect, binance("trade", t=number, p="5.5", q="1.5", T=MS, m=True))
    assert dialect.gaps == 3


def test_a_print_of_okx_stands_for_several_trades() -> None:
    dialect = OkxDialect()
    for number, count in ((10, 4), (13, 3), (16, 2)):
        decode(dialect, okx_trade(number, count))
    assert dialect.gaps == 1


@pytest.mark.parametrize("venue", ["kraken", "coinbase"])
def test_of_the_trades_that_a_subscription_begins_with_only_missed_ones_are_prints(venue: str) -> None:
    dialect = VENUES[venue]()

    def trades(sequence: int, kind: str, *numbers: int) -> list[Any]:
        message = kraken_trades(kind, *numbers) if venue == "kraken" else coinbase_trades(sequence, kind, *numbers)
        return decode(dialect, message)

    dialect.subscribe(["X"])
    assert trades(0, "snapshot", 1, 2, 3) == []
    assert ids(trades(1, "update", 4)) == [4]
    dialect.subscribe(["X"])
    assert ids(trades(0, "snapshot", 3, 4, 5, 6)) == [5, 6]
    assert dialect.gaps == 0
    dialect.subscribe(["X"])
    assert ids(trades(0, "snapshot", 9, 10)) == [9, 10]
    assert dialect.gaps == 2


def test_the_numbers_of_coinbase_begin_anew_with_each_connection() -> None:
    dialect = CoinbaseDialect()
    for sequence in (0, 1, 4):
        decode(dialect, coinbase_trades(sequence, "update", sequence))
    assert dialect.gaps == 2
    dialect.subscribe(["BTC-USD"])
    decode(dialect, coinbase_trades(7, "update", 7))
    assert dialect.gaps == 2


def test_prints_of_one_message_of_coinbase_are_in_the_order_of_time() -> None:
    assert ids(decode(CoinbaseDialect(), coinbase_trades(3, "update", 7, 8, 9))) == [7, 8, 9]


@given(text=st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False, allow_infinity=False).map(str))
def test_a_number_is_the_nearest_double_to_what_was_sent(text: str) -> None:
    ticker = f'{{"channel":"ticker","data":[{{"symbol":"X","bid":{text},"bid_qty":1,"ask":1,"ask_qty":1}}]}}'
    book = okx_book([[text, "1", "0", "1"]], [])
    (kraken,) = KrakenDialect().decode(ticker.encode(), NOW)
    (okx,) = decode(OkxDialect(), book)
    (bybit,) = decode(BybitDialect(), bybit_book("snapshot", 1, [[text, "1"]], []))
    assert isinstance(kraken, Quote)
    assert kraken.bid == okx.bid == bybit.bid == float(text)


BAD = {
    "a time in seconds": binance("trade", t=9, p="5.5", q="1.5", T=MS // 1000, m=True),
    "a trade without an id": binance("trade", p="5.5", q="1.5", T=MS, m=True),
    "a size below zero": binance("bookTicker", b="5.25", B="-1", a="5.5", A="2"),
    "a price beyond all bounds": binance("bookTicker", b="1e30", B="1", a="5.5", A="2"),
    "no symbol": {"stream": "@bookTicker", "data": {"s": "", "b": "1", "B": "1", "a": "1", "A": "1"}},
}


@pytest.mark.parametrize("what", BAD)
def test_a_message_with_a_fault_is_refused(what: str) -> None:
    with pytest.raises(BAD_MESSAGE):
        BinanceDialect().decode(json.dumps(BAD[what]).encode(), NOW)


FIELDS = ("stream", "data", "channel", "type", "events", "topic", "arg", "event", "instId", "sequence_num")
any_json = st.recursive(
    st.none() | st.integers() | st.text(max_size=9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("venue", VENUES)
@given(message=st.binary(max_size=200) | any_json)
def test_any_bytes_are_decoded_or_refused(venue: str, message: bytes) -> None:
    with suppress(*BAD_MESSAGE, SubscriptionRefused):
        VENUES[venue]().decode(message, NOW)


# -- captures


def test_a_message_is_told_by_its_form() -> None:
    messages = {
        "binance": binance("depth"),
        "kraken": kraken_trades("update", 1),
        "coinbase": coinbase_trades(0, "update", 1),
        "bybit": bybit_book("snapshot", 1, [], []),
        "okx": okx_trade(1, 1),
    }
    for venue, message in messages.items():
        assert venue_of(json.dumps(message).encode()) is VENUES[venue]
    for unknown in (b"pong", b'{"result":null,"id":1}', b'{"success":true,"op":"subscribe"}', b"[" * 100_000):
        assert venue_of(unknown) is None


@given(
    times=st.lists(
        st.tuples(st.integers(0, 2), st.text("0123456789", max_size=9), st.sampled_from(["Z", "z", "+02:00"])),
        max_size=6,
    )
)
def test_times_within_a_second_are_read_as_exactly_as_others(times: list[tuple[int, str, str]]) -> None:
    read = IsoReader()
    for second, fraction, zone in times:
        text = f"2024-08-08T23:54:0{second}{'.' if fraction else ''}{fraction}{zone}"
        assert read(text) == parse_iso_ns(text)


@pytest.mark.parametrize(
    "text", ["", "Z", "2024-08-08T23:54:15.1234567891Z", "2024-08-08T23:54:15.+1Z", "2024-08-08T23:54:15.Z"]
)
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    read = IsoReader()
    read("2024-08-08T23:54:15.1Z")
    with pytest.raises(BAD_MESSAGE):
        read(text)
