"""LOBSTER rows become prints and quotes, and the recorded day agrees with independently computed figures."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import parse_iso_ns
from observability.errors import SourceError
from observability.events import Event, Log, Print, Quote
from observability.sources.recordings.lines import RecordingCounts
from observability.sources.recordings.lobster import midnight_ns, read_lobster, read_name
from observability.sources.recordings.recording import Recording

DATA = Path(__file__).parents[3] / "../shared/data"
DAY = date(2012, 6, 21)
MIDNIGHT_NS = parse_iso_ns("2012-06-21T00:00:00-04:00")

needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside the checkout")
each_symbol = pytest.mark.parametrize("symbol", ["AAPL", "AMZN"])


@cache
def expected(symbol: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((DATA / "expected/lobster.json").read_text())["symbols"][symbol]
    return figures


@cache
def recorded(symbol: str) -> list[Event]:
    (path,) = (DATA / "lobster").glob(f"{symbol}_*_message_1.csv.gz")
    return list(Recording(path).events())


def read(messages: list[bytes], books: list[bytes]) -> tuple[list[Event], RecordingCounts]:
    counts = RecordingCounts(Path("XYZ.csv"))
    return list(read_lobster(messages, books, symbol="XYZ", day=DAY, counts=counts)), counts


@needs_recordings
@each_symbol
def test_recorded_trades_add_up_to_the_expected_figures(symbol: str) -> None:
    figures = expected(symbol)["trades_all_types_4_5"]
    prints = [event for event in recorded(symbol) if isinstance(event, Print)]
    prices = [Decimal(repr(event.price)) for event in prints]
    sizes = [int(event.size) for event in prints]
    assert len(prints) == figures["trades"]
    assert sum(sizes) == int(figures["volume"])
    assert sum(price * size for price, size in zip(prices, sizes, strict=True)) == Decimal(figures["notional"])
    assert (prices[0], prices[-1]) == (Decimal(figures["first_price"]), Decimal(figures["last_price"]))
    assert (max(prices), min(prices)) == (Decimal(figures["high"]), Decimal(figures["low"]))


@needs_recordings
@each_symbol
def test_recorded_aggressors_are_as_expected(symbol: str) -> None:
    figures = expected(symbol)["trades_all_types_4_5"]
    volume = {"buy": 0, "sell": 0}
    for event in recorded(symbol):
        if isinstance(event, Print):
            assert event.aggressor_side is not None
            volume[event.aggressor_side] += int(event.size)
    assert volume == {"buy": int(figures["aggressor_buy_volume"]), "sell": int(figures["aggressor_sell_volume"])}


@needs_recordings
@each_symbol
def test_recorded_trade_times_are_exact_to_the_nanosecond(symbol: str) -> None:
    figures = expected(symbol)["trades_all_types_4_5"]
    prints = [event for event in recorded(symbol) if isinstance(event, Print)]
    assert prints[0].ts == prints[0].ts_init == parse_iso_ns(figures["first_trade"])
    assert prints[-1].ts == prints[-1].ts_init == parse_iso_ns(figures["last_trade"])


@needs_recordings
@each_symbol
def test_each_recorded_change_of_the_touch_is_a_quote(symbol: str) -> None:
    figures = expected(symbol)
    quotes = [event for event in recorded(symbol) if isinstance(event, Quote)]
    assert len(quotes) == figures["bbo_row_changes_price_or_size"]
    last = quotes[-1]
    assert (last.bid, last.bid_size) == (float(figures["last_bid"]), figures["last_bid_size"])
    assert (last.ask, last.ask_size) == (float(figures["last_ask"]), figures["last_ask_size"])
    spreads = [Decimal(repr(quote.ask)) - Decimal(repr(quote.bid)) for quote in quotes]
    assert (min(spreads), max(spreads)) == (Decimal(figures["spread_min"]), Decimal(figures["spread_max"]))


@needs_recordings
@each_symbol
def test_recorded_times_never_go_back(symbol: str) -> None:
    times = [event.ts_init for event in recorded(symbol)]
    assert times == sorted(times)


def test_a_trade_comes_before_the_quote_that_it_caused() -> None:
    events, _ = read([b"34200.5,4,7,30,1000100,-1"], [b"1000200,50,1000000,10"])
    ts = MIDNIGHT_NS + 34_200_500_000_000
    assert events == [
        Print("XYZ", 100.01, 30.0, "buy", None, "NASDAQ", ts=ts, ts_init=ts),
        Quote("XYZ", 100.0, 100.02, 10.0, 50.0, "NASDAQ", ts=ts, ts_init=ts),
    ]


def test_a_book_row_with_an_unchanged_touch_is_not_a_quote() -> None:
    messages = [b"34200.1,1,1,1,1,1", b"34200.2,1,2,1,1,1", b"34200.3,1,3,1,1,1"]
    books = [b"1000200,50,1000000,10,1000300,1,990000,1", b"1000200,50,1000000,10,1000400,1,990000,1",
             b"1000200,51,1000000,10,1000400,1,990000,1"]  # fmt: skip
    events, _ = read(messages, books)
    assert [event.ask_size for event in events if isinstance(event, Quote)] == [50.0, 51.0]


def test_an_empty_side_of_the_book_is_none() -> None:
    events, _ = read([b"1,1,1,1,1,1", b"2,1,1,1,1,1"], [b"9999999999,0,1000000,10", b"1000200,5,-9999999999,0"])
    assert [(q.bid, q.bid_size, q.ask, q.ask_size) for q in events if isinstance(q, Quote)] == [
        (100.0, 10.0, None, None),
        (None, None, 100.02, 5.0),
    ]


@pytest.mark.parametrize(("price", "words"), [(-1, "trading halted"), (0, "quoting resumed"), (1, "trading resumed")])
def test_a_halt_is_a_log_line(price: int, words: str) -> None:
    events, _ = read([b"36023,7,0,0,%d,-1" % price], [b"1000200,5,1000000,5"])
    assert isinstance(events[0], Log) and events[0].message == f"XYZ: {words}"


def test_a_cross_is_a_trade_without_an_aggressor() -> None:
    events, _ = read([b"36023,6,0,100,1000000,-1"], [b"1000200,5,1000000,5"])
    assert isinstance(events[0], Print) and events[0].aggressor_side is None


def test_a_bad_row_is_counted_and_skipped() -> None:
    messages = [b"34200.1,4,1,1,1000000,1", b"34200.1_5,4,1,1,1000000,1", b"34200.3,4,1,1,1000000,1"]
    events, counts = read(messages, [b"1000200,5,1000000,5", b"1000200,6,1000000,5", b"1000200,5,1000000,5"])
    assert [type(event) for event in events] == [Print, Quote, Print]
    assert counts.bad_lines == 1


@pytest.mark.parametrize(("messages", "books"), [(2, 1), (1, 2)])
def test_files_of_different_lengths_are_an_error_after_their_common_rows(messages: int, books: int) -> None:
    events = read_lobster(
        [b"1,1,1,1,1,1"] * messages,
        [b"2,1,1,1"] * books,
        symbol="XYZ",
        day=DAY,
        counts=RecordingCounts(Path("XYZ.csv")),
    )
    assert isinstance(next(events), Quote)
    with pytest.raises(SourceError, match="order book file"):
        list(events)


@given(seconds=st.integers(0, 86_399), nanoseconds=st.integers(0, 999_999_999))
def test_every_nanosecond_of_a_day_survives(seconds: int, nanoseconds: int) -> None:
    fraction = f"{nanoseconds:09d}".rstrip("0") or "0"
    events, _ = read([f"{seconds}.{fraction},1,1,1,1,1".encode()], [b"2,1,1,1"])
    assert events[0].ts == MIDNIGHT_NS + seconds * 10**9 + nanoseconds


@given(price=st.integers(1, 10**10 - 2))
def test_a_price_is_the_nearest_double(price: int) -> None:
    events, _ = read([f"1,5,0,1,{price},1".encode()], [b"2,1,1,1"])
    assert isinstance(events[0], Print)
    assert events[0].price == float(Decimal(price) / 10_000)


def test_midnight_follows_daylight_saving_time() -> None:
    assert midnight_ns(date(2012, 6, 21)) == parse_iso_ns("2012-06-21T00:00:00-04:00")
    assert midnight_ns(date(2012, 12, 21)) == parse_iso_ns("2012-12-21T00:00:00-05:00")


def test_symbol_and_day_come_from_the_file_name(tmp_path: Path) -> None:
    (tmp_path / "BRK.B_2013-01-02_34200000_57600000_orderbook_10.csv").touch()
    name = read_name(tmp_path / "BRK.B_2013-01-02_34200000_57600000_message_10.csv.gz")
    assert (name.symbol, name.day) == ("BRK.B", date(2013, 1, 2))
    assert name.orderbook_path.name == "BRK.B_2013-01-02_34200000_57600000_orderbook_10.csv"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("XYZ_2013-01-02_1_2_message_1.csv", "XYZ_2013-01-02_1_2_orderbook_1.csv is missing"),
        ("XYZ_2013-01-02_1_2_orderbook_1.csv", "give its message file"),
        ("XYZ_2013-13-02_1_2_message_1.csv", "not a date"),
        ("messages.csv", "expected SYMBOL_YYYY-MM-DD"),
    ],
)
def test_a_file_name_without_symbol_day_or_order_book_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_name(tmp_path / name)
