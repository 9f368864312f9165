"""Rate limits: requests per address, frames and faults per client.

All are token buckets, which hold two seconds' worth of tokens unless they are made otherwise. A bucket is one number:
the time at which it will be full again. A token can be taken while that time is less than a whole bucket ahead, and
taking it moves the time by one token's interval (virtual scheduling, from the generic cell rate algorithm of ATM, ITU-T
I.371). Nothing is refilled.

The caller passes the time, in nanoseconds that never go back.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from observability.clocks.timestamps import NS_PER_S

BURST_SECONDS: Final = 2
# About 10 MB. The address unused for longest is dropped first: its bucket is nearly always full.
MAX_ADDRESSES: Final = 65_536


class MessageRate:
    """The bucket of one client; a rate of 0 allows everything."""

    __slots__ = ("_ahead_ns", "_full_ns", "_interval_ns")

    def __init__(self, per_second: int, burst_seconds: int = BURST_SECONDS) -> None:
        self._interval_ns = NS_PER_S // per_second if per_second else 0
        self._ahead_ns = burst_seconds * NS_PER_S - self._interval_ns
        self._full_ns = 0

    def allow(self, now_ns: int) -> bool:
        """Takes a token and returns True, or returns False if there is none. A refused message costs no token."""
        # hot: once per inbound message
        full_ns = self._full_ns
        if full_ns <= now_ns:
            full_ns = now_ns
        elif full_ns - now_ns > self._ahead_ns:
            return False
        self._full_ns = full_ns + self._interval_ns
        return True


class RequestRate:
    """A bucket per address, for a bounded number of addresses."""

    __slots__ = ("_ahead_ns", "_full_ns", "_interval_ns", "_max_addresses", "per_second")

    def __init__(self, per_second: int, max_addresses: int = MAX_ADDRESSES) -> None:
        assert per_second > 0, f"per_second {per_second}: expected at least 1; for no limit, make no RequestRate"
        self.per_second = per_second
        self._interval_ns = NS_PER_S // per_second
        self._ahead_ns = BURST_SECONDS * NS_PER_S - self._interval_ns
        self._max_addresses = max_addresses
        # In the order of last use.
        self._full_ns: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_ns)

    def wait_ns(self, address: str, now_ns: int) -> int:
        """Takes a token and returns 0, or returns the time until there is one. A refused request costs no token."""
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
