"""The log of recent trades, and the memory of which fills have arrived.

    fill --> admit(fill, ACCOUNTING) --> trade, once      a second delivery       --> Rejection.DUPLICATE
         --> admit(fill, EXECUTION)  --> same trade       same key, other content --> Rejection.CONFLICT, kept apart
         --> admit(fill, JOURNAL)    --> same trade

What identifies a fill is in `trade.py`, TradeKey. Its content is quantity, price, commission and its currency, the
strategy where both deliveries name one, and the position side where the later one does: a drop copy may know neither.
P&L, latency and slippage are written into a trade by the collectors that it is handed to.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntFlag
from itertools import islice
from typing import Any, Final

from observability.clocks.slices import Steps, at_once
from observability.clocks.timestamps import NS_PER_DAY, format_iso_ms
from observability.events import Fill, event_time_ns
from observability.logs.line_budget import LineBudget
from observability.metrics.arithmetic.decimals import EXACT, ONE, to_float
from observability.metrics.arithmetic.sessions import utc_day_end_ns
from observability.metrics.trades.correction import Corrected, FillReference, Terms
from observability.metrics.trades.stats import TradeStats
from observability.metrics.trades.trade import DEFAULT_STRATEGY, Trade, TradeFilter, TradeKey
from observability.store.checkpoint import EventSequence

logger = logging.getLogger(__name__)

MAX_TRADES = 10_000
# About 400 bytes each. Without a store, a fill that is delivered again after this many others would count twice.
MAX_KEYS = 100_000
MAX_CONFLICTS = 1_000
MAX_BREAKS_SHOWN = 100
# About 200 us of adding up.
TRADES_PER_STEP = 50


class Rejection(Enum):
    """Why a fill is not handed out."""

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Reader(IntFlag):
    """What each fill is handed to once."""

    ACCOUNTING = 1
    EXECUTION = 2
    JOURNAL = 4


# Looking a member of an enumeration up takes as long as two calls, and so does `isinstance` with one.
DUPLICATE: Final = Rejection.DUPLICATE
CONFLICT: Final = Rejection.CONFLICT
ACCOUNTING: Final = Reader.ACCOUNTING
EXECUTION: Final = Reader.EXECUTION
JOURNAL: Final = Reader.JOURNAL
EVERY_READER = Reader.ACCOUNTING | Reader.EXECUTION | Reader.JOURNAL
_READER_BITS = 3


TradeLookup = Callable[[TradeKey], Iterable[Trade]]
"""Finds the trades of a key, whatever their day, that are older than those in memory."""

_normalize = EXACT.normalize
_MONEY = ("quantity", "price", "commission")
_ConflictKey = tuple[TradeKey, int, str]


@dataclass(frozen=True, slots=True)
class DailyIds:
    """The venues whose trade ids begin anew each session."""

    venues: frozenset[str] = frozenset()
    is_every_venue: bool = False
    session_end_ns: Callable[[int], int] = utc_day_end_ns
    """Returns the end of the session that a time belongs to."""

    def day_of(self, record: Fill | Trade) -> int:
        """Returns the day of a fill by its own time; 0 for a venue whose ids go on."""
        if not self.is_every_venue and record.venue not in self.venues:
            return 0
        ts_ns = record.ts_ns if isinstance(record, Trade) else event_time_ns(record)
        return self.session_end_ns(ts_ns) // NS_PER_DAY


StrategyLookup = Callable[[str, str], str | None]
"""Returns the strategy of an order, by symbol and order id; None if no report or fill has named one yet."""


class TradeLog:
    """The last `max_trades` trades. `StoredTrades` answers the same questions about older ones.

    `sequence` numbers the trades. Keys beyond `max_keys` are forgotten, unless an archive has them. `multipliers` are
    those of contracts, by symbol; 1 for every other symbol.
    """

    def __init__(
        self,
        max_trades: int = MAX_TRADES,
        max_keys: int = MAX_KEYS,
        sequence: EventSequence | None = None,
        multipliers: Mapping[str, Decimal] | None = None,
        daily_ids: DailyIds | None = None,
    ) -> None:
        assert max_keys >= max_trades, "a trade must not outlive its key"
        self.multipliers = {} if multipliers is None else multipliers
        self._daily_ids = DailyIds() if daily_ids is None else daily_ids
        self._has_days = self._daily_ids.is_every_venue or bool(self._daily_ids.venues)
        self.conflicts = 0
        """Distinct fills that had the key of another one and different content."""
        self.archive: TradeLookup | None = None
        """Looks up keys that are not in memory, once there may be any."""
        self.strategy_of_order: StrategyLookup | None = None
        """Asked for fills that name no strategy."""
        self.has_forgotten = False
        """Whether there were keys that are no longer in memory."""
        self._trades: deque[Trade] = deque()
        self._max_trades = max_trades
        self._max_keys = max_keys
        self._sequence = EventSequence() if sequence is None else sequence
        self._by_id: dict[str, list[Trade]] = {}
        # Content hash above, reader bits below: one number per key, of which there are many. A collision of hashes
        # would hide a conflict, never lose a fill.
        # An OrderedDict, because finding the first key of a plain dict means skipping the gaps that deleted keys have
        # left in front of it: 40 us with 100,000 keys.
        self._seen: OrderedDict[TradeKey, int] = OrderedDict()
        # The newest trade, its fill, and what `_seen` has of its key, which is written there once another one comes.
        self._newest: tuple[Fill, TradeKey, Trade] | None = None
        self._newest_seen = 0
        self._conflicting: dict[_ConflictKey, Trade] = {}
        self._log_lines = LineBudget()
        self._amended_listeners: list[Callable[[Trade], None]] = []
        self._awaited: set[str] = set()
        self.arrived: list[Trade] = []
        """Fills that a correction has waited for."""

    def __len__(self) -> int:
        return len(self._trades)

    def admit(self, fill: Fill, reader: Reader) -> Trade | Rejection:
        """Returns the fill's trade if this is the first time that `reader` asks for it, else why not."""
        # hot: three times per fill (benchmarks/bench_intake.py)
        # A plain integer: `int | IntFlag` is an IntFlag again, which takes negative numbers for inverted flags.
        bit = reader._value_
        newest = self._newest
        if newest is not None and newest[0] is fill:
            # The readers ask one after the other, about the same object.
            if self._newest_seen & bit:
                return DUPLICATE
            self._newest_seen |= bit
            return newest[2]
        self._settle_newest()
        day = self._daily_ids.day_of(fill) if self._has_days else 0
        key: TradeKey = (fill.venue, fill.symbol, fill.trade_id, fill.side, fill.order_id, day, 1)
        content = _content(fill)
        seen = self._look_up(key)
        if seen is None:
            return self._begin(key, content, bit, fill)
        if seen >> _READER_BITS != content:
            first, key = key, _second_leg(key)
            seen = self._look_up(key)
            if seen is None and self._is_second_leg(fill, first):
                return self._begin(key, content, bit, fill)
            if seen is None or seen >> _READER_BITS != content:
                if self._is_corrected_to(first, content):
                    return DUPLICATE
                self._keep_apart(first, fill)
                return CONFLICT
        known = self._trade(key)
        if known is not None and _names_another_position(fill, known):
            self._keep_apart(key, fill)
            return CONFLICT
        if seen & bit:
            return DUPLICATE
        if known is None:
            # Newer trades have replaced this one; the reader still has to account for the fill.
            known = Trade.from_fill(0, fill, self.strategy_of(fill))
        self._seen[key] = seen | bit
        return known

    def strategy_of(self, fill: Fill) -> str:
        """Returns the strategy that a fill belongs to: its own, else that of its order if that is known by now."""
        if fill.strategy:
            return fill.strategy
        if not fill.order_id or self.strategy_of_order is None:
            return DEFAULT_STRATEGY
        found = self.strategy_of_order(fill.symbol, fill.order_id)
        return found or DEFAULT_STRATEGY

    def is_known(self, fill: Fill) -> bool:
        """Returns whether a fill of this key has arrived before."""
        return self._look_up(self._key(fill)) is not None

    def restore(self, trade: Trade, readers: Reader) -> None:
        """Adds a trade of an earlier process. `readers` have had it; the others will be handed it again."""
        self._see(self._key(trade), _content(trade.original), readers.value)
        self._append(trade)
        if trade.corrected is not None:
            self._add_new_ids(trade)
        if trade.trade_id in self._awaited:
            self.arrived.append(trade)

    def correct(self, trade: Trade, corrected: Corrected) -> None:
        """Gives a trade the terms that it counts with after its corrections. A further delivery of it, under any of its
        ids, stays a duplicate."""
        self._settle_newest()
        trade.correct(corrected)
        if any(each is trade for each in self._by_id.get(trade.trade_id, ())):
            self._add_new_ids(trade)

    def await_fill(self, trade_id: str) -> None:
        """Notes that a correction waits for a fill of that id."""
        self._awaited.add(trade_id)

    def take_awaited(self) -> list[Trade]:
        """Returns the awaited fills that have come since the last call."""
        arrived, self.arrived = self.arrived, []
        self._awaited.difference_update(trade.trade_id for trade in arrived)
        return arrived

    def candidates(self, wanted: FillReference) -> list[Trade]:
        """Returns the trades in memory that may be meant by what a correction names."""
        return [trade for trade in self._by_id.get(wanted.trade_id, ()) if wanted.matches(trade)]

    def those(self, is_wanted: Callable[[Trade], bool]) -> Steps[list[Trade]]:
        """Finds the trades that `is_wanted` accepts, oldest first."""
        found = []
        for number, trade in enumerate(tuple(self._trades)):
            if is_wanted(trade):
                found.append(trade)
            if number % (TRADES_PER_STEP * 20) == 0:
                yield
        return found

    def of_order(self, symbol: str, order_id: str) -> list[Trade]:
        """Returns the trades in memory of an order, oldest first."""
        return [trade for trade in self._trades if trade.order_id == order_id and trade.symbol == symbol]

    @property
    def newest_seq(self) -> int:
        """The number of the newest trade in memory; 0 if there is none."""
        return self._trades[-1].seq if self._trades else 0

    @property
    def oldest_seq(self) -> int:
        """The number of the oldest trade in memory; 0 if there is none."""
        return self._trades[0].seq if self._trades else 0

    @property
    def is_partial(self) -> bool:
        """Whether there may be trades that are no longer in memory; their keys stay for longer."""
        return self.has_forgotten or len(self._trades) >= self._max_trades

    def query(
        self, wanted: TradeFilter, limit: int = 100, offset: int = 0, before_seq: int | None = None
    ) -> tuple[list[Trade], int]:
        """Returns one page, newest first, and how many trades match in all. `before_seq`, the `seq` of a page's last
        trade, asks for the next page."""
        return at_once(self.querying(wanted, limit, offset, before_seq))

    def querying(
        self, wanted: TradeFilter, limit: int = 100, offset: int = 0, before_seq: int | None = None
    ) -> Steps[tuple[list[Trade], int]]:
        """Does the same in steps."""
        matching = yield from self._matching(wanted)
        if before_seq is not None:
            total = len(matching)
            return [trade for trade in matching if trade.seq < before_seq][offset : offset + limit], total
        return matching[offset : offset + limit], len(matching)

    def newer_than(self, seq: int) -> list[Trade]:
        """Returns the trades after `seq` that are still in memory, oldest first; costs what it returns."""
        newer: list[Trade] = []
        for trade in reversed(self._trades):
            if trade.seq <= seq:
                break
            newer.append(trade)
        newer.reverse()
        return newer

    def find(self, trade_id: str) -> list[Trade]:
        """Returns every trade of that id, oldest first: other symbols, orders and days may have the same one."""
        return list(self._by_id.get(trade_id, ()))

    def stats(self, wanted: TradeFilter) -> TradeStats:
        """Adds up the matching trades."""
        return at_once(self.adding_up(wanted))

    def adding_up(self, wanted: TradeFilter) -> Steps[TradeStats]:
        """Does the same in steps."""
        stats = TradeStats()
        matching = yield from self._matching(wanted)
        for number, trade in enumerate(matching):
            if not trade.is_busted:
                stats.add(trade.amounts(), self.multipliers.get(trade.symbol, ONE))
            if number % TRADES_PER_STEP == 0:
                yield
        stats.settle()
        return stats

    def add_amended_listener(self, listener: Callable[[Trade], None]) -> None:
        """Calls `listener` with each trade that was completed after its fill had been handed out."""
        self._amended_listeners.append(listener)

    def amended(self, trade: Trade) -> None:
        """Tells the listeners that a trade was completed."""
        for listener in self._amended_listeners:
            listener(trade)

    def number_conflict(self, fill: Fill) -> Trade | None:
        """Gives the trade of a conflicting fill a number and returns it; None if it has been numbered before."""
        trade = self._conflicting.get(_conflict_key(self._key(fill), fill))
        if trade is None or trade.seq:
            return None
        trade.seq = self._sequence.draw()
        return trade

    def fill_breaks(self) -> list[dict[str, Any]]:
        """Returns the last `MAX_BREAKS_SHOWN` conflicting fills, newest first, each beside the fill of its key that
        counts; None for that one once it is no longer in memory."""
        breaks = []
        for (key, _, _), trade in islice(reversed(self._conflicting.items()), MAX_BREAKS_SHOWN):
            counted = self._trade(key)
            breaks.append(
                {
                    **{name: getattr(trade, name) for name in ("trade_id", "order_id", "symbol", "side", "venue")},
                    "timestamp": format_iso_ms(trade.ts_ns),
                    "counted": None if counted is None else _terms(counted),
                    "delivered": _terms(trade),
                    "differs": None if counted is None else _differences(counted, trade),
                }
            )
        return breaks

    def restore_conflict(self, trade: Trade) -> None:
        """Adds the trade of a conflicting fill of an earlier process."""
        self.conflicts += 1
        self._conflicting[_conflict_key(self._key(trade), trade)] = trade

    def _key(self, record: Fill | Trade) -> TradeKey:
        leg = record.leg if isinstance(record, Trade) else 1
        day = self._daily_ids.day_of(record)
        return record.venue, record.symbol, record.trade_id, record.side, record.order_id, day, leg

    def _look_up(self, key: TradeKey) -> int | None:
        """Returns what is known of a key: content and readers."""
        seen = self._seen.get(key)
        if seen is None and self.has_forgotten and self.archive is not None:
            return self._recall(self.archive, key)
        return seen

    def _begin(self, key: TradeKey, content: int, bits: int, fill: Fill) -> Trade:
        # Before the key is known, because the lookup of the strategy may refuse the fill.
        # hot: once per fill (benchmarks/bench_intake.py)
        strategy = fill.strategy or self.strategy_of(fill)
        self._see(key, content, bits)
        trade = Trade.from_fill(self._sequence.draw(), fill, strategy)
        if key[5] or key[6] != 1:
            trade.day, trade.leg = key[5], key[6]
        self._append(trade)
        self._newest, self._newest_seen = (fill, key, trade), content << _READER_BITS | bits
        if self._awaited and fill.trade_id in self._awaited:
            self.arrived.append(trade)
        return trade

    def _settle_newest(self) -> None:
        """Writes down who has had the newest trade."""
        newest, self._newest = self._newest, None
        if newest is not None and newest[1] in self._seen:
            self._seen[newest[1]] = self._newest_seen

    def _trade(self, key: TradeKey) -> Trade | None:
        """Returns the trade of a key if it is in memory."""
        venue, symbol, trade_id, side, order_id, day, leg = key
        for trade in self._by_id.get(trade_id, ()):
            if (
                trade.order_id == order_id
                and trade.side == side
                and trade.symbol == symbol
                and trade.venue == venue
                and trade.leg == leg
                and (not day or self._daily_ids.day_of(trade) == day)
            ):
                return trade
        return None

    def _is_second_leg(self, fill: Fill, first: TradeKey) -> bool:
        """Returns whether a fill continues the one that closed its position exactly: an engine may report a fill
        through zero in two parts, of the same id, price and time."""
        trade = self._trade(first)
        return (
            trade is not None
            and trade.is_flat
            and trade.price == fill.price
            and trade.ts_ns == event_time_ns(fill)
            and trade.quantity != fill.quantity
        )

    def _is_corrected_to(self, key: TradeKey, content: int) -> bool:
        """Returns whether a fill is delivered again with what a correction has made of it."""
        trade = self._trade(key)
        return trade is not None and trade.corrected is not None and _content(trade.terms) == content

    def _matching(self, wanted: TradeFilter) -> Steps[list[Trade]]:
        """Finds the matching trades, newest first."""
        matches = wanted.predicate()
        matching = []
        # A copy, because trades come between two steps.
        for number, trade in enumerate(reversed(tuple(self._trades))):
            if matches(trade):
                matching.append(trade)
            if number % TRADES_PER_STEP == 0:
                yield
        return matching

    def _see(self, key: TradeKey, content: int, bits: int) -> None:
        if len(self._seen) >= self._max_keys:
            self._seen.popitem(last=False)
            self.has_forgotten = True
        self._seen[key] = content << _READER_BITS | bits

    def _recall(self, archive: TradeLookup, key: TradeKey) -> int | None:
        """Looks up a key that is not in memory; whatever is archived has been handed to every reader."""
        for trade in archive(key):
            # Its day may have been stored under another setting.
            if self._key(trade) == key:
                self._see(key, _content(trade.original), EVERY_READER.value)
                return self._seen[key]
            if trade.shown_id == key[2] != trade.trade_id:
                self._see(key, _content(trade.terms), EVERY_READER.value)
                return self._seen[key]
        return None

    def _append(self, trade: Trade) -> None:
        trades, trade_id = self._trades, trade.trade_id
        if len(trades) >= self._max_trades:
            self._forget(trades.popleft())
        trades.append(trade)
        same_id = self._by_id.get(trade_id)
        if same_id is None:
            self._by_id[trade_id] = [trade]
        else:
            same_id.append(trade)

    def _forget(self, trade: Trade) -> None:
        if trade.corrected is None and len(self._by_id[trade.trade_id]) == 1:
            del self._by_id[trade.trade_id]
            return
        ids = {trade.trade_id}
        if trade.corrected is not None:
            ids.update(change.new_id for change in trade.corrected.changes if change.new_id)
        for trade_id in ids:
            same_id = self._by_id[trade_id]
            # By identity: comparing trades compares all of their fields.
            same_id[:] = [each for each in same_id if each is not trade]
            if not same_id:
                del self._by_id[trade_id]

    def _add_new_ids(self, trade: Trade) -> None:
        """Lets a trade be found under each id that a correction gave it, and a fill of that id be a duplicate of it."""
        assert trade.corrected is not None, "only a correction gives a fill another id"
        terms = trade.corrected.original
        for change in trade.corrected.changes:
            terms = change.apply(terms)
            if not change.new_id:
                continue
            same_id = self._by_id.setdefault(change.new_id, [])
            if all(each is not trade for each in same_id):
                same_id.append(trade)
            venue, symbol, _, side, order_id, day, leg = self._key(trade)
            self._see((venue, symbol, change.new_id, side, order_id, day, leg), _content(terms), EVERY_READER.value)

    def _keep_apart(self, key: TradeKey, fill: Fill) -> None:
        conflict = _conflict_key(key, fill)
        if conflict in self._conflicting:
            return
        self.conflicts += 1
        unlogged = self._log_lines.take()
        if unlogged is not None:
            logger.error(
                "fill %r of %s at venue %r was delivered again with different content; the first delivery counts, "
                "this one is kept apart%s",
                fill.trade_id, fill.symbol, fill.venue, f" ({unlogged} more were not logged)" if unlogged else "",
                extra={"ids": ids_of(fill)},
            )  # fmt: skip
        if len(self._conflicting) >= MAX_CONFLICTS:
            del self._conflicting[next(iter(self._conflicting))]
        trade = self._conflicting[conflict] = Trade.from_fill(0, fill, self.strategy_of(fill))
        trade.day = key[-2]


