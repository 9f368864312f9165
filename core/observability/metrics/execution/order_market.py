"""The markets of the symbols that we have orders in: touch, recent mids, traded volume, and when horizons are due.

    quotes   q1 q2 q3      q4   q5 q6                the newest one is the touch
    samples  q1            q4        q6              one per TOUCH_SAMPLE_NS, up to MAX_SAMPLES

A mid needs both sides and a fresh touch: a touch that has stood for longer than the staleness threshold has no mid. All
times are times of arrival (`ts_init`), so that a mid is one that was known then, however exchange clocks disagree.
"""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from decimal import Decimal
from math import nan
from typing import Final, Protocol

import msgspec

from observability.clocks.timestamps import NS_PER_MS
from observability.events import Print, Quote
from observability.metrics.arithmetic.decimals import EXACT, HALF, ZERO, price_or_none
from observability.metrics.arithmetic.turnover import ExactTurnover
from observability.metrics.market.tracked_symbol import Follower, TrackedSymbol

logger = logging.getLogger(__name__)

TOUCH_SAMPLE_NS: Final = 10 * NS_PER_MS
# At least 10 s, and longer where quotes are less frequent; 24 kB, in a checkpoint too.
MAX_SAMPLES: Final = 1024


class SymbolSource(Protocol):
    """The market data section, as far as it is needed to follow a symbol."""

    def symbol(self, symbol: str) -> TrackedSymbol | None:
        """Returns the live state of a symbol; None if it is not tracked."""

    def stale_after_ns(self, symbol: str) -> int:
        """Returns how long a touch of the symbol is fresh."""

    def follow(self, symbol: str, follower: Follower) -> None:
        """Hands every later quote and print of the symbol to `follower`."""


class Horizons(Protocol):
    """The fills that wait for a horizon to pass."""

    pending: int

    def due_ns(self, symbol: str) -> int | None:
        """Returns the next horizon of a symbol, None if there is none."""

    def settle(self, market: OrderMarket, now_ns: int) -> None:
        """Counts the horizons of a symbol that lie before `now_ns`."""


class OrderMarketState(msgspec.Struct, array_like=True):
    """The market of one symbol in a checkpoint."""

    symbol: str
    stale_after_ns: int
    bid: float | None = None
    ask: float | None = None
    touch_ns: int = 0
    times: bytes = b""
    bids: bytes = b""
    asks: bytes = b""
    volume: Decimal = ZERO
    notional: Decimal = ZERO


class OrderMarket:
    """The market of one symbol."""

    __slots__ = (
        "_asks",
        "_bids",
        "_markets",
        "_notional_before",
        "_times",
        "_traded",
        "_turnover",
        "_volume_before",
        "ask",
        "bid",
        "next_ns",
        "stale_after_ns",
        "symbol",
        "touch_ns",
    )

    def __init__(self, symbol: str, stale_after_ns: int, markets: OrderMarkets) -> None:
        self.symbol = symbol
        self.stale_after_ns = stale_after_ns
        self.bid: float | None = None
        self.ask: float | None = None
        self.touch_ns = 0
        self.next_ns = 0
        """When the next sample or horizon is due."""
        self._markets = markets
        # Prices are NaN where a side was empty.
        self._times = array("q")
        self._bids = array("d")
        self._asks = array("d")
        self._turnover = ExactTurnover()
        self._traded: tuple[Decimal, Decimal] | None = None
        # The turnover before a restart.
        self._volume_before = self._notional_before = ZERO

    def on_quote(self, event: Quote) -> None:
        """Replaces the touch, after counting the horizons that lie before it."""
        # hot: once per quote (benchmarks/bench_intake.py)
        now_ns = event.ts_init
        is_due = now_ns >= self.next_ns
        if is_due:
            self._markets.settle(self, now_ns)
        self.bid = event.bid
        self.ask = event.ask
        self.touch_ns = now_ns
        if is_due:
            self.sample()

    def on_print(self, event: Print) -> None:
        """Adds one trade of the market."""
        # hot: once per print (benchmarks/bench_intake.py)
        self._traded = None
        self._turnover.add(event.price, event.size)

    def begin(self, tracked: TrackedSymbol) -> None:
        """Starts with the touch that the market data section has."""
        if tracked.updated_ns:
            self.bid, self.ask, self.touch_ns = tracked.bid, tracked.ask, tracked.updated_ns
            self.sample()

    def sample(self) -> None:
        """Keeps the touch if a sample is due, and notes when the next sample or horizon is due."""
        times = self._times
        if not times or self.touch_ns >= times[-1] + TOUCH_SAMPLE_NS:
            # Trimmed in large steps, because removing an array's first item moves all others.
            if len(times) >= 2 * MAX_SAMPLES:
                for column in (times, self._bids, self._asks):
                    del column[:MAX_SAMPLES]
            times.append(self.touch_ns)
            self._bids.append(nan if self.bid is None else self.bid)
            self._asks.append(nan if self.ask is None else self.ask)
        sample_ns = times[-1] + TOUCH_SAMPLE_NS
        due_ns = self._markets.due_ns(self.symbol)
        self.next_ns = sample_ns if due_ns is None or due_ns > sample_ns else due_ns

    def mid(self, now_ns: int) -> Decimal | None:
        """Returns the current mid; None if a side is empty or the touch is stale."""
        return self._mid_of(self.bid, self.ask, now_ns - self.touch_ns)

    def mid_at(self, ts_ns: int) -> Decimal | None:
        """Returns the mid known at `ts_ns`: of the touch if it is not newer, else of the last sample before."""
        if self.touch_ns <= ts_ns:
            return self._mid_of(self.bid, self.ask, ts_ns - self.touch_ns)
        index = bisect_right(self._times, ts_ns) - 1
        if index < 0:
            return None
        return self._mid_of(self._bids[index], self._asks[index], ts_ns - self._times[index])

    def traded(self) -> tuple[Decimal, Decimal]:
        """Returns the exact volume and notional of all prints since the symbol was first followed."""
        # Cached, because orders and fills ask more often than the market trades.
        if self._traded is None:
            sums = self._turnover.sums()
            # Scales are powers of ten, so the quotients are finite decimals.
            size_scale, notional_scale = Decimal(sums.size_scale), Decimal(sums.size_scale * sums.price_scale)
            volume = EXACT.divide(Decimal(sums.volume_units), size_scale)
            notional = EXACT.divide(Decimal(sums.notional_units), notional_scale)
            self._traded = EXACT.add(self._volume_before, volume), EXACT.add(self._notional_before, notional)
        return self._traded

    def to_state(self) -> OrderMarketState:
        newest = slice(-MAX_SAMPLES, None)
        volume, notional = self.traded()
        return OrderMarketState(
            self.symbol, self.stale_after_ns, self.bid, self.ask, self.touch_ns, self._times[newest].tobytes(),
            self._bids[newest].tobytes(), self._asks[newest].tobytes(), volume, notional,
        )  # fmt: skip

    @classmethod
    def from_state(cls, state: OrderMarketState, markets: OrderMarkets) -> OrderMarket:
        market = cls(state.symbol, state.stale_after_ns, markets)
        market.bid, market.ask, market.touch_ns = state.bid, state.ask, state.touch_ns
        market._times.frombytes(state.times)
        market._bids.frombytes(state.bids)
        market._asks.frombytes(state.asks)
        market._volume_before, market._notional_before = state.volume, state.notional
        return market

    def _mid_of(self, bid: float | None, ask: float | None, age_ns: int) -> Decimal | None:
        if age_ns > self.stale_after_ns:
            return None
        low, high = price_or_none(bid), price_or_none(ask)
        return None if low is None or high is None else EXACT.multiply(EXACT.add(low, high), HALF)


