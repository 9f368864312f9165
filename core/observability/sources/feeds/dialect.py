"""What one venue sends and is sent: the base of the dialects, without connections.

    Feed ──► subscribe(symbols) ──► venue
    Feed, capture ──► decode(message) ──► quotes and prints, or the kind of a message that is neither

A dialect outlives connections: it knows the newest trade of each symbol, so that trades missed in between are counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from observability.clocks.timestamps import MAX_NS, NS_PER_MS, NS_PER_S, parse_iso_ns
from observability.errors import EventError, SourceError
from observability.events import MIN_NS, Print, Quote

MarketEvent = Quote | Print

BAD_MESSAGE: Final = (msgspec.MsgspecError, ValueError, RecursionError, EventError)
"""Raised for bytes that a dialect cannot read; they cost only their own message."""

# By how many digits a fraction of a second has.
_NS_PER_UNIT: Final[tuple[int, ...]] = tuple(10 ** (9 - digits) for digits in range(10))

# Kinds of messages that become no event.
CONFIRMATION: Final = "confirmation"
HEARTBEAT: Final = "heartbeat"
NOTICE: Final = "notice"
UNKNOWN: Final = "unknown"


class SubscriptionRefused(SourceError):
    """The venue refuses a subscription; says what it said."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What keeps a connection to a venue open and shows that it is."""

    seconds: float
    text: bytes = b""
    """A message of the venue's own; empty for a ping frame."""


class Dialect(ABC):
    """Decodes what one venue sends, in order. Not thread-safe."""

    venue: ClassVar[str]
    url: ClassVar[str]
    heartbeat: ClassVar[Heartbeat]
    max_age_seconds: ClassVar[float | None] = None
    """How long the venue lets a connection live; None if it says nothing."""

    def __init__(self) -> None:
        self.gaps = 0
        """Messages and trades known to be lost."""
        self.unconfirmed = 0
        """Subscriptions of this connection that the venue has not confirmed."""
        self.is_leaving = False
        """Whether the venue has announced that it will end this connection."""
        self._newest_trades: dict[str, int] = {}
        self.time_of = IsoReader()

    @staticmethod
    @abstractmethod
    def symbol(text: str) -> str:
        """Returns the venue's own name of a symbol, which may also be written as `BTC/USDT`."""

    @abstractmethod
    def requests(self, symbols: Sequence[str]) -> list[tuple[dict[str, Any], int]]:
        """Returns the messages that subscribe to symbols, each with the number of confirmations that follow."""

    @abstractmethod
    def decode(self, message: bytes, ts_init: int) -> Sequence[MarketEvent] | str:
        """Returns the events of a message, or its kind if it is none that becomes events. `ts` is the venue's time,
        None where it sends none.

        Raises one of BAD_MESSAGE for one that cannot be read, SubscriptionRefused if it is a refusal.
        """

    def subscribe(self, symbols: Sequence[str]) -> list[bytes]:
        """Returns the messages to send first on a new connection. What was known of the previous one is forgotten."""
        requests = self.requests(symbols)
        self.unconfirmed = sum(confirmations for _, confirmations in requests)
        self.is_leaving = False
        return [msgspec.json.encode(request) for request, _ in requests]

    def confirm(self) -> str:
        """Counts one confirmation of a subscription."""
        self.unconfirmed = max(0, self.unconfirmed - 1)
        return CONFIRMATION

    def refuse(self, why: str) -> SubscriptionRefused:
        """Returns the error for a subscription that the venue refuses."""
        return SubscriptionRefused(f"{self.venue} refuses the subscription: {why}")

    def count_trade(self, symbol: str, trade_id: int, trades: int = 1) -> None:
        """Counts the trades missing before the one with this id, which stands for as many as `trades` consecutive
        ones."""
        # hot: once per print (benchmarks/bench_feeds.py)
        newest = self._newest_trades.get(symbol)
        if newest is None:
            self._newest_trades[symbol] = trade_id
        elif trade_id > newest:
            self._newest_trades[symbol] = trade_id
            if trade_id - trades > newest:
                self.gaps += trade_id - trades - newest

    def note_trade(self, symbol: str, trade_id: int) -> None:
        """Remembers a trade where a sequence of the venue's messages shows what was lost."""
        if trade_id > self._newest_trades.get(symbol, -1):
            self._newest_trades[symbol] = trade_id

    def missed_trades(self, trades: Iterable[tuple[str, int, MarketEvent]]) -> list[MarketEvent]:
        """Returns those trades of a snapshot, given with symbol and id, that came between two connections; none of a
        symbol's first snapshot, because they were before the feed."""
        known = self._newest_trades.copy()
        missed = []
        for symbol, trade_id, trade in sorted(trades, key=lambda each: each[:2]):
            if symbol in known and trade_id > known[symbol]:
                missed.append(trade)
            self.count_trade(symbol, trade_id)
        return missed


def time_of_ms(milliseconds: int) -> int:
    """Returns the nanoseconds since the epoch; raises ValueError for a time in another unit."""
    return checked_ns(milliseconds * NS_PER_MS)


class IsoReader:
    """Reads times such as `2026-04-07T14:30:02.789012Z`; knows the last second, which most messages share."""

    __slots__ = ("_second", "_second_ns")

    def __init__(self) -> None:
        self._second = ""
        self._second_ns = 0

    def __call__(self, text: str) -> int:
        """Returns the nanoseconds since the epoch. Raises EventError or ValueError."""
        # hot: once per quote or print of Kraken and Coinbase (benchmarks/bench_feeds.py)
        second, fraction = text[:19], text[20:-1]
        is_known = second == self._second and text[19:20] == "." and text[-1] == "Z"
        if is_known and len(fraction) <= 9 and fraction.isascii() and fraction.isdigit():
            return self._second_ns + int(fraction) * _NS_PER_UNIT[len(fraction)]
        ns = checked_ns(parse_iso_ns(text))
        if text[-1] == "Z":
            self._second, self._second_ns = second, ns - ns % NS_PER_S
        return ns


def checked_ns(ns: int) -> int:
    """Returns a time; raises ValueError for one before 1973 or after 2262."""
    if not MIN_NS <= ns <= MAX_NS:
        raise ValueError(f"time {ns} ns: expected a time from 1973 to 2262")
    return ns
