"""The record of recent fills, and the memory of which fills were seen.

No accounting here: the collectors write P&L, latency and slippage into the records they are given.

    fill --> admit(fill, ACCOUNTING) --> record, once     a second delivery       --> Rejection.DUPLICATE
         --> admit(fill, EXECUTION)  --> same record      same key, other content --> Rejection.CONFLICT, kept apart
         --> admit(fill, JOURNAL)    --> same record
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntFlag
from typing import Any

from observability.clocks.timestamps import format_iso_ms
from observability.events import Fill, event_time_ns
from observability.metrics.arithmetic.decimals import to_float, to_float_or_none
from observability.metrics.trades.stats import TradeStats
from observability.store.sequence import EventSequence

logger = logging.getLogger(__name__)

MAX_TRADES = 10_000
# About 250 bytes each. Without a store, a fill that is delivered again after this many others would count twice.
MAX_KEYS = 100_000
MAX_CONFLICTS = 1_000

DEFAULT_STRATEGY = "default"


class Reader(IntFlag):
    """Who is given each fill once."""

    ACCOUNTING = 1
    EXECUTION = 2
    JOURNAL = 4


EVERY_READER = Reader.ACCOUNTING | Reader.EXECUTION | Reader.JOURNAL
_READER_BITS = 3


class Rejection(Enum):
    """Why a fill is not given."""

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(slots=True)
class Trade:
    """One fill of ours. `seq` rises from record to record; `pnl` is what the fill realised net of its own commission,
    None if it closed nothing."""

    seq: int
    trade_id: str
    order_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    ts_ns: int
    strategy: str
    venue: str
    commission: Decimal
    liquidity: str
    latency_ms: float | None = None
    slippage_bps: float | None = None
    pnl: Decimal | None = None
    mid: Decimal | None = None
    """The market's mid when the fill was first taken, None without one. It is set once: what is taken again after a
    restart meets another market, and keeps the mid it had."""

    def to_json(self) -> dict[str, Any]:
        return {
            "trade_id": self.trade_id,
            "order_id": self.order_id,
            "symbol": self.symbol,
            "side": self.side,
            "quantity": to_float(self.quantity),
            "price": to_float(self.price),
            "timestamp": format_iso_ms(self.ts_ns),
            "strategy": self.strategy,
            "venue": self.venue,
            "commission": to_float(self.commission),
            "latency_ms": self.latency_ms,
            "slippage_bps": self.slippage_bps,
            "pnl": to_float_or_none(self.pnl),
            "liquidity": self.liquidity,
        }


@dataclass(frozen=True, slots=True)
class TradeFilter:
    """Which trades are wanted; None wants all. start_ns <= time < end_ns."""

    symbol: str | None = None
    side: str | None = None
    strategy: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    min_quantity: Decimal | None = None
    max_quantity: Decimal | None = None

    def predicate(self) -> Callable[[Trade], bool]:
        """Returns the test for one trade."""
        tests: list[Callable[[Trade], bool]] = []
        for name in ("symbol", "side", "strategy"):
            wanted = getattr(self, name)
            if wanted is not None:
                tests.append(lambda trade, name=name, wanted=wanted: getattr(trade, name) == wanted)  # type: ignore[misc]
        start_ns, end_ns = self.start_ns, self.end_ns
        if start_ns is not None:
            tests.append(lambda trade: trade.ts_ns >= start_ns)
        if end_ns is not None:
            tests.append(lambda trade: trade.ts_ns < end_ns)
        low, high = self.min_quantity, self.max_quantity
        if low is not None:
            tests.append(lambda trade: trade.quantity >= low)
        if high is not None:
            tests.append(lambda trade: trade.quantity <= high)
        return lambda trade: all(test(trade) for test in tests)


Key = tuple[str, str, str]
"""Venue, symbol and trade id."""

Archive = Callable[[Key], "Trade | None"]
"""Finds a fill that was taken before those in memory."""


class TradeLog:
    """The last `max_trades` fills, newest first to those who ask; older ones are the store's to answer.

    `sequence` numbers the records. Keys beyond `max_keys` are forgotten, unless an archive remembers them.
    """

    def __init__(
        self, max_trades: int = MAX_TRADES, max_keys: int = MAX_KEYS, sequence: EventSequence | None = None
    ) -> None:
        assert max_keys >= max_trades, "a record must not outlive its key"
        self.conflicts = 0
        """Distinct fills that had the key of another one and other content."""
        self.archive: Archive | None = None
        """Asked for keys that are not in memory, once there may be any."""
        self.has_forgotten = False
        """Whether keys were taken that are not in memory."""
        self.on_amended: Callable[[Trade], None] | None = None
        """Called with a record that was completed after its fill was taken."""
        self._trades: deque[Trade] = deque()
        self._max_trades = max_trades
        self._max_keys = max_keys
        self._sequence = EventSequence() if sequence is None else sequence
        self._by_id: dict[str, list[Trade]] = {}
        # Content hash above, reader bits below: one number per key, of which there are many. A collision of
        # hashes would hide a conflict, never lose a fill.
        # The first key of a plain dict is found behind the gaps of all that went before it: 40 us with 100,000 keys.
        self._seen: OrderedDict[Key, int] = OrderedDict()
        self._conflicting: dict[tuple[Key, int], Trade] = {}

    def __len__(self) -> int:
        return len(self._trades)

    def admit(self, fill: Fill, reader: Reader) -> Trade | Rejection:
        """Returns the fill's record if `reader` is given it for the first time, else why not."""
        key = (fill.venue, fill.symbol, fill.trade_id)
        content = _content(fill)
        # A plain integer: `int | IntFlag` is an IntFlag again, which takes negative numbers for inverted flags.
        bit = reader.value
        seen = self._seen.get(key)
        if seen is None and self.has_forgotten and self.archive is not None:
            seen = self._recall(self.archive, key)
        if seen is None:
            self._see(key, content, bit)
            trade = _trade(self._sequence.draw(), fill)
            self._append(trade)
            return trade
        if seen >> _READER_BITS != content:
            self._keep_apart(key, content, fill)
            return Rejection.CONFLICT
        if seen & bit:
            return Rejection.DUPLICATE
        self._seen[key] = seen | bit
        for trade in self._by_id.get(fill.trade_id, ()):
            if trade.venue == fill.venue and trade.symbol == fill.symbol:
                return trade
        # Its record has already made room for newer ones; the reader still has to account for the fill.
        return _trade(0, fill)

    def restore(self, trade: Trade, readers: Reader) -> None:
        """Takes over a record of an earlier process, which `readers` have been given; the others will be."""
        key = (trade.venue, trade.symbol, trade.trade_id)
        self._see(key, _content(trade), readers.value)
        self._append(trade)

    def query(
        self, wanted: TradeFilter, limit: int = 100, offset: int = 0, before_seq: int | None = None
    ) -> tuple[list[Trade], int]:
        """Returns one page, newest first, and how many match in all; `before_seq` continues behind a page's last."""
        matching = self._matching(wanted)
        if before_seq is not None:
            total = len(matching)
            return [trade for trade in matching if trade.seq < before_seq][offset : offset + limit], total
        return matching[offset : offset + limit], len(matching)

    def newer_than(self, seq: int) -> list[Trade]:
        """Returns the trades behind `seq` that are still kept, oldest first; costs what it returns."""
        newer: list[Trade] = []
        for trade in reversed(self._trades):
            if trade.seq <= seq:
                break
            newer.append(trade)
        newer.reverse()
        return newer

    def find(self, trade_id: str) -> list[Trade]:
        """Returns every trade of that id, oldest first: exchanges number trades per symbol, so there may be several."""
        return list(self._by_id.get(trade_id, ()))

    def amended(self, trade: Trade) -> None:
        """Tells whoever keeps the records that one has changed."""
        if self.on_amended is not None:
            self.on_amended(trade)

    def conflicting(self) -> list[Trade]:
        """Returns the fills that were kept apart, oldest first; they are in no sum."""
        return list(self._conflicting.values())

    def number_conflict(self, fill: Fill) -> Trade | None:
        """Returns the record of a fill that was kept apart, with a number of its own; None if it has been given one."""
        trade = self._conflicting.get(((fill.venue, fill.symbol, fill.trade_id), _content(fill)))
        if trade is None or trade.seq:
            return None
        trade.seq = self._sequence.draw()
        return trade

    def restore_conflict(self, trade: Trade) -> None:
        """Takes over a fill that an earlier process kept apart."""
        self.conflicts += 1
        self._conflicting[(trade.venue, trade.symbol, trade.trade_id), _content(trade)] = trade

    def stats(self, wanted: TradeFilter) -> TradeStats:
        """Adds up the matching trades."""
        stats = TradeStats()
        for trade in reversed(self._matching(wanted)):
            stats.add(trade.side, trade.quantity, trade.price, trade.commission, trade.pnl)
        return stats

    def _matching(self, wanted: TradeFilter) -> list[Trade]:
        matches = wanted.predicate()
        newest_first: Iterator[Trade] = reversed(self._trades)
        return [trade for trade in newest_first if matches(trade)]

    def _see(self, key: Key, content: int, bits: int) -> None:
        if len(self._seen) >= self._max_keys:
            self._seen.popitem(last=False)
            self.has_forgotten = True
        self._seen[key] = content << _READER_BITS | bits

    def _recall(self, archive: Archive, key: Key) -> int | None:
        """Looks a key up that is not in memory; every reader has been given what is archived."""
        trade = archive(key)
        if trade is None:
            return None
        self._see(key, _content(trade), EVERY_READER.value)
        return self._seen[key]

    def _append(self, trade: Trade) -> None:
        if len(self._trades) >= self._max_trades:
            oldest = self._trades.popleft()
            same_id = self._by_id[oldest.trade_id]
            same_id.remove(oldest)
            if not same_id:
                del self._by_id[oldest.trade_id]
        self._trades.append(trade)
        self._by_id.setdefault(trade.trade_id, []).append(trade)

    def _keep_apart(self, key: Key, content: int, fill: Fill) -> None:
        if (key, content) in self._conflicting:
            return
        self.conflicts += 1
        logger.error(
            "fill %r of %s at venue %r was delivered again with other content; the first counts, this is kept apart",
            fill.trade_id, fill.symbol, fill.venue,
        )  # fmt: skip
        if len(self._conflicting) >= MAX_CONFLICTS:
            del self._conflicting[next(iter(self._conflicting))]
        self._conflicting[key, content] = _trade(0, fill)


def _trade(seq: int, fill: Fill) -> Trade:
    return Trade(
        seq=seq,
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        symbol=fill.symbol,
        side=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        ts_ns=event_time_ns(fill),
        strategy=fill.strategy or DEFAULT_STRATEGY,
        venue=fill.venue,
        commission=fill.commission,
        liquidity=fill.liquidity,
        latency_ms=fill.latency_ms,
    )


def _content(record: Fill | Trade) -> int:
    """Returns the hash of what must be the same in two deliveries of one fill."""
    strategy = record.strategy or DEFAULT_STRATEGY
    return hash((record.order_id, record.side, record.quantity, record.price, record.commission, strategy))
