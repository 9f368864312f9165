"""A hub's collectors, journal and store without a server, run several times over one data directory, as by restarts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fake_clock import FakeClock
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.config.config import Config
from observability.events import Alert, Fill, Order
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.durability.journal import Announcement
from observability.metrics.durability.persistence import Persistence
from observability.snapshot.frames import Frame
from observability.store.file import DATABASE_NAME

NOON = 1_767_268_800_000_000_000  # 2026-01-01T12:00:00Z
S = 1_000_000_000
D = Decimal


class HubRun:
    """One run: from opening a data directory (None: nothing survives) until it is stopped or killed."""

    def __init__(self, directory: Path | None) -> None:
        # The monotonic clock stands still, so that no checkpoint becomes due by itself.
        self.clock = FakeClock(NOON, mono_ns=0)
        event_clock = EventClock(self.clock)
        config = Config(max_symbols=8, data_dir=directory)
        self.bus = Bus()
        history = make_history(8)
        self.persistence = Persistence(config, self.bus, history, Counters(), self.clock, event_clock)
        self.collectors = make_collectors(config, self.bus, event_clock, history, self.persistence.sequence)
        self.journal = self.persistence.attach(self.collectors)
        self.announced: list[Announcement] = []

    async def start(self) -> None:
        for collector in self.collectors.sections[:3]:
            await collector.start()
        self.bus.subscribe(Alert, self.collectors.system.on_alert)
        self.persistence.recover()
        self.journal.add_announcement_listener(lambda *announcement: self.announced.append(announcement))
        self.persistence.start(asyncio.get_running_loop())

    def tick(self) -> dict[str, Any]:
        """Refreshes the sections; returns those about money and orders."""
        now_ns = self.clock.now_ns
        for section in self.collectors.sections[:3]:
            section.refresh(now_ns)
        strategy = self.collectors.strategy
        accounts = strategy.groups[0].parts
        return {
            "strategy": dict(strategy.fields.to_json()),
            "strategies": {name: dict(account.to_json()) for name, account in accounts.items()},
            "execution": dict(self.collectors.execution.fields.to_json()),
        }

    def frame(self, now_ns: int) -> None:
        """Does what a tick at `now_ns` does."""
        self.clock.now_ns = now_ns
        self.tick()
        self.journal.on_frame(Frame("e", 1, now_ns, 0, b"{}"))

    async def written(self) -> None:
        assert await self.journal.durable(self.journal.position, 30)

    async def stop(self, *, is_clean: bool) -> None:
        """Stops. Without `is_clean` there is no last checkpoint, as if killed after everything queued was written."""
        store = self.persistence.store
        if is_clean or store is None:
            await self.persistence.stop()
        else:
            await store.stop()


def in_data_directory(script: Callable[[Path], Awaitable[None]]) -> None:
    with TemporaryDirectory() as directory:
        asyncio.run(script(Path(directory)))


def fill(number: int, **changes: Any) -> Fill:
    ts = NOON + number * S
    fields: dict[str, Any] = {
        "symbol": "AAPL", "side": "buy", "quantity": D(10), "price": D("100.25"), "commission": D("0.1"),
        "strategy": "alpha", "venue": "XNAS", "ts": ts, "ts_init": ts,
    }  # fmt: skip
    return Fill(f"t{number}", **({"order_id": f"o{number}"} | fields | changes))


def order(number: int, status: Any, **changes: Any) -> Order:
    ts = NOON + number * S
    fields: dict[str, Any] = {
        "symbol": "AAPL", "side": "buy", "quantity": D(10), "price": D("100.5"), "order_type": "limit",
        "strategy": "alpha", "venue": "XNAS", "client_order_id": "c", "reason": "r", "arrival_price": D(100),
        "decision_ts": ts - 5, "ts": ts, "ts_init": ts,
    }  # fmt: skip
    return Order(f"o{number}", status=status, **(fields | changes))


def read_table(directory: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(directory / DATABASE_NAME)) as connection:
        return connection.execute(question).fetchall()