class OrderMarkets:
    """Follows each symbol from its first order on; without a source, no symbol.

    Calls `on_due` with the time before it counts horizons, so that they belong to the right session.
    """

    def __init__(
        self, source: SymbolSource | None, horizons: Horizons, on_due: Callable[[int], None], max_symbols: int
    ) -> None:
        self._source = source
        self._horizons = horizons
        self._on_due = on_due
        self._max_symbols = max_symbols
        self._markets: dict[str, OrderMarket] = {}
        self._is_full = False

    def follow(self, symbol: str) -> OrderMarket | None:
        """Returns the symbol's market, followed from now on; None for symbols beyond `max_symbols`."""
        market = self._markets.get(symbol)
        if market is None and self._source is not None:
            if len(self._markets) < self._max_symbols:
                return self._begin(self._source, symbol)
            if not self._is_full:
                self._is_full = True
                logger.warning(
                    "more than %d symbols have orders; the market of further symbols is not followed, and their "
                    "figures that need its prices are left out",
                    self._max_symbols,
                )
        return market

    def due_ns(self, symbol: str) -> int | None:
        """Returns the next horizon of a symbol, None if there is none."""
        return self._horizons.due_ns(symbol)

    def settle(self, market: OrderMarket, now_ns: int) -> None:
        """Counts the horizons of a symbol that lie before `now_ns`."""
        due_ns = self._horizons.due_ns(market.symbol)
        if due_ns is not None and due_ns < now_ns:
            self._on_due(now_ns)
            self._horizons.settle(market, now_ns)

    def settle_all(self, now_ns: int) -> bool:
        """Counts the horizons of all symbols that lie before `now_ns`; returns whether there were any."""
        if not self._horizons.pending:
            return False
        is_any = False
        for market in self._markets.values():
            due_ns = self._horizons.due_ns(market.symbol)
            if due_ns is not None and due_ns < now_ns:
                self._horizons.settle(market, now_ns)
                is_any = True
        return is_any

    def to_state(self) -> list[OrderMarketState]:
        return [market.to_state() for market in self._markets.values()]

    def load_state(self, state: Sequence[OrderMarketState]) -> None:
        """Replaces all markets. They receive no events before `attach`."""
        self._markets = {each.symbol: OrderMarket.from_state(each, self) for each in state}

    def attach(self) -> None:
        """Follows the symbols that were loaded."""
        if self._source is not None:
            for market in self._markets.values():
                self._source.follow(market.symbol, market)

    def _begin(self, source: SymbolSource, symbol: str) -> OrderMarket:
        market = self._markets[symbol] = OrderMarket(symbol, source.stale_after_ns(symbol), self)
        tracked = source.symbol(symbol)
        if tracked is not None:
            market.begin(tracked)
        source.follow(symbol, market)
        return market
