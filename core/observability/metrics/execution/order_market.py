"""The markets of the symbols that we have orders in: touch, recent mids, traded volume, and when horizons are due.

    quotes    q1 q2 q3      q4   q5                q6    the newest one is the touch
    touches   q1    q3           q5                q6    those with other prices, or after the touch had become stale

A mid needs both sides and a fresh touch: a touch whose newest quote is older than the staleness threshold has no mid.
The current mid goes by arrival (`ts_init`). An earlier one, at a decision, is of the quote that stood at that time by
the exchange's clock (`ts`), or by its arrival if that is earlier: a quote has not been quoted after it has arrived.
"""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from math import isnan, nan
from typing import Final, Protocol

import msgspec

from observability.clocks.timestamps import MAX_NS
from observability.events import Print
from observability.metrics.arithmetic.decimals import EXACT, HALF, ZERO, price_or_none
from observability.metrics.arithmetic.turnover import ExactTurnover
from observability.metrics.market.tracked_symbol import Follower, TrackedSymbol

logger = logging.getLogger(__name__)

# How many changes of the touch are kept per symbol, in 190 kB. With 50 changes per second they reach back 20 s; a
# decision before the oldest one has no mid.
MAX_TOUCHES: Final = 1024
# How many of them are in a checkpoint: 16 kB.
SAVED_TOUCHES: Final = 512

Touch = tuple[int, float | None, float | None, int]
"""When it was quoted, bid and ask, and when the newest quote of the touch before it was."""


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

    def due_ns(self, symbol: str) -> int | None:
        """Returns the next horizon of a symbol, None if there is none."""

    def due(self, now_ns: int) -> Sequence[str]:
        """Returns the symbols with horizons before `now_ns`."""

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
    quoted_ns: int = 0
    confirmed: bytes = b""


