"""The thread that samples the host: it reads files, which may block, and never wakes the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import Final

from observability.metrics.system.host_sampler import HostSample, HostSampler

logger = logging.getLogger(__name__)

# CPU shares are measured over an interval. This is the first one, so that `start` returns with real figures.
FIRST_INTERVAL_SECONDS: Final = 0.1
# A sample is taken so long before a second of the uptime is over, so that the same tick shows both.
LEAD_SECONDS: Final = 0.05


class SamplingThread:
    """Takes a sample per interval; readers look at `newest` when they need it. A sample that fails leaves the last one
    there."""

    def __init__(self, make_sampler: Callable[[], HostSampler], interval_seconds: float) -> None:
        """`make_sampler` is called in the thread."""
        self.newest: HostSample | None = None
        """None before the first sample."""
        self.failures = 0
        self._make_sampler = make_sampler
        self._sampler: HostSampler | None = None
        self._interval_seconds = interval_seconds
        self._stopped = threading.Event()

    async def start(self) -> None:
        """Starts the thread, and returns when it has tried to take the first sample."""
        loop = asyncio.get_running_loop()
        is_sampled = asyncio.Event()

        def sample_until_stopped() -> None:
            due = time.monotonic() - LEAD_SECONDS
            self._sample(FIRST_INTERVAL_SECONDS)
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(is_sampled.set)
            while True:
                now = time.monotonic()
                due += self._interval_seconds * max(1, ceil((now - due) / self._interval_seconds))
                if self._stopped.wait(due - now):
                    return
                self._sample(0.0)

        # A sample that hangs (a dead network file system) must not keep the process from ending.
        threading.Thread(target=sample_until_stopped, name="host-sampler", daemon=True).start()
        await is_sampled.wait()

    def stop(self) -> None:
        """Ends the thread after a sample in progress, without waiting for it."""
        self._stopped.set()

    def _sample(self, interval_seconds: float) -> None:
        """Takes a sample; only the first failure is logged."""
        try:
            if self._sampler is None:
                self._sampler = self._make_sampler()
            self._stopped.wait(interval_seconds)
            self.newest = self._sampler.sample()
        except Exception:
            self.failures += 1
            if self.failures == 1:
                logger.exception(
                    "the host cannot be sampled; the last figures remain, and further failures are only counted"
                )
