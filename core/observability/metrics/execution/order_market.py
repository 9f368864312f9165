"""The market of a symbol that we have orders in: its touch, its mids of the last seconds, and what it traded.

No session figures here (see `tracked_symbol.py`) and nothing of the orders themselves.

    quotes   q1 q2 q3      q4   q5 q6                the newest one is the touch
    samples  q1            q4        q6              one per SAMPLE_NS, up to MAX_SAMPLES

A mid is one of both sides, and fresh: no mid is given of a touch that had stood for longer than the staleness
threshold. All times are those of arrival (`ts_init`), so that clocks that disagree do not mix up what was known when.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from decimal import Decimal
from math import nan
from typing import Final, Protocol

import msgspec

from observability.clocks.timestamps import NS_PER_MS
from observability.events import Print, Quote
from observability.metrics.arithmetic.decimals import EXACT, HALF, ZERO, price_or_none
from observability.metrics.arithmetic.turnover import ExactTurnover
from observability.metrics.market.tracked_symbol import TrackedSymbol

SAMPLE_NS: Final = 10 * NS_PER_MS
# At least 10 s, and longer where quotes come less often; 24 kB, which a checkpoint holds too.
MAX_SAMPLES: Final = 1024


class Horizons(Protocol):
    """What waits for times to pass."""

    def settle(self, market: OrderMarket, now_ns: int) -> None:
        """Looks at the market as it was before `now_ns`."""

    def due_ns(self, symbol: str) -> int | None:
        """Returns when the symbol is next waited for."""


class FollowedState(msgspec.Struct, array_like=True):
    """What a checkpoint holds of a followed symbol."""

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
    """One symbol."""

    __slots__ = (
        "_asks",
        "_bids",
        "_notional_before",
        "_times",
        "_traded",
        "_turnover",
        "_volume_before",
        "ask",
        "bid",
        "horizons",
        "next_ns",
        "stale_after_ns",
        "symbol",
        "touch_ns",
    )

    def __init__(self, symbol: str, stale_after_ns: int, horizons: Horizons) -> None:
        self.symbol = symbol
        self.stale_after_ns = stale_after_ns
        self.horizons = horizons
        self.bid: float | None = None
        self.ask: float | None = None
        self.touch_ns = 0
        self.next_ns = 0
        """When the next sample or horizon is due."""
        # Prices are NaN where a side was without orders.
        self._times = array("q")
        self._bids = array("d")
        self._asks = array("d")
        self._turnover = ExactTurnover()
        self._traded: tuple[Decimal, Decimal] | None = None
        # What was traded before a restart.
        self._volume_before = self._notional_before = ZERO

    def on_quote(self, event: Quote) -> None:
        """Takes the touch over, after what was due before it."""
        # hot: once per quote (benchmarks/bench_intake.py)
        now_ns = event.ts_init
        is_due = now_ns >= self.next_ns
        if is_due:
            self.horizons.settle(self, now_ns)
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

    def begin(self, market: TrackedSymbol) -> None:
        """Starts with the touch that the market data section knows."""
        if market.updated_ns:
            self.bid, self.ask, self.touch_ns = market.bid, market.ask, market.updated_ns
            self.sample()

    def sample(self) -> None:
        """Keeps the touch if it is time, and notes when it will be again."""
        times = self._times
        if not times or self.touch_ns >= times[-1] + SAMPLE_NS:
            # Trimmed in large steps: an array that drops its first item moves all others.
            if len(times) >= 2 * MAX_SAMPLES:
                for column in (times, self._bids, self._asks):
                    del column[:MAX_SAMPLES]
            times.append(self.touch_ns)
            self._bids.append(nan if self.bid is None else self.bid)
            self._asks.append(nan if self.ask is None else self.ask)
        sample_ns = times[-1] + SAMPLE_NS
        due_ns = self.horizons.due_ns(self.symbol)
        self.next_ns = sample_ns if due_ns is None or due_ns > sample_ns else due_ns

    def mid(self, now_ns: int) -> Decimal | None:
        """Returns the mid of this moment; None if a side has no orders or the touch is stale."""
        return self._mid_of(self.bid, self.ask, now_ns - self.touch_ns)

    def mid_at(self, ts_ns: int) -> Decimal | None:
        """Returns the mid that was known at `ts_ns`: of the touch if it is not newer, else of the sample before."""
        if self.touch_ns <= ts_ns:
            return self._mid_of(self.bid, self.ask, ts_ns - self.touch_ns)
        index = bisect_right(self._times, ts_ns) - 1
        if index < 0:
            return None
        return self._mid_of(self._bids[index], self._asks[index], ts_ns - self._times[index])

    def traded(self) -> tuple[Decimal, Decimal]:
        """Returns volume and notional of all prints since the symbol is followed, exactly."""
        # Orders and fills ask more often than the market trades.
        if self._traded is None:
            amount = self._turnover.sums()
            # Scales are powers of ten, so that the quotients end.
            size_scale, notional_scale = Decimal(amount.size_scale), Decimal(amount.size_scale * amount.price_scale)
            volume = EXACT.divide(Decimal(amount.volume_units), size_scale)
            notional = EXACT.divide(Decimal(amount.notional_units), notional_scale)
            self._traded = EXACT.add(self._volume_before, volume), EXACT.add(self._notional_before, notional)
        return self._traded

    def dump_state(self) -> FollowedState:
        """Returns everything that a restart needs."""
        newest = slice(-MAX_SAMPLES, None)
        volume, notional = self.traded()
        return FollowedState(
            self.symbol, self.stale_after_ns, self.bid, self.ask, self.touch_ns, self._times[newest].tobytes(),
            self._bids[newest].tobytes(), self._asks[newest].tobytes(), volume, notional,
        )  # fmt: skip

    @classmethod
    def from_state(cls, state: FollowedState, horizons: Horizons) -> OrderMarket:
        """Returns the symbol that was dumped."""
        followed = cls(state.symbol, state.stale_after_ns, horizons)
        followed.bid, followed.ask, followed.touch_ns = state.bid, state.ask, state.touch_ns
        followed._times.frombytes(state.times)
        followed._bids.frombytes(state.bids)
        followed._asks.frombytes(state.asks)
        followed._volume_before, followed._notional_before = state.volume, state.notional
        return followed

    def _mid_of(self, bid: float | None, ask: float | None, age_ns: int) -> Decimal | None:
        if age_ns > self.stale_after_ns:
            return None
        low, high = price_or_none(bid), price_or_none(ask)
        return None if low is None or high is None else EXACT.multiply(EXACT.add(low, high), HALF)