class OrderMarket:
    """The market of one symbol."""

    __slots__ = (
        "_due_ns",
        "_markets",
        "_notional_before",
        "_quoted_ns",
        "_touches",
        "_traded",
        "_turnover",
        "_venues",
        "_volume_before",
        "ask",
        "bid",
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
        """When the newest quote arrived."""
        # When it was quoted.
        self._quoted_ns = 0
        self._due_ns = MAX_NS
        self._markets = markets
        # The market whose touch can change by time alone; None while it is traded at one venue.
        self._venues: TrackedSymbol | None = None
        self._touches: deque[Touch] = deque(maxlen=MAX_TOUCHES)
        self._turnover = ExactTurnover()
        self._traded: tuple[Decimal, Decimal] | None = None
        # The turnover before a restart.
        self._volume_before = self._notional_before = ZERO

    def on_touch(self, bid: float | None, ask: float | None, ts_ns: int, now_ns: int) -> None:
        """Replaces the touch, after counting the horizons that lie before it."""
        # hot: once per quote (benchmarks/bench_intake.py)
        if now_ns >= self._due_ns:
            self._markets.settle(self, now_ns)
            self.schedule()
        quoted_ns = ts_ns if ts_ns < now_ns else now_ns
        before_ns = self._quoted_ns
        if quoted_ns < before_ns:
            # Time has gone back, and what stood when is not known any more.
            self._touches.clear()
        # Most quotes change a size only.
        if bid != self.bid or ask != self.ask or now_ns - self.touch_ns > self.stale_after_ns:
            self._touches.append((quoted_ns, bid, ask, before_ns))
            self.bid = bid
            self.ask = ask
        self._quoted_ns = quoted_ns
        self.touch_ns = now_ns

    def on_expiry(self, bid: float | None, ask: float | None, arrived_ns: int, now_ns: int) -> None:
        """Replaces the touch by the best without a venue, whose newest quote arrived at `arrived_ns`."""
        self.on_touch(bid, ask, now_ns, now_ns)
        self._quoted_ns = self.touch_ns = arrived_ns

    def on_venues(self, market: TrackedSymbol) -> None:
        self._venues = market

    def on_print(self, event: Print) -> None:
        """Adds one trade of the market."""
        # hot: once per print (benchmarks/bench_intake.py)
        self._traded = None
        self._turnover.add(event.price, event.size)

    def begin(self, tracked: TrackedSymbol) -> None:
        """Starts with the touch that the market data section has."""
        quotes = tracked.quotes
        if quotes.arrived_ns:
            self.on_touch(*tracked.sides, quotes.newest_ns or quotes.arrived_ns, quotes.arrived_ns)

    def schedule(self) -> None:
        """Notes when the next horizon is due."""
        due_ns = self._markets.due_ns(self.symbol)
        self._due_ns = MAX_NS if due_ns is None else due_ns

    def mid(self, now_ns: int) -> Decimal | None:
        """Returns the current mid; None if a side is empty or the touch is stale."""
        # hot: once or twice per fill, twice per order (benchmarks/bench_intake.py)
        if self._venues is not None:
            self._venues.expire_quotes(now_ns)
        if self.bid is None or self.ask is None:
            return None
        return self._mid_of(self.bid, self.ask, now_ns - self.touch_ns)

    def mid_known_at(self, now_ns: int) -> Decimal | None:
        """Returns the mid that was known at `now_ns`: of the touch if it had arrived by then."""
        return self.mid(now_ns) if self.touch_ns <= now_ns else self.mid_at(now_ns)

    def mid_at(self, ts_ns: int) -> Decimal | None:
        """Returns the mid of the touch that stood at `ts_ns`; None if that is not known, a side is empty, or its newest
        quote was stale."""
        # A best without a venue has begun later than its newest quote came.
        began_ns = self._touches[-1][0] if self._touches else 0
        if ts_ns >= self._quoted_ns and ts_ns >= began_ns:
            since_ns = self.touch_ns if self.touch_ns <= ts_ns else self._quoted_ns
            return self._mid_of(self.bid, self.ask, ts_ns - since_ns)
        # The newest quote of a touch; that of the current one is after `ts_ns`.
        confirmed_ns = ts_ns
        for quoted_ns, bid, ask, before_ns in reversed(self._touches):
            if quoted_ns <= ts_ns:
                return self._mid_of(bid, ask, ts_ns - confirmed_ns)
            confirmed_ns = min(before_ns, ts_ns)
        return None

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
        newest = list(self._touches)[-SAVED_TOUCHES:]
        times, bids, asks, confirmed = zip(*newest, strict=True) if newest else ((), (), (), ())
        volume, notional = self.traded()
        return OrderMarketState(
            self.symbol, self.stale_after_ns, self.bid, self.ask, self.touch_ns, array("q", times).tobytes(),
            _packed(bids), _packed(asks), volume, notional, self._quoted_ns, array("q", confirmed).tobytes(),
        )  # fmt: skip

    @classmethod
    def from_state(cls, state: OrderMarketState, markets: OrderMarkets) -> OrderMarket:
        market = cls(state.symbol, state.stale_after_ns, markets)
        market.bid, market.ask, market.touch_ns = state.bid, state.ask, state.touch_ns
        market._quoted_ns = state.quoted_ns or state.touch_ns
        # The touches of an earlier version are samples.
        if state.quoted_ns:
            times, confirmed = array("q", state.times), array("q", state.confirmed)
            market._touches.extend(zip(times, _unpacked(state.bids), _unpacked(state.asks), confirmed, strict=True))
        market._volume_before, market._notional_before = state.volume, state.notional
        return market

    def _mid_of(self, bid: float | None, ask: float | None, age_ns: int) -> Decimal | None:
        if age_ns > self.stale_after_ns:
            return None
        low, high = price_or_none(bid), price_or_none(ask)
        return None if low is None or high is None else EXACT.multiply(EXACT.add(low, high), HALF)


def _packed(prices: Iterable[float | None]) -> bytes:
    """Returns prices as doubles, NaN for a side that is not there."""
    return array("d", [nan if price is None else price for price in prices]).tobytes()


def _unpacked(data: bytes) -> list[float | None]:
    return [None if isnan(price) else price for price in array("d", data)]


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
        is_any = False
        for symbol in self._horizons.due(now_ns):
            market = self._markets.get(symbol)
            if market is not None:
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
