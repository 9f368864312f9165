"""How often something may happen: requests per address, messages per client.

No clock here: whoever asks says what time it is, in nanoseconds that never go back.

Both are token buckets that hold twice what they gain in a second, kept as one number: the time at which the bucket will
be full again. Something is allowed while that lies less than a bucket's worth ahead, and moves it by one token's time
(the virtual scheduling of ATM's generic cell rate algorithm, ITU-T I.371). Nothing has to be refilled.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from observability.clocks.timestamps import NS_PER_S

BURST_SECONDS: Final = 2
# About 10 MB; the address not heard of for longest is forgotten first, and its bucket is nearly always full.
MAX_ADDRESSES: Final = 65_536


class MessageRate:
    """One client's bucket; a rate of 0 allows everything."""

    __slots__ = ("_ahead_ns", "_full_ns", "_interval_ns")

    def __init__(self, per_second: int) -> None:
        self._interval_ns = NS_PER_S // per_second if per_second else 0
        self._ahead_ns = BURST_SECONDS * NS_PER_S - self._interval_ns
        self._full_ns = 0

    def allow(self, now_ns: int) -> bool:
        """Takes a token and returns True, or returns False if there is none; what is refused costs nothing."""
        # hot: once per inbound message
        full_ns = self._full_ns
        if full_ns <= now_ns:
            full_ns = now_ns
        elif full_ns - now_ns > self._ahead_ns:
            return False
        self._full_ns = full_ns + self._interval_ns
        return True


class RequestRate:
    """A bucket per address, for a bounded number of them."""

    __slots__ = ("_ahead_ns", "_full_ns", "_interval_ns", "_max_addresses", "per_second")

    def __init__(self, per_second: int, max_addresses: int = MAX_ADDRESSES) -> None:
        assert per_second > 0, f"per_second {per_second}: expected at least 1; no limit is no RequestRate"
        self.per_second = per_second
        self._interval_ns = NS_PER_S // per_second
        self._ahead_ns = BURST_SECONDS * NS_PER_S - self._interval_ns
        self._max_addresses = max_addresses
        # In the order in which the addresses were last heard of.
        self._full_ns: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_ns)

    def wait_ns(self, address: str, now_ns: int) -> int:
        """Takes a token and returns 0, or returns how long it is until there is one; what is refused costs nothing."""
        # hot: once per request
        times = self._full_ns
        full_ns = times.get(address, 0)
        if full_ns <= now_ns:
            full_ns = now_ns
        elif full_ns - now_ns > self._ahead_ns:
            times.move_to_end(address)
            return full_ns - now_ns - self._ahead_ns
        times[address] = full_ns + self._interval_ns
        times.move_to_end(address)
        if len(times) > self._max_addresses:
            times.popitem(last=False)
        return 0
