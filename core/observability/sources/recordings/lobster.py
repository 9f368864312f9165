"""LOBSTER recordings: NASDAQ's reconstructed book, as a message file and an order book file with one row per message.

    message    time, type, order id, size, price, direction        34200.190226476,4,11885113,21,2238100,1
    orderbook  ask price, ask size, bid price, bid size, deeper    2239500,100,2237500,100

Source: LOBSTER's readme of its sample files (2013). Time is seconds after midnight in New York, prices are USD x 10000,
row i of the order book is the book after message i. Only the touch is read: order ids and deeper levels become no
events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from observability.clocks.timestamps import NS_PER_S, datetime_to_ns
from observability.errors import SourceError
from observability.events import Event, Log, Print, Quote, Side
from observability.sources.recordings.lines import RecordingCounts

NASDAQ_VENUE = "NASDAQ"

_PRICE_SCALE = 10_000
# The prices of an empty side of the book; its size is 0.
_NO_BID, _NO_ASK = -9_999_999_999, 9_999_999_999

_NAME = re.compile(
    r"([A-Za-z0-9.\-]{1,32})_(\d{4}-\d\d-\d\d)_\d+_\d+_(message|orderbook)_\d+\.csv(?:\.gz|\.zst)?", re.ASCII
)
_NAME_FORM = "SYMBOL_YYYY-MM-DD_START_END_message_LEVELS.csv[.gz|.zst]"

_MESSAGE = re.compile(rb"(\d{1,5})(?:\.(\d{1,9}))?,(\d),(\d{1,18}),(\d{1,12}),(-?\d{1,12}),(-?\d)")
_BOOK = re.compile(rb"(-?\d{1,12}),(\d{1,12}),(-?\d{1,12}),(\d{1,12})(?:,.*)?")

# "Execution of a sell (buy) limit order corresponds to a buyer (seller) initiated trade."
_AGGRESSOR: dict[bytes, Side] = {b"-1": "buy", b"1": "sell"}
_HALT_WORDS = {b"-1": "trading halted", b"0": "quoting resumed", b"1": "trading resumed"}


@dataclass(frozen=True, slots=True)
class LobsterName:
    """Symbol and day from the name of a message file, and the path of its order book file."""

    symbol: str
    day: date
    orderbook_path: Path


def looks_like_message(line: bytes) -> bool:
    """Returns whether a line has the form of a row of a message file."""
    return _MESSAGE.fullmatch(line) is not None


def looks_like_orderbook(line: bytes) -> bool:
    """Returns whether a line has the form of a row of an order book file."""
    return _BOOK.fullmatch(line) is not None


def read_name(path: Path) -> LobsterName:
    """Returns the parts of a message file's name.

    Raises SourceError if the name has another form, if there is no order book file beside the message file, or if this
    host has no time zones.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise SourceError(f"{path}: the rows are LOBSTER's, but the name is not; expected {_NAME_FORM}")
    if match[3] == "orderbook":
        raise SourceError(f"{path}: this is an order book file; give its message file, which belongs beside it")
    try:
        day = date.fromisoformat(match[2])
    except ValueError:
        raise SourceError(f"{path}: {match[2]!r} in the name is not a date") from None
    try:
        # Tried here, so that the start fails and not the replay.
        midnight_ns(day)
    except ZoneInfoNotFoundError:
        raise SourceError(
            f"{path}: its times are New York's, and this host has no time zones: install tzdata"
        ) from None
    beside = path.name.replace("_message_", "_orderbook_")
    plain = beside.removesuffix(".gz").removesuffix(".zst")
    for name in (beside, plain, f"{plain}.gz", f"{plain}.zst"):
        if path.with_name(name).is_file():
            return LobsterName(symbol=match[1], day=day, orderbook_path=path.with_name(name))
    raise SourceError(f"{path}: the order book file {beside} is missing beside it")


def belongs_to_message_file(path: Path) -> bool:
    """Returns whether a path is that of an order book file whose message file is beside it."""
    match = _NAME.fullmatch(path.name)
    if match is None or match[3] != "orderbook":
        return False
    beside = path.name.replace("_orderbook_", "_message_")
    plain = beside.removesuffix(".gz").removesuffix(".zst")
    return any(path.with_name(plain + suffix).is_file() for suffix in ("", ".gz", ".zst"))


def midnight_ns(day: date) -> int:
    """Returns when `day` begins in New York, in nanoseconds since the epoch, with daylight saving time. Raises
    ZoneInfoNotFoundError if this host has no time zones."""
    return datetime_to_ns(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("America/New_York")))


def read_lobster(
    messages: Iterable[bytes], orderbook: Iterable[bytes], *, symbol: str, day: date, counts: RecordingCounts
) -> Iterator[Event]:
    """Yields, row by row, the trade if there was one, then the new quote if the touch changed in price or size.

    Executions (visible or hidden) and crosses become prints, halts become log lines. Bad rows are counted and skipped.
    Raises SourceError if one file has more rows than the other.
    """
    # hot: once per row (a day of one symbol has 10^5 of them)
    midnight = midnight_ns(day)
    read_message, read_book = _MESSAGE.fullmatch, _BOOK.fullmatch
    delivered = counts.events
    books = iter(orderbook)
    book_before = b""
    touch_before: tuple[bytes, ...] = ()
    number = 0
    for number, message in enumerate(messages, 1):
        book = next(books, None)
        if book is None:
            raise SourceError(f"{counts.path}:{number}: the order book file ends before this row")
        fields = read_message(message)
        if fields is None:
            counts.bad_line(number, f"expected time,type,id,size,price,direction, got {message[:80]!r}")
            continue
        seconds, fraction, kind, _, size, price, direction = fields.groups()
        # Converted as text, because a double cannot hold the nanoseconds of a day exactly.
        ts = midnight + int(seconds) * NS_PER_S + (int(fraction.ljust(9, b"0")) if fraction else 0)
        if kind == b"4" or kind == b"5":
            delivered[Print] += 1
            yield Print(
                symbol, int(price) / _PRICE_SCALE, float(size), _AGGRESSOR.get(direction), None, NASDAQ_VENUE,
                ts=ts, ts_init=ts,
            )  # fmt: skip
        elif kind == b"6":
            # The result of an auction: a trade without an aggressor.
            delivered[Print] += 1
            yield Print(symbol, int(price) / _PRICE_SCALE, float(size), None, None, NASDAQ_VENUE, ts=ts, ts_init=ts)
        elif kind == b"7":
            delivered[Log] += 1
            text = f"{symbol}: {_HALT_WORDS.get(price, 'trading status changed')}"
            yield Log("warning", text, "lobster", {"symbol": symbol, "venue": NASDAQ_VENUE}, ts=ts, ts_init=ts)
        if book == book_before:
            continue
        fields = read_book(book)
        if fields is None:
            counts.bad_line(number, f"order book: expected ask,size,bid,size, got {book[:80]!r}")
            continue
        book_before = book
        touch = fields.groups()
        if touch == touch_before:
            continue
        touch_before = touch
        ask, ask_size, bid, bid_size = map(int, touch)
        has_ask, has_bid = ask != _NO_ASK, bid != _NO_BID
        delivered[Quote] += 1
        yield Quote(
            symbol,
            bid / _PRICE_SCALE if has_bid else None,
            ask / _PRICE_SCALE if has_ask else None,
            float(bid_size) if has_bid else None,
            float(ask_size) if has_ask else None,
            NASDAQ_VENUE,
            ts=ts,
            ts_init=ts,
        )
    if next(books, None) is not None:
        raise SourceError(f"{counts.path}:{number}: the message file ends here, the order book file has more rows")
