"""How long to wait before the next attempt: exponential back-off with full jitter.

A server that restarts loses all of its clients at once. Random delays keep them from coming back at once, too.
Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

# 2 ** 32 seconds is above any limit, and below what overflows.
_MAX_DOUBLINGS = 32


@dataclass
class Backoff:
    """Delays in seconds, each uniformly random from 0 to a bound that doubles up to `limit_seconds`."""

    first_seconds: float = 0.2
    limit_seconds: float = 15.0
    attempts: int = field(default=0, init=False)
    """Failed attempts in a row."""

    def reset(self) -> None:
        """Starts anew: an attempt has succeeded."""
        self.attempts = 0

    def next_delay(self, at_least: float = 0.0) -> float:
        """Counts a failure; returns the delay before the next attempt. `at_least` is what the server asked for."""
        bound = min(self.limit_seconds, self.first_seconds * 2 ** min(self.attempts, _MAX_DOUBLINGS))
        self.attempts += 1
        return at_least + random.uniform(0.0, bound)