def _terms(trade: Trade) -> dict[str, Any]:
    """Returns what two deliveries of one fill may differ in."""
    return {
        **{name: to_float(getattr(trade, name)) for name in _MONEY},
        "commission_asset": trade.commission_asset or None,
        "strategy": trade.strategy,
        "position_side": trade.position_side,
    }


def _differences(trade: Trade, other: Trade) -> list[str]:
    """Returns the names of the terms that differ; a delivery that names no strategy does not differ in it."""
    names = [name for name in (*_MONEY, "commission_asset") if getattr(trade, name) != getattr(other, name)]
    if other.position_side not in ("", trade.position_side):
        names.append("position_side")
    strategies = {trade.strategy, other.strategy}
    return [*names, "strategy"] if len(strategies) > 1 and DEFAULT_STRATEGY not in strategies else names


def _content(record: Fill | Terms) -> int:
    """Returns the hash of what must be the same in two deliveries of one fill, besides its key and strategy."""
    # Half the time of hashing the numbers themselves. Zero has a sign, which does not matter.
    quantity, price, commission = record.quantity, record.price, record.commission
    return hash(
        (
            str(_normalize(quantity)) if quantity else "0",
            str(_normalize(price)) if price else "0",
            str(_normalize(commission)) if commission else "0",
            record.commission_asset,
        )
    )


def _names_another_position(fill: Fill, trade: Trade) -> bool:
    """Returns whether a fill names another strategy or position side than the delivery that counts."""
    if fill.position_side not in ("", "both", trade.position_side):
        return True
    return trade.strategy != DEFAULT_STRATEGY and fill.strategy not in ("", DEFAULT_STRATEGY, trade.strategy)


def _second_leg(key: TradeKey) -> TradeKey:
    return (*key[:-1], 2)


def _conflict_key(key: TradeKey, record: Fill | Trade) -> _ConflictKey:
    content = _content(record.original if isinstance(record, Trade) else record)
    return key, content, record.strategy or DEFAULT_STRATEGY


def ids_of(fill: Fill) -> dict[str, str]:
    """Returns what the log calls a fill by."""
    return {
        "trade_id": fill.trade_id, "order_id": fill.order_id, "symbol": fill.symbol, "strategy": fill.strategy
    }  # fmt: skip
