"""Custom collectors: each runs in a task of its own and is encoded apart from the built-in sections.

None of them runs inside a tick; the tick uses the result of the latest finished run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from observability.encoding import encode_json
from observability.errors import ConfigError
from observability.memory.counters import Counters
from observability.snapshot.serializer import NULL, RESERVED_NAMES

logger = logging.getLogger(__name__)

MAX_ERROR_CHARS = 200


class Collector(Protocol):
    """The interface that the hub needs of a collector; `BaseCollector` has it."""

    name: str
    is_running: bool
    metrics_collected: int

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def get_current_metrics(self) -> dict[str, Any]: ...


class CustomCollectors:
    """Runs every custom collector once per interval and keeps its encoded metrics.

    A slow or failing collector shows as `null` and is counted; the tick does not wait for it. It fails if it
    raises, returns what is not JSON, or takes longer than `timeout_seconds`.
    """

    def __init__(
        self, collectors: Mapping[str, Collector], interval_seconds: float, timeout_seconds: float, counters: Counters
    ) -> None:
        if clashes := sorted(RESERVED_NAMES.intersection(collectors)):
            raise ConfigError([f"collector {name!r}: the snapshot has a field of that name" for name in clashes])
        self.collectors = dict(collectors)
        self.encoded: dict[str, bytes] = dict.fromkeys(collectors, NULL)
        """Encoded metrics by name, ready to be joined into the snapshot."""
        self.failing: dict[str, str] = {}
        """Why the last run of a collector failed, by name."""
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._failures = {
            name: counters.counter(
                "collector_failures_total", "Runs of a collector that raised or timed out", collector=name
            )
            for name in collectors
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(name, collector), name=f"collector {name}")
            for name, collector in self.collectors.items()
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name, collector in self.collectors.items():
            try:
                await asyncio.wait_for(collector.stop(), self._timeout_seconds)
            except Exception:
                logger.exception("collector %r failed to stop", name)

    async def _run(self, name: str, collector: Collector) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    if not collector.is_running:
                        await collector.start()
                    self.encoded[name] = encode_json(await collector.get_current_metrics())
                collector.metrics_collected += 1
                self.failing.pop(name, None)
            except Exception as error:
                self.encoded[name] = NULL
                self._failures[name].add()
                if name not in self.failing:
                    logger.warning("collector %r failed; its metrics are null until it recovers: %r", name, error)
                self.failing[name] = repr(error)[:MAX_ERROR_CHARS]
            await asyncio.sleep(self._interval_seconds)
