"""A site of an aggregator and the hub behind it, in one process: what the hub makes is what the site takes."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Literal

import orjson

from fake_clock import FakeClock
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.cluster.desk import Desk
from observability.cluster.follower import Place
from observability.cluster.frame_message import FrameMessage, pack_frame
from observability.config.config import Config
from observability.events import Fill, Quote
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.sites.site import Site
from observability.snapshot.hub import Hub
from observability.snapshot.shared_frames import FrameParts
from observability.sources.brokers.nats_connection import Message

INTERVAL_NS = 100_000_000


class DeskSite:
    """A hub with real collectors, whose frames are handed to a site as messages."""

    def __init__(self, name: str, clock: FakeClock, **settings: Any) -> None:
        desk = Desk.of(Config(engine="nats://127.0.0.1:1", desk=name))
        assert desk is not None
        config = Config(max_symbols=8, **settings)
        self.counters = Counters()
        self.site = Site(desk, clock, self.counters)
        self.bus = Bus()
        self.clock = clock
        event_clock = EventClock(clock)
        self._collectors = make_collectors(config, self.bus, event_clock, make_history(8))
        self.hub = Hub(
            config.metric_collection_interval, self.bus, clock, event_clock, self._collectors.sections, {}, Counters()
        )
        asyncio.run(self._start())
        self._parts = FrameParts()
        self.sent = Message("", "", b"", None)
        """The newest message."""

    async def _start(self) -> None:
        for collector in self._collectors.sections[:3]:
            await collector.start()

    def trade(self, number: int, quantity: Decimal, price: Decimal, symbol: str = "AAPL") -> None:
        """Publishes a quote and a fill."""
        now_ns = self.clock.time_ns()
        self.bus.publish(Quote(symbol, float(price), float(price), 1.0, 1.0, ts_init=now_ns), "test")
        side: Literal["buy", "sell"] = "buy" if quantity > 0 else "sell"
        fill = Fill(
            f"{symbol}-{number}", symbol, side, abs(quantity), price, commission=Decimal("0.1"), strategy="mm",
            ts_init=now_ns,
        )  # fmt: skip
        self.bus.publish(fill, "test")

    def publish(self, *, stored_ns: int | None = None, alerts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Makes a snapshot and hands it to the site; returns it."""
        self.hub.tick()
        frame = self.hub.frames.latest()
        assert frame is not None
        documents = {} if alerts is None else {"system_alerts": orjson.dumps({"alerts": alerts})}
        now = self.clock.time_ns()
        message = FrameMessage(
            frame.epoch, frame.seq, frame.ts_ns, 0, now, INTERVAL_NS, self._parts.of(frame), documents, ()
        )
        headers, body = pack_frame(message)
        self.sent = Message(subject="", data=body, reply="", headers=headers)
        self.site.take(self.sent, Place(frame.seq, now if stored_ns is None else stored_ns, 0))
        found: dict[str, Any] = orjson.loads(frame.payload)
        return found
