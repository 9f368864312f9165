"""A gate of ingest over a bus and a log that tests look into.

No tests here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.errors import EventRefused
from observability.events import EVENT_TYPES, Event
from observability.ingest.answers import IngestAnswer
from observability.ingest.gate import IngestGate
from observability.memory.counters import Counter, Counters
from paced_log import PacedLog

QUOTE = {"type": "quote", "symbol": "AAPL", "bid": 1.0, "ask": 2.0}
HEARTBEAT = {"type": "heartbeat", "component": "engine"}


def fill(number: int, **fields: object) -> dict[str, object]:
    usual = {"order_id": "o", "symbol": "AAPL", "side": "buy", "quantity": "1", "price": "2"}
    return {"type": "fill", "trade_id": f"t{number}", **usual, **fields}


class Desk:
    """A gate over a bus whose every event is noted."""

    def __init__(self, *, is_prompt: bool = True, refuse: type[Event] | None = None, **options: Any) -> None:
        """The first subscriber refuses every event of the class `refuse`."""
        self.bus = Bus()
        self.events: list[Event] = []
        if refuse is not None:
            self.bus.subscribe(refuse, _refuse)
        for kind in EVENT_TYPES:
            self.bus.subscribe(kind, self.events.append)
        self.log = PacedLog(self.bus, is_prompt=is_prompt)
        self.clock = EventClock(HostClock())
        self.counters = Counters()
        self.gate = IngestGate(self.bus, self.log, self.clock, self.counters, **options)

    async def take(self, *events: object, **options: Any) -> IngestAnswer:
        return await self.gate.take(orjson.dumps(events), **{"source": "http", **options})

    def begin(self, *events: object, **options: Any) -> asyncio.Task[IngestAnswer]:
        return asyncio.create_task(self.take(*events, **options))

    def count(self, name: str, **labels: str) -> int:
        for family in self.counters.families():
            sample = family.samples.get(tuple(sorted(labels.items())))
            if family.name == name and isinstance(sample, Counter):
                return sample.value
        return 0


def _refuse(_: Event) -> None:
    raise EventRefused("symbol", "no room")


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def body(answer: IngestAnswer) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(answer.body)
    return document


def counts(answer: IngestAnswer) -> tuple[int, int, int]:
    document = body(answer)
    return document["accepted"], document["duplicates"], document["rejected_count"]
