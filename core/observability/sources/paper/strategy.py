"""The paper strategy: mean reversion of the mid, deliberately simple, so that its orders are easy to check by eye.

It is not expected to earn money.

1. The mid is sampled at most every 100 ms; its mean and variance are exponentially weighted (weight 1/100 per sample).
2. Flat or holding: if the mid is more than 2 standard deviations, and more than the spread, from its mean, join the
   touch on the side that profits from its return (passive). Entries repeat while this holds, whatever the position; the
   venue enforces the position limit.
3. Holding: if the mid is back at its mean, or after 2 minutes, cross the spread with the whole position.
4. At most one decision per second and symbol, none while an order is open, none for 30 s after a rejection.
5. After a minute without a sample, or in a locked or crossed market, mean and variance start again.
"""

from __future__ import annotations

from typing import NamedTuple

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.events import Side

SAMPLE_INTERVAL_NS = 100 * NS_PER_MS

_WEIGHT = 0.01
_WARM_UP_SAMPLES = 100
_ENTRY_DEVIATIONS = 2.0
_MAX_GAP_NS = 60 * NS_PER_S
_MAX_HOLD_NS = 120 * NS_PER_S
_PAUSE_NS = NS_PER_S
_REJECT_PAUSE_NS = 30 * NS_PER_S


class Decision(NamedTuple):
    """A decision to trade: a passive entry, or an exit that takes liquidity."""

    side: Side
    is_exit: bool
    confidence: float


class MeanReversion:
    """The strategy's state of one symbol."""

    __slots__ = ("_held_since_ns", "_mean", "_paused_until_ns", "_sample_ns", "_samples", "_variance")

    def __init__(self) -> None:
        self._mean = 0.0
        self._variance = 0.0
        self._samples = 0
        self._sample_ns = 0
        self._held_since_ns = 0
        self._paused_until_ns = 0

    def sample(self, now_ns: int, bid: float, ask: float, direction: int, is_busy: bool) -> Decision | None:
        """Updates the mean with one touch and decides; `direction` is the position's sign, `is_busy` an open order."""
        mid = (bid + ask) / 2
        if now_ns - self._sample_ns > _MAX_GAP_NS or bid >= ask:
            self._samples = 0
        self._sample_ns = now_ns
        if not direction:
            self._held_since_ns = 0
        elif not self._held_since_ns:
            self._held_since_ns = now_ns
        self._samples += 1
        if self._samples == 1:
            self._mean, self._variance = mid, 0.0
            return None
        deviation = mid - self._mean
        self._mean += _WEIGHT * deviation
        self._variance = (1 - _WEIGHT) * (self._variance + _WEIGHT * deviation * deviation)
        if is_busy or self._samples < _WARM_UP_SAMPLES or now_ns < self._paused_until_ns:
            return None
        decision = self._decide(now_ns, deviation, ask - bid, direction)
        if decision is not None:
            self._paused_until_ns = now_ns + _PAUSE_NS
        return decision

    def on_reject(self, now_ns: int) -> None:
        """Makes no decision for the next 30 s."""
        self._paused_until_ns = now_ns + _REJECT_PAUSE_NS

    def _decide(self, now_ns: int, deviation: float, spread: float, direction: int) -> Decision | None:
        if direction and (deviation * direction >= 0 or now_ns - self._held_since_ns > _MAX_HOLD_NS):
            return Decision("sell" if direction > 0 else "buy", True, 1.0)
        size = abs(deviation)
        threshold = _ENTRY_DEVIATIONS * self._variance**0.5
        if size > threshold and size > spread:
            return Decision("buy" if deviation < 0 else "sell", False, min(1.0, size / (2 * threshold)))
        return None
